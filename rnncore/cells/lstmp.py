"""Long short-term memory whose output is a projection: few outputs of many memory cells."""

from __future__ import annotations

from rnncore.array import Array, sigmoid
from rnncore.cells.base import Weights
from rnncore.cells.lstm import LSTM
from rnncore.params import Initialiser, orthogonal
from rnncore.trace import Now, Trace


class LSTMP:
    r"""LSTM with a recurrent projection; PyTorch's `proj_size`.

    .. math::
        i_t &= \sigma(W_i x_t + U_i h_{t-1} + b_i) & \text{input gate} \\
        f_t &= \sigma(W_f x_t + U_f h_{t-1} + b_f) & \text{forget gate} \\
        o_t &= \sigma(W_o x_t + U_o h_{t-1} + b_o) & \text{output gate} \\
        g_t &= \tanh(W_g x_t + U_g h_{t-1} + b_g) & \text{candidate} \\
        c_t &= f_t \odot c_{t-1} + i_t \odot g_t \\
        m_t &= o_t \odot \tanh c_t & \text{H rows} \\
        h_t &= V m_t & \text{P rows}

    Parameters: `W` (4H, D), `U` (4H, P), `b` (4H,), each in the blocks i, f, o, g, and `V` (P, H). State: h, with P
    rows, and c, with H.

    Parameters
    ----------
    projection : P; as many as H when None, so that the cell can take the place of any other.
    forget_bias : the first value of the forget gate's bias.

    Source: H. Sak, A. Senior & F. Beaufays, Long short-term memory recurrent neural network architectures for large
    scale acoustic modeling, Interspeech 2014, its LSTMP; without peepholes, as in PyTorch.
    """

    gates: tuple[str, ...] = LSTM.gates
    preactivations: tuple[str, ...] = (*gates, "projection")
    state: tuple[str, ...] = ("h", "c")
    saved: tuple[str, ...] = ("tanh_c", "m")
    columnwise = True

    def __init__(self, projection: int | None = None, forget_bias: float = 1.0) -> None:
        if projection is not None and projection < 1:
            raise ValueError(f"projection: expected at least 1, or None for as many as H, got {projection}")
        self.projection, self.forget_bias = projection, forget_bias

    def sizes(self, hidden_size: int) -> dict[str, int]:
        """Return P for all that has P rows."""
        P = self.projection or hidden_size
        return {"h": P, "projection": P}

    def shapes(self, input_size: int, hidden_size: int) -> dict[str, tuple[int, ...]]:
        """Return the shapes of `W`, `U`, `b` and `V`."""
        D, H, P = input_size, hidden_size, self.sizes(hidden_size)["h"]
        return {"W": (4 * H, D), "U": (4 * H, P), "b": (4 * H,), "V": (P, H)}

    def initialisers(self) -> dict[str, Initialiser]:
        """As in the LSTM; orthogonal V."""
        return LSTM(self.forget_bias).initialisers() | {"V": orthogonal}

    def step(self, p: Weights, now: Now) -> None:
        """Compute the gates, c_t, m_t and h_t."""
        xp, a, (h, c), (h_next, c_next), (tanh_c, m) = now.xp, now.a, now.prev, now.next, now.saved
        i, f, o, g = now.gates
        a += xp.matmul(p["U"], h, out=now.scratch)
        ifo = a[: 3 * len(c)]
        sigmoid(ifo, out=ifo)
        xp.tanh(g, out=g)

        xp.multiply(i, g, out=tanh_c)  # tanh_c is free until c_t is known
        xp.multiply(f, c, out=c_next)
        c_next += tanh_c
        xp.tanh(c_next, out=tanh_c)
        xp.multiply(o, tanh_c, out=m)
        xp.matmul(p["V"], m, out=h_next)

    def step_backward(self, p: Weights, now: Now, dstate: tuple[Array, ...]) -> None:
        r"""Compute the gradients of the gates and of the projection, and of h and c one step earlier.

        .. math::
            \delta m_t &= V^\top \delta h_t &
            \delta c_t &\mathrel{+}= \delta m_t \odot o_t \odot (1 - \tanh^2 c_t) \\
            \delta a_i &= \delta c_t \odot g_t \odot i_t (1 - i_t) &
            \delta a_f &= \delta c_t \odot c_{t-1} \odot f_t (1 - f_t) \\
            \delta a_o &= \delta m_t \odot \tanh c_t \odot o_t (1 - o_t) &
            \delta a_g &= \delta c_t \odot i_t \odot (1 - g_t^2) \\
            \delta c_{t-1} &= \delta c_t \odot f_t & \delta h_{t-1} &= U^\top \delta a
        """
        xp, (dh, dc), (_, c), (tanh_c, _) = now.xp, dstate, now.prev, now.saved
        i, f, o, g = now.gates
        di, df, do, dg, projection = now.dgates
        H, three = len(dc), 3 * len(dc)
        ifo, difo, dm = now.a[:three], now.da[:three], now.scratch[three:]
        work, work3 = now.scratch[:H], now.scratch[:three]
        projection[...] = dh
        xp.matmul(p["V"].T, dh, out=dm)
        xp.multiply(dm, o, out=work)
        xp.multiply(work, tanh_c, out=do)
        work -= xp.multiply(do, tanh_c, out=dg)  # dm o (1 - tanh^2 c); dg is free until dc is known
        dc += work
        now.reached(1, dc)

        xp.multiply(dc, i, out=dg)
        xp.multiply(dg, g, out=di)
        dg -= xp.multiply(di, g, out=work)  # dc i (1 - g^2)
        dc *= f
        xp.multiply(dc, c, out=df)
        difo -= xp.multiply(difo, ifo, out=work3)  # each sigmoid's 1 - s is all that they lacked

        xp.matmul(p["U"].T, now.da[: 4 * H], out=dh)

    def recurrent_grads(self, p: Weights, trace: Trace, da: Array, grads: dict[str, Array]) -> None:
        r"""Compute :math:`\delta U = \sum_t \delta a_t h_{t-1}^\top, \; \delta V = \sum_t \delta h_t m_t^\top`."""
        xp, H = trace.xp, trace.hidden
        xp.matmul(da[: 4 * H], trace.previous_rows, out=grads["U"])
        xp.matmul(da[4 * H :], trace.rows("m"), out=grads["V"])
