"""Gated recurrent unit, in its two forms: reset after the recurrent product, and before it.

They differ in equations and in parameters; weights trained for one do not fit the other.
"""

from __future__ import annotations

from rnncore.array import Array, sigmoid, sum_over_rows
from rnncore.cells.base import Weights, recurrent_initialisers
from rnncore.params import Initialiser, zeros
from rnncore.trace import Now, Trace


class GRU:
    r"""GRU cell, reset after the product: the form of cuDNN and PyTorch, and the default of Keras.

    .. math::
        r_t &= \sigma(W_r x_t + b_r + U_r h_{t-1} + b'_r) & \text{reset gate} \\
        z_t &= \sigma(W_z x_t + b_z + U_z h_{t-1} + b'_z) & \text{update gate} \\
        q_t &= U_n h_{t-1} + b'_n & \text{what the candidate may recall} \\
        n_t &= \tanh(W_n x_t + b_n + r_t \odot q_t) & \text{candidate} \\
        h_t &= (1 - z_t) \odot n_t + z_t \odot h_{t-1}

    Parameters: `W` (3H, D), `U` (3H, H), `b` (3H,) and `b_U` (3H,), written b' above, each in the blocks r, z, n.
    State: h. Of `b_U` only the candidate's block is needed, since the others add to `b`; the whole of it is kept so
    that parameters match those of PyTorch and Keras one to one.

    Source: K. Cho et al., EMNLP 2014, with the reset gate moved behind the product so that all of U h is one product
    (J. Appleyard, T. Kočiský & P. Blunsom 2016).
    """

    gates: tuple[str, ...] = ("reset", "update", "candidate")
    preactivations: tuple[str, ...] = (*gates, "recall")
    state: tuple[str, ...] = ("h",)
    saved: tuple[str, ...] = ("recall",)
    carries = True
    columnwise = True

    def shapes(self, input_size: int, hidden_size: int) -> dict[str, tuple[int, ...]]:
        """Return the shapes of `W`, `U`, `b` and `b_U`."""
        D, H = input_size, hidden_size
        return {"W": (3 * H, D), "U": (3 * H, H), "b": (3 * H,), "b_U": (3 * H,)}

    def initialisers(self) -> dict[str, Initialiser]:
        """Glorot W, orthogonal U, zero biases."""
        return recurrent_initialisers(3) | {"b_U": zeros}

    def step(self, p: Weights, now: Now) -> None:
        """Compute the gates and h_t."""
        xp, (h,), (h_next,), (q,) = now.xp, now.prev, now.next, now.saved
        r, z, n = now.gates
        two = 2 * len(h)
        Uh = xp.matmul(p["U"], now.recalled, out=now.scratch)
        xp.add(Uh[two:], p["b_U"][two:, None], out=q)
        rz, Uh_rz = now.a[:two], Uh[:two]
        Uh_rz += p["b_U"][:two, None]
        rz += Uh_rz
        sigmoid(rz, out=rz)

        n += xp.multiply(r, q, out=h_next)  # h_next is free until n_t is known
        xp.tanh(n, out=n)
        xp.subtract(h, n, out=h_next)  # h_t = n + z (h - n)
        h_next *= z
        h_next += n

    def step_backward(self, p: Weights, now: Now, dstate: tuple[Array, ...]) -> None:
        r"""Compute the gradients of the gates, of q, and of h one step earlier.

        .. math::
            \delta a_n &= \delta h_t \odot (1 - z_t) \odot (1 - n_t^2) &
            \delta q &= \delta a_n \odot r_t \\
            \delta a_z &= \delta h_t \odot (h_{t-1} - n_t) \odot z_t (1 - z_t) &
            \delta a_r &= \delta a_n \odot q_t \odot r_t (1 - r_t) \\
            \delta h_{t-1} &= \delta h_t \odot z_t + U_{rz}^\top \delta a_{rz} + U_n^\top \delta q
        """
        xp, (dh,), (h_next,), (q,) = now.xp, dstate, now.next, now.saved
        r, z, n = now.gates
        dr, dz, dn, dq = now.dgates
        H, two = len(dh), 2 * len(dh)
        work = now.scratch[:H]
        xp.subtract(1, z, out=dz)
        dz *= dh
        dh *= z  # which goes past the candidate
        xp.multiply(n, n, out=dn)
        dn *= dz
        xp.subtract(dz, dn, out=dn)
        dz *= xp.subtract(h_next, n, out=work)  # z (h - n)
        xp.multiply(dn, r, out=dq)
        xp.multiply(dq, q, out=dr)
        dr -= xp.multiply(dr, r, out=work)

        dh += now.masked(xp.matmul(p["U"][:two].T, now.da[:two], out=work))
        dh += now.masked(xp.matmul(p["U"][two:].T, dq, out=work))

    def recurrent_grads(self, p: Weights, trace: Trace, da: Array, grads: dict[str, Array]) -> None:
        r"""Compute :math:`\delta U = \sum_t (\delta a_{rz}, \delta q)_t h_{t-1}^\top`, and the same sum without h."""
        xp, H, before = trace.xp, trace.hidden, trace.previous_rows
        drz, dq = da[: 2 * H], da[3 * H :]
        xp.matmul(drz, before, out=grads["U"][: 2 * H])
        xp.matmul(dq, before, out=grads["U"][2 * H :])
        grads["b_U"][: 2 * H] = grads["b"][: 2 * H]
        sum_over_rows(dq, out=grads["b_U"][2 * H :])


class GRUBefore:
    r"""GRU cell, reset before the product: the form in which the GRU was published.

    .. math::
        r_t &= \sigma(W_r x_t + U_r h_{t-1} + b_r) & \text{reset gate} \\
        z_t &= \sigma(W_z x_t + U_z h_{t-1} + b_z) & \text{update gate} \\
        n_t &= \tanh(W_n x_t + U_n (r_t \odot h_{t-1}) + b_n) & \text{candidate} \\
        h_t &= (1 - z_t) \odot n_t + z_t \odot h_{t-1}

    Parameters: `W` (3H, D), `U` (3H, H), `b` (3H,), each in the blocks r, z, n. State: h.

    Source: K. Cho et al., Learning phrase representations using RNN encoder-decoder, EMNLP 2014, section 2.3.
    """

    gates: tuple[str, ...] = ("reset", "update", "candidate")
    preactivations: tuple[str, ...] = gates
    state: tuple[str, ...] = ("h",)
    saved: tuple[str, ...] = ("reset_h",)
    carries = True
    columnwise = True

    def shapes(self, input_size: int, hidden_size: int) -> dict[str, tuple[int, ...]]:
        """Return the shapes of `W`, `U` and `b`."""
        D, H = input_size, hidden_size
        return {"W": (3 * H, D), "U": (3 * H, H), "b": (3 * H,)}

    def initialisers(self) -> dict[str, Initialiser]:
        """Glorot W, orthogonal U, zero b."""
        return recurrent_initialisers(3)

    def step(self, p: Weights, now: Now) -> None:
        """Compute the gates and h_t."""
        xp, (h,), (h_next,), (reset_h,) = now.xp, now.prev, now.next, now.saved
        r, z, n = now.gates
        two = 2 * len(h)
        rz, Uh_rz, Uh_n = now.a[:two], now.scratch[:two], now.scratch[two:]
        rz += xp.matmul(p["U"][:two], now.recalled, out=Uh_rz)
        sigmoid(rz, out=rz)
        xp.multiply(r, now.recalled, out=reset_h)

        n += xp.matmul(p["U"][two:], reset_h, out=Uh_n)
        xp.tanh(n, out=n)
        xp.subtract(h, n, out=h_next)  # h_t = n + z (h - n)
        h_next *= z
        h_next += n

    def step_backward(self, p: Weights, now: Now, dstate: tuple[Array, ...]) -> None:
        r"""Compute the gradients of the gates, and of h one step earlier.

        .. math::
            \delta a_n &= \delta h_t \odot (1 - z_t) \odot (1 - n_t^2) &
            \delta (r h) &= U_n^\top \delta a_n \\
            \delta a_z &= \delta h_t \odot (h_{t-1} - n_t) \odot z_t (1 - z_t) &
            \delta a_r &= \delta (r h) \odot h_{t-1} \odot r_t (1 - r_t) \\
            \delta h_{t-1} &= \delta h_t \odot z_t + \delta (r h) \odot r_t + U_{rz}^\top \delta a_{rz}
        """
        xp, (dh,), (h_next,), (reset_h,) = now.xp, dstate, now.next, now.saved
        r, z, n = now.gates
        dr, dz, dn = now.dgates
        H, two = len(dh), 2 * len(dh)
        work, dreset_h = now.scratch[:H], now.scratch[H:two]
        xp.subtract(1, z, out=dz)
        dz *= dh
        dh *= z  # which goes past the candidate
        xp.multiply(n, n, out=dn)
        dn *= dz
        xp.subtract(dz, dn, out=dn)
        dz *= xp.subtract(h_next, n, out=work)  # z (h - n)
        xp.matmul(p["U"][two:].T, dn, out=dreset_h)
        xp.multiply(dreset_h, reset_h, out=dr)
        dr -= xp.multiply(dr, r, out=work)

        dreset_h *= r
        dh += now.masked(dreset_h)
        dh += now.masked(xp.matmul(p["U"][:two].T, now.da[:two], out=work))

    def recurrent_grads(self, p: Weights, trace: Trace, da: Array, grads: dict[str, Array]) -> None:
        r"""Compute :math:`\delta U = \sum_t \delta a_t h_{t-1}^\top`, with r h for h in the candidate's block."""
        two = 2 * trace.hidden
        trace.xp.matmul(da[:two], trace.previous_rows, out=grads["U"][:two])
        trace.xp.matmul(da[two:], trace.rows("reset_h"), out=grads["U"][two:])
