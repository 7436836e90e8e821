"""Long short-term memory, with forget gates and without peepholes."""

from __future__ import annotations

from rnncore.array import Array, sigmoid
from rnncore.cells.base import Weights, recurrent_initialisers
from rnncore.params import Initialiser, gate_constant
from rnncore.trace import Now, Trace


class LSTM:
    r"""LSTM cell.

    .. math::
        i_t &= \sigma(W_i x_t + U_i h_{t-1} + b_i) & \text{input gate} \\
        f_t &= \sigma(W_f x_t + U_f h_{t-1} + b_f) & \text{forget gate} \\
        o_t &= \sigma(W_o x_t + U_o h_{t-1} + b_o) & \text{output gate} \\
        g_t &= \tanh(W_g x_t + U_g h_{t-1} + b_g) & \text{candidate} \\
        c_t &= f_t \odot c_{t-1} + i_t \odot g_t \\
        h_t &= o_t \odot \tanh c_t

    Parameters: `W` (4H, D), `U` (4H, H), `b` (4H,), each in the blocks i, f, o, g: the three sigmoids lie beside one
    another, so that one pass computes them. State: h, c.

    The forget bias starts at `forget_bias` (Jozefowicz, Zaremba & Sutskever 2015). It is a first value
    of `b`, not a constant of the forward pass.

    Source: S. Hochreiter & J. Schmidhuber, Neural Computation 9 (1997); the forget gate from F. Gers,
    J. Schmidhuber & F. Cummins, Neural Computation 12 (2000).
    """

    gates: tuple[str, ...] = ("input", "forget", "output", "candidate")
    preactivations: tuple[str, ...] = gates
    state: tuple[str, ...] = ("h", "c")
    saved: tuple[str, ...] = ("tanh_c",)
    columnwise = True

    def __init__(self, forget_bias: float = 1.0) -> None:
        self.forget_bias = forget_bias

    def shapes(self, input_size: int, hidden_size: int) -> dict[str, tuple[int, ...]]:
        """Return the shapes of `W`, `U` and `b`."""
        D, H = input_size, hidden_size
        return {"W": (4 * H, D), "U": (4 * H, H), "b": (4 * H,)}

    def initialisers(self) -> dict[str, Initialiser]:
        """Glorot W, orthogonal U, zero b but for the forget gate."""
        return recurrent_initialisers(4) | {"b": gate_constant(1, 4, self.forget_bias)}

    def step(self, p: Weights, now: Now) -> None:
        """Compute the gates, c_t and h_t."""
        xp, a, (h, c), (h_next, c_next), (tanh_c,) = now.xp, now.a, now.prev, now.next, now.saved
        i, f, o, g = now.gates
        a += xp.matmul(p["U"], h, out=now.scratch)
        ifo = a[: 3 * len(h)]
        sigmoid(ifo, out=ifo)
        xp.tanh(g, out=g)

        xp.multiply(i, g, out=tanh_c)  # tanh_c is free until c_t is known
        xp.multiply(f, c, out=c_next)
        c_next += tanh_c
        xp.tanh(c_next, out=tanh_c)
        xp.multiply(o, tanh_c, out=h_next)

    def step_backward(self, p: Weights, now: Now, dstate: tuple[Array, ...]) -> None:
        r"""Compute the gradients of the gates, and of h and c one step earlier.

        .. math::
            \delta c_t &\mathrel{+}= \delta h_t \odot o_t \odot (1 - \tanh^2 c_t) \\
            \delta a_i &= \delta c_t \odot g_t \odot i_t (1 - i_t) &
            \delta a_f &= \delta c_t \odot c_{t-1} \odot f_t (1 - f_t) \\
            \delta a_o &= \delta h_t \odot \tanh c_t \odot o_t (1 - o_t) &
            \delta a_g &= \delta c_t \odot i_t \odot (1 - g_t^2) \\
            \delta c_{t-1} &= \delta c_t \odot f_t & \delta h_{t-1} &= U^\top \delta a
        """
        xp, (dh, dc), (_, c), (tanh_c,) = now.xp, dstate, now.prev, now.saved
        i, f, o, g = now.gates
        di, df, do, dg = now.dgates
        H, three = len(dh), 3 * len(dh)
        ifo, difo, work, work3 = now.a[:three], now.da[:three], now.scratch[:H], now.scratch[:three]
        xp.multiply(dh, o, out=work)
        xp.multiply(work, tanh_c, out=do)
        work -= xp.multiply(do, tanh_c, out=dg)  # dh o (1 - tanh^2 c); dg is free until dc is known
        dc += work
        now.reached(1, dc)

        xp.multiply(dc, i, out=dg)
        xp.multiply(dg, g, out=di)
        dg -= xp.multiply(di, g, out=work)  # dc i (1 - g^2)
        dc *= f
        xp.multiply(dc, c, out=df)
        difo -= xp.multiply(difo, ifo, out=work3)  # each sigmoid's 1 - s is all that they lacked

        xp.matmul(p["U"].T, now.da, out=dh)

    def recurrent_grads(self, p: Weights, trace: Trace, da: Array, grads: dict[str, Array]) -> None:
        r"""Compute :math:`\delta U = \sum_t \delta a_t h_{t-1}^\top`."""
        trace.xp.matmul(da, trace.previous_rows, out=grads["U"])
