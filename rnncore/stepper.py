"""One step at a time through the engine: what `rnncore.stream` and the decoding of captions stand on."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np

from rnncore.arguments import check_initial, check_parameters
from rnncore.array import Array, array_module, check_float, check_shape, swap_axes
from rnncore.cells.base import Cell, Weights
from rnncore.packing import Packing
from rnncore.regularise import Regulariser
from rnncore.steps import steps_forward
from rnncore.trace import Trace
from rnncore.views import FEW, fast_width


class Stepper:
    """One step at a time with carried state: streaming, and the decoding of captions.

    Parameters
    ----------
    state : the states to start from, (B, H) each; zeros for `batch` sequences when None.
    regulariser : without a seed, for the expectation of zoneout.

    The states after k calls are those of `forward` over the same k inputs. The arrays that `step` returns are new;
    `state` may be set at any time, to other sequences too, as beam search does.

    Examples
    --------
    >>> import numpy as np
    >>> from rnncore import Params
    >>> from rnncore.cells import LSTM
    >>> stepper = Stepper(LSTM(), Params(LSTM().shapes(3, 4)), batch=2)
    >>> stepper.step(np.ones((2, 3), "float32")).shape, [s.shape for s in stepper.state]
    ((2, 4), [(2, 4), (2, 4)])
    """

    def __init__(
        self,
        cell: Cell,
        p: Weights,
        batch: int = 1,
        state: Sequence[Array] | None = None,
        regulariser: Regulariser | None = None,
    ) -> None:
        if regulariser is not None and regulariser.seed is not None:
            raise ValueError("regulariser: a Stepper is inference, which draws no masks; pass one with seed=None")
        self.cell, self.p = cell, p
        hidden = check_parameters(cell, p, p["W"])
        self._regulariser = regulariser
        self._new_trace = partial(Trace, cell, hidden, p["W"].dtype, array_module(*p.values()))
        self._trace = trace = self._new_trace()
        self._traces: dict[int, Trace] = {}  # by the columns that they are laid out for
        self._narrows = trace.xp is np and hasattr(cell, "steps_forward") and regulariser is None
        if state is None:
            state = [trace.xp.zeros((batch, trace.sizes[name]), trace.dtype) for name in cell.state]
        self.state = tuple(state)

    @property
    def state(self) -> tuple[Array, ...]:
        """The states after the last step, (B, H) each; copies."""
        return tuple(slab[:, : self.batch].T.copy() for slab in self._trace.now[self._turn].prev)

    @state.setter
    def state(self, value: Sequence[Array]) -> None:
        batch = len(value[0])
        check_initial(self._trace, value, batch)
        self._trace, self._turn = self._laid_out(batch), 0
        self._shape = (batch, int(self.p["W"].shape[1]))
        for rows, columns in zip(value, self._trace.now[0].prev, strict=True):
            swap_axes(rows[None], out=columns[None, :, :batch])
            columns[:, batch : fast_width(batch)] = 0
        self._outputs = [now.next[0][:, :batch].T for now in self._trace.now]
        self._steps = steps_forward(self.cell, self.p, self._trace)

    def _laid_out(self, batch: int) -> Trace:
        """Return a Trace for so many sequences: one of two steps, of which each goes on from the other.

        A beam's sequences are a few more or less at every word. So that the next ones find it as it is, fused steps are
        laid out for up to twice as many, which costs some 2 % of their time.
        """
        narrows = self._narrows and batch > FEW
        columns = 8 + (1 << (batch - 9).bit_length()) if narrows else batch
        key = columns if narrows or batch <= FEW else 0
        trace = self._traces[key] if key in self._traces else self._traces.setdefault(key, self._new_trace())
        trace.lay_out(Packing.dense(2, columns), keep=False)
        trace.noise = None if self._regulariser is None else self._regulariser.draw(self.cell, self.p, trace)
        return trace

    @property
    def batch(self) -> int:
        """B, of the states."""
        return self._shape[0]

    def step(self, x: Array) -> Array:
        """Advance by one step with x (B, D) and return the output h, (B, H)."""
        trace, turn = self._trace, self._turn
        if type(x) is not np.ndarray or x.shape != self._shape or x.dtype != trace.dtype:
            check_float("x", x, trace.dtype)
            check_shape("x", x, {"B": self._shape[0], "D": self._shape[1]})
        self._steps.step(turn, x)
        self._turn = 1 - turn
        output: Array = self._outputs[turn].copy()
        return output
