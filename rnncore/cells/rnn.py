"""The simple recurrent network of Elman (1990), with tanh."""

from __future__ import annotations

from rnncore.array import Array
from rnncore.cells.base import Weights, recurrent_initialisers
from rnncore.params import Initialiser
from rnncore.trace import Now, Trace


class RNN:
    r"""Tanh recurrent cell.

    .. math::
        a_t &= W x_t + U h_{t-1} + b \\
        h_t &= \tanh a_t

    Parameters: `W` (H, D), `U` (H, H), `b` (H,). State: h.

    Source: J. L. Elman, Finding structure in time, Cognitive Science 14 (1990).
    """

    gates: tuple[str, ...] = ("hidden",)
    preactivations: tuple[str, ...] = gates
    state: tuple[str, ...] = ("h",)
    saved: tuple[str, ...] = ()
    columnwise = True

    def shapes(self, input_size: int, hidden_size: int) -> dict[str, tuple[int, ...]]:
        """Return the shapes of `W`, `U` and `b`."""
        return {"W": (hidden_size, input_size), "U": (hidden_size, hidden_size), "b": (hidden_size,)}

    def initialisers(self) -> dict[str, Initialiser]:
        """Glorot W, orthogonal U, zero b."""
        return recurrent_initialisers(1)

    def step(self, p: Weights, now: Now) -> None:
        """Compute h_t."""
        xp, a, (h,), (h_next,) = now.xp, now.a, now.prev, now.next
        a += xp.matmul(p["U"], h, out=now.scratch)
        xp.tanh(a, out=a)
        h_next[...] = a

    def step_backward(self, p: Weights, now: Now, dstate: tuple[Array, ...]) -> None:
        r"""Compute :math:`\delta a = (1 - h_t^2) \odot \delta h` and :math:`\delta h_{t-1} = U^\top \delta a`."""
        xp, da, (dh,), (h_next,) = now.xp, now.da, dstate, now.next
        xp.multiply(h_next, h_next, out=da)
        xp.subtract(1, da, out=da)
        da *= dh
        xp.matmul(p["U"].T, da, out=dh)

    def recurrent_grads(self, p: Weights, trace: Trace, da: Array, grads: dict[str, Array]) -> None:
        r"""Compute :math:`\delta U = \sum_t \delta a_t h_{t-1}^\top`."""
        trace.xp.matmul(da, trace.previous_rows, out=grads["U"])
