"""One step at a time through the engine: what `rnncore.stream` and the decoding of captions stand on."""

from __future__ import annotations

from collections.abc import Sequence

from rnncore.arguments import check_parameters, set_initial
from rnncore.array import Array, array_module, check_float, check_shape
from rnncore.cells.base import Cell, Weights
from rnncore.packing import Packing
from rnncore.regularise import Regulariser
from rnncore.trace import Trace
from rnncore.views import Now


class Stepper:
    """One step at a time with carried state: streaming, and the decoding of captions.

    Parameters
    ----------
    state : the states to start from, (B, H) each; zeros for `batch` sequences when None.
    regulariser : without a seed, for the expectation of zoneout.

    The states after k calls are those of `forward` over the same k inputs. The arrays that `step` returns are new;
    `state` may be set at any time, to other sequences too, as beam search does.
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
        self._regulariser, self._inputs = regulariser, int(p["W"].shape[1])
        self._trace = Trace(cell, hidden, p["W"].dtype, array_module(*p.values()))
        if state is None:
            state = [self._trace.xp.zeros((batch, self._trace.sizes[name]), p["W"].dtype) for name in cell.state]
        self.state = tuple(state)

    @property
    def state(self) -> tuple[Array, ...]:
        """The states after the last step, (B, H) each; copies."""
        return tuple(slab[:, : self._batch].T.copy() for slab in self._now.prev)

    @state.setter
    def state(self, value: Sequence[Array]) -> None:
        trace, self._batch, self._turn = self._trace, len(value[0]), 0
        trace.lay_out(Packing.dense(2, self._batch), keep=False)  # two steps, of which each goes on from the other
        trace.noise = None if self._regulariser is None else self._regulariser.draw(self.cell, self.p, trace)
        set_initial(trace, value)

    @property
    def _now(self) -> Now:
        """The views of the next step."""
        return self._trace.now[self._turn]

    def step(self, x: Array) -> Array:
        """Advance by one step with x (B, D) and return the output h, (B, H)."""
        p, now, trace, b = self.p, self._now, self._trace, self._batch
        if x.shape != (b, self._inputs) or x.dtype != trace.dtype:
            check_float("x", x, trace.dtype)
            check_shape("x", x, {"B": b, "D": self._inputs})
        a = now.a
        if a.shape[1] > b:
            a = a[:, :b]
            for unused in (now.a, *now.prev):
                unused[:, b:] = 0
        now.xp.matmul(p["W"], x.T, out=a)
        a += p["b"][:, None]
        if trace.noise is None:
            self.cell.step(p, now)
        else:
            trace.noise.step(self.cell, p, now, self._turn)
        self._turn = 1 - self._turn
        return now.next[0][:, :b].T.copy()
