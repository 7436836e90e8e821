"""One step at a time through the engine: what `rnncore.stream` and the decoding of captions stand on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rnncore.arguments import check_parameters, set_initial
from rnncore.array import Array, array_module, check_float, check_shape
from rnncore.cells.base import Cell, Weights
from rnncore.packing import Packing
from rnncore.regularise import Regulariser
from rnncore.steps import steps_forward
from rnncore.trace import Trace


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
        self._trace = Trace(cell, hidden, p["W"].dtype, array_module(*p.values()))
        if state is None:
            state = [self._trace.xp.zeros((batch, self._trace.sizes[name]), p["W"].dtype) for name in cell.state]
        self.state = tuple(state)

    @property
    def state(self) -> tuple[Array, ...]:
        """The states after the last step, (B, H) each; copies."""
        return tuple(slab[:, : self.batch].T.copy() for slab in self._trace.now[self._turn].prev)

    @state.setter
    def state(self, value: Sequence[Array]) -> None:
        trace, batch, self._turn = self._trace, len(value[0]), 0
        self._shape = (batch, int(self.p["W"].shape[1]))
        trace.lay_out(Packing.dense(2, batch), keep=False)  # two steps, of which each goes on from the other
        trace.noise = None if self._regulariser is None else self._regulariser.draw(self.cell, self.p, trace)
        self._outputs = [now.next[0][:, :batch].T for now in trace.now]
        set_initial(trace, value)
        self._steps = steps_forward(self.cell, self.p, trace)

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
