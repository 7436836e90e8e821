"""Long short-term memory with layer normalisation."""

from __future__ import annotations

import numpy as np

from rnncore.array import Array, sigmoid, sum_over_rows
from rnncore.cells.base import Weights
from rnncore.cells.lstm import LSTM
from rnncore.params import Initialiser, zeros
from rnncore.trace import Now, Trace

_EPSILON = 1e-5


class LayerNormLSTM:
    r"""LSTM with layer normalisation of the input product, of the recurrent product, and of c on its way to h.

    .. math::
        a_t &= \alpha_W \odot N(W x_t + b) + \alpha_U \odot N(U h_{t-1}) + \beta \\
        i_t, f_t, o_t &= \sigma(a_i), \sigma(a_f), \sigma(a_o), \quad g_t = \tanh(a_g) \\
        c_t &= f_t \odot c_{t-1} + i_t \odot g_t \\
        h_t &= o_t \odot \tanh(\alpha_c \odot N(c_t) + \beta_c) \\
        N(v) &= \frac{v - \mathrm{mean}(v)}{\sqrt{\mathrm{mean}((v - \mathrm{mean}(v))^2) + 10^{-5}}}

    The mean of the products is taken over all 4H rows at once, as in the source, not gate by gate. The source's two
    shifts and its bias, which only ever act as their sum, are :math:`\beta`; `b`, which belongs to W x in this library,
    stands inside the normalisation, and is the one thing beyond the source: at zero, where it starts, it is not there.
    c is carried on as it is, and normalised only for h.

    Parameters: `W` (4H, D), `U` (4H, H), `b` (4H,), `alpha_W`, `alpha_U` and `beta` (4H,), each in the blocks i, f, o,
    g; `alpha_c` and `beta_c` (H,). State: h, c. The forget bias is a first value of `beta`.

    In the Trace the gradient of a gate is that of its block of W x + b; of its a it is a block of `sum`.

    Source: J. L. Ba, J. R. Kiros & G. E. Hinton, Layer normalization, 2016 (arXiv 1607.06450), the LSTM of the
    supplementary material.
    """

    gates: tuple[str, ...] = LSTM.gates
    preactivations: tuple[str, ...] = (*gates, "recurrent", "sum", "normal_c")
    state: tuple[str, ...] = ("h", "c")
    saved: tuple[str, ...] = ("normal_x", "normal_h", "normal_c", "tanh_c", "scale")
    columnwise = True

    def __init__(self, forget_bias: float = 1.0) -> None:
        self.forget_bias = forget_bias

    def sizes(self, hidden_size: int) -> dict[str, int]:
        """Return the rows of what spans the four gates, and of the three scales."""
        return dict.fromkeys(("recurrent", "sum", "normal_x", "normal_h"), 4 * hidden_size) | {"scale": 3}

    def shapes(self, input_size: int, hidden_size: int) -> dict[str, tuple[int, ...]]:
        """Return the shapes of the eight parameters."""
        H = hidden_size
        return {
            **LSTM().shapes(input_size, H),
            **dict.fromkeys(("alpha_W", "alpha_U", "beta"), (4 * H,)),
            **dict.fromkeys(("alpha_c", "beta_c"), (H,)),
        }

    def initialisers(self) -> dict[str, Initialiser]:
        """As in the LSTM, with the forget bias in beta; alpha is one, beta_c zero."""
        first = LSTM(self.forget_bias).initialisers()
        return (
            first
            | {"b": zeros, "beta": first["b"], "beta_c": zeros}
            | dict.fromkeys(("alpha_W", "alpha_U", "alpha_c"), _ones)
        )

    def step(self, p: Weights, now: Now) -> None:
        """Compute the gates, c_t and h_t."""
        xp, a, (h, c), (h_next, c_next) = now.xp, now.a, now.prev, now.next
        normal_x, normal_h, normal_c, tanh_c, scale = now.saved
        i, f, o, g = now.gates
        _normalise(now, a, normal_x, scale[0])
        _normalise(now, xp.matmul(p["U"], h, out=now.scratch), normal_h, scale[1])
        xp.multiply(normal_x, p["alpha_W"][:, None], out=a)
        a += xp.multiply(normal_h, p["alpha_U"][:, None], out=now.scratch)
        a += p["beta"][:, None]
        ifo = a[: 3 * len(c)]
        sigmoid(ifo, out=ifo)
        xp.tanh(g, out=g)

        xp.multiply(i, g, out=tanh_c)  # tanh_c is free until c_t is known
        xp.multiply(f, c, out=c_next)
        c_next += tanh_c
        _normalise(now, c_next, normal_c, scale[2])
        xp.multiply(normal_c, p["alpha_c"][:, None], out=tanh_c)
        tanh_c += p["beta_c"][:, None]
        xp.tanh(tanh_c, out=tanh_c)
        xp.multiply(o, tanh_c, out=h_next)

    def step_backward(self, p: Weights, now: Now, dstate: tuple[Array, ...]) -> None:
        r"""Compute the gradients of all that is summed or normalised, and of h and c one step earlier.

        As in the LSTM, with :math:`\delta h_t \odot o_t \odot (1 - \tanh^2)` at the argument of the last tanh, and for
        each :math:`n = N(v)` of scale :math:`s = 1 / \sqrt{\cdot}`

        .. math:: \delta v = s\,[\delta n - \mathrm{mean}(\delta n) - n \odot \mathrm{mean}(\delta n \odot n)]
        """
        xp, (dh, dc), (_, c) = now.xp, dstate, now.prev
        normal_x, normal_h, normal_c, tanh_c, scale = now.saved
        i, f, o, g = now.gates
        H, dnormal_c, dsum = len(dc), now.dgates[6], now.dgates[5]
        work = now.scratch[:H]
        xp.multiply(dh, o, out=dnormal_c)
        dnormal_c *= 1 - tanh_c * tanh_c
        dc += _through(now, dnormal_c * p["alpha_c"][:, None], normal_c, scale[2])
        now.reached(1, dc)

        ifo, difo, (di, df, do, dg) = now.a[: 3 * H], dsum[: 3 * H], dsum.reshape(4, H, -1)
        xp.subtract(1, ifo, out=difo)
        difo *= ifo
        xp.multiply(g, g, out=dg)
        xp.subtract(1, dg, out=dg)
        di *= xp.multiply(dc, g, out=work)
        df *= xp.multiply(dc, c, out=work)
        do *= xp.multiply(dh, tanh_c, out=work)
        dg *= xp.multiply(dc, i, out=work)

        dc *= f
        now.da[: 4 * H] = _through(now, dsum * p["alpha_W"][:, None], normal_x, scale[0])
        now.dgates[4][...] = _through(now, dsum * p["alpha_U"][:, None], normal_h, scale[1])
        xp.matmul(p["U"].T, now.dgates[4], out=dh)

    def recurrent_grads(self, p: Weights, trace: Trace, da: Array, grads: dict[str, Array]) -> None:
        r"""Compute the gradients of U, and of each :math:`\alpha` and :math:`\beta`: sums over time."""
        H = trace.hidden
        recurrent, dsum, dnormal_c = da[4 * H : 8 * H], da[8 * H : 12 * H], da[12 * H :]
        trace.xp.matmul(recurrent, trace.previous_rows, out=grads["U"])
        sum_over_rows(dsum * trace.rows("normal_x").T, out=grads["alpha_W"])
        sum_over_rows(dsum * trace.rows("normal_h").T, out=grads["alpha_U"])
        sum_over_rows(dsum, out=grads["beta"])
        sum_over_rows(dnormal_c * trace.rows("normal_c").T, out=grads["alpha_c"])
        sum_over_rows(dnormal_c, out=grads["beta_c"])


def _ones(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return np.ones(shape)


def _normalise(now: Now, v: Array, out: Array, scale: Array) -> None:
    """Set `out` to N(v) and `scale` to what it was multiplied by, column by column."""
    now.xp.subtract(v, v.mean(0), out=out)
    scale[...] = 1 / now.xp.sqrt((out * out).mean(0) + _EPSILON)
    out *= scale


def _through(now: Now, d: Array, normal: Array, scale: Array) -> Array:
    """Return the gradient of v from that of N(v), which is used up."""
    mean = (d * normal).mean(0)
    d -= d.mean(0)
    d -= normal * mean
    d *= scale
    return d
