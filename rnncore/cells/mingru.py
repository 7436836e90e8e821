"""The minimal GRU of Feng et al.: gates that do not look back."""

from __future__ import annotations

from rnncore.array import Array, sigmoid
from rnncore.cells.base import Weights
from rnncore.params import Initialiser, blockwise, glorot, zeros
from rnncore.trace import Now, Trace


class MinGRU:
    r"""Minimal GRU, minGRU.

    .. math::
        z_t &= \sigma(W_z x_t + b_z) & \text{update gate} \\
        n_t &= W_n x_t + b_n & \text{candidate} \\
        h_t &= (1 - z_t) \odot h_{t-1} + z_t \odot n_t

    Neither gate depends on h. So h_t is linear in h_{t-1}, unit by unit: there is no recurrent matrix, nothing that
    recurrent dropout could drop, and :math:`\partial h_t / \partial h_{t-1} = 1 - z_t` never grows. Units speak to one
    another only through a layer above. The steps could run as one parallel scan; here they run in order, as for any
    other cell, where no step has a product to wait for.

    Parameters: `W` (2H, D), `b` (2H,) in the blocks z, n. State: h. Mind that z stands at the new value here, and at
    the old one in `GRU`.

    Source: L. Feng, F. Tung, M. O. Ahmed, Y. Bengio & H. Hajimirsadeghi, Were RNNs all we needed?, 2024 (arXiv
    2410.01201), section 3.1; the candidate without activation, and not the positive one of its log-space form.
    """

    gates: tuple[str, ...] = ("update", "candidate")
    preactivations: tuple[str, ...] = gates
    state: tuple[str, ...] = ("h",)
    saved: tuple[str, ...] = ()
    columnwise = True

    def shapes(self, input_size: int, hidden_size: int) -> dict[str, tuple[int, ...]]:
        """Return the shapes of `W` and `b`."""
        return {"W": (2 * hidden_size, input_size), "b": (2 * hidden_size,)}

    def initialisers(self) -> dict[str, Initialiser]:
        """Glorot W, zero b."""
        return {"W": blockwise(glorot, 2), "b": zeros}

    def step(self, p: Weights, now: Now) -> None:
        """Compute the gate and h_t."""
        xp, (z, n), (h,), (h_next,) = now.xp, now.gates, now.prev, now.next
        sigmoid(z, out=z)
        xp.subtract(n, h, out=h_next)  # h_t = h + z (n - h)
        h_next *= z
        h_next += h

    def step_backward(self, p: Weights, now: Now, dstate: tuple[Array, ...]) -> None:
        r"""Compute the gradients of the gates, and of h one step earlier.

        .. math::
            \delta a_z &= \delta h_t \odot (n_t - h_{t-1}) \odot z_t (1 - z_t) &
            \delta n_t &= \delta h_t \odot z_t &
            \delta h_{t-1} &= \delta h_t \odot (1 - z_t)
        """
        xp, (z, n), (dz, dn), (h,), (dh,) = now.xp, now.gates, now.dgates, now.prev, dstate
        xp.multiply(dh, z, out=dn)
        dh -= dn  # which leaves dh (1 - z)
        xp.subtract(n, h, out=dz)
        dz *= z
        dz *= dh

    def recurrent_grads(self, p: Weights, trace: Trace, da: Array, grads: dict[str, Array]) -> None:
        """There is nothing beside W and b."""
