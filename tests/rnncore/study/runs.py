"""Small runs with known answers, and cells whose gates do as they are told."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rnncore import Params
from rnncore.cells import LSTM, Cell, find_cell
from rnncore.study import Clamp, Intervened, Run, run_cell

LENGTHS = (6, 3, 0, 5)


def small_run(
    cell: str | Cell = "LSTM",
    lengths: Sequence[int] | None = LENGTHS,
    steps: int = 6,
    D: int = 2,
    H: int = 3,
    seed: int = 0,
    tokens: Sequence[Sequence[str]] | None = None,
) -> Run:
    """A cell with random weights over random input, with gradients that entered at every step."""
    cell = find_cell(cell) if isinstance(cell, str) else cell
    rng = np.random.default_rng(seed)
    p = Params(cell.shapes(D, H), np.float64)
    p.flat[...] = rng.normal(0, 0.6, p.size)
    batch = 4 if lengths is None else len(lengths)
    x, doutput = rng.normal(size=(steps, batch, D)), rng.normal(size=(steps, batch, H))
    return run_cell(cell, p, x, None, lengths, doutput, tokens)


def constant_forget(f: float, steps: int = 12) -> Run:
    """An LSTM whose forget gate is always f, whose U is zero and whose input is closed: c decays by f a step."""
    cell = Intervened(LSTM(), [Clamp("forget", f), Clamp("input", 0.0)])
    p = Params(cell.shapes(1, 2), np.float64)
    return run_cell(cell, p, np.zeros((steps, 1, 1)), [np.ones((1, 2)), np.array([[1.0, -2.0]])])
