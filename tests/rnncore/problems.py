"""Random problems for a cell: parameters, inputs, initial states, lengths, and gradients that arrive from outside."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from hypothesis import strategies as st

from rnncore import sequence
from rnncore.cells import CELLS, LSTMP, Cell, sizes_of
from rnncore.params import Params
from rnncore.steps import _SMALL_BATCH
from rnncore.trace import Trace

#: T, B, D, H and lengths: every odd size, every kind of lengths, both sides of the engine's limits.
SIZES: tuple[tuple[int, int, int, int, tuple[int, ...] | None], ...] = (
    (1, 1, 1, 1, None),
    (1, 3, 2, 1, None),
    (6, 1, 3, 2, None),
    (4, 3, 1, 5, None),
    (5, 1, 2, 3, (3,)),
    (3, 2, 2, 2, (0, 0)),
    (3, 3, 2, 4, (3, 3, 2)),
    (5, 6, 3, 2, (2, 0, 5, 1, 4, 5)),
    (4, 3, 2, 3, (1, 0, 2)),
    (3, 66, 2, 3, None),
    (4, 70, 2, 2, tuple(k * 7 % 5 for k in range(70))),
    (26, 3, 2, 2, (26, 9, 25)),
)

#: Every cell of the library by name, and one whose output has another size than H.
ALL: dict[str, Callable[[], Cell]] = {**CELLS, "LSTM-projection-2": partial(LSTMP, 2)}


@dataclass
class Problem:
    """`x`, `dh` and so on as `sequence.forward` and `backward` take them."""

    name: str
    p: Params
    x: Any
    initial: list[Any]
    lengths: tuple[int, ...] | None
    dh: Any
    dlast: list[Any]

    @property
    def cell(self) -> Cell:
        return ALL[self.name]()

    @property
    def padding(self) -> Any:
        """(T, B), True where nothing is real."""
        T, B = self.x.shape[:2]
        return np.arange(T)[:, None] >= np.asarray(self.lengths if self.lengths is not None else [T] * B)

    def run(self, trace: Trace | None = None) -> tuple[Trace, sequence.Gradients]:
        cell = trace.cell if trace is not None else self.cell
        trace = sequence.forward(cell, self.p, self.x, self.initial, self.lengths, trace)
        return trace, sequence.backward(cell, self.p, trace, self.dh, self.dlast)


def problem(
    name: str,
    T: int,
    B: int,
    D: int,
    H: int,
    lengths: tuple[int, ...] | None = None,
    seed: int = 0,
    dtype: Any = np.float64,
) -> Problem:
    rng = np.random.default_rng(seed)
    cell = ALL[name]()
    p = Params(cell.shapes(D, H), dtype)
    p.flat[:] = rng.normal(0, 0.7, p.size)

    def normal(*shape: int) -> Any:
        return rng.normal(size=shape).astype(dtype)

    widths = [sizes_of(cell, H)[state] for state in cell.state]
    initial, dlast = [normal(B, n) for n in widths], [normal(B, n) for n in widths]
    return Problem(name, p, normal(T, B, D), initial, lengths, normal(T, B, widths[0]), dlast)


@st.composite
def problems(draw: st.DrawFn, max_steps: int = 5, max_batch: int = 4) -> Problem:
    """Small problems of any cell, with lengths or without; now and then a batch above the small ones."""
    T, B = draw(st.integers(1, max_steps)), draw(st.integers(1, max_batch) | st.just(_SMALL_BATCH + 1))
    lengths = draw(st.none() | st.lists(st.integers(0, T), min_size=B, max_size=B).map(tuple))
    D, H = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    return problem(draw(st.sampled_from(list(ALL))), T, B, D, H, lengths, draw(st.integers(0, 9)))
