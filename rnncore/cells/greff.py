"""The vanilla LSTM with peepholes, and its eight variants: one definition with a switch."""

from __future__ import annotations

from rnncore.array import Array, sigmoid, sum_over_rows
from rnncore.cells.base import Weights, recurrent_initialisers
from rnncore.params import Initialiser, blockwise, gate_constant, orthogonal, zeros
from rnncore.trace import Now, Trace

#: What each variant leaves out or changes.
VARIANTS = {
    "V": "nothing: the vanilla LSTM, with peepholes",
    "NIG": "no input gate, i = 1",
    "NFG": "no forget gate, f = 1",
    "NOG": "no output gate, o = 1",
    "NIAF": "no input activation function, g = a_g",
    "NOAF": "no output activation function, h = o c",
    "CIFG": "coupled input and forget gate, i = 1 - f",
    "NP": "no peepholes, P = 0",
    "FGR": "full gate recurrence: i, f and o see all three gates of the step before",
}


class GreffLSTM:
    r"""The LSTM of 'A search space odyssey', and its variants.

    .. math::
        i_t &= \sigma(W_i x_t + U_i h_{t-1} + P_i \odot c_{t-1} + b_i) & \text{input gate; NIG: } 1 \\
        f_t &= \sigma(W_f x_t + U_f h_{t-1} + P_f \odot c_{t-1} + b_f) & \text{forget gate; NFG: } 1 \\
        g_t &= \tanh(W_g x_t + U_g h_{t-1} + b_g) & \text{candidate; NIAF: without tanh} \\
        c_t &= f_t \odot c_{t-1} + i_t \odot g_t & \text{CIFG: } i_t = 1 - f_t \\
        o_t &= \sigma(W_o x_t + U_o h_{t-1} + P_o \odot c_t + b_o) & \text{output gate; NOG: } 1 \\
        h_t &= o_t \odot \tanh c_t & \text{NOAF: without tanh}

    NP has no :math:`P`; FGR adds :math:`R\,(i, f, o)_{t-1}` inside the three :math:`\sigma`.

    Parameters, with G gates besides the candidate (3; NIG, NFG, NOG and CIFG: 2): `W` ((G+1)·H, D), `U` ((G+1)·H, H),
    `b` ((G+1)·H,) in the blocks i, f, o, g, those that there are; `P` (G·H,), the peepholes; FGR: `R` (3H, 3H).
    State: h, c; FGR also `ifo` (3H), the three gates of the step before.

    Of the coupled gates the forget gate is the one computed, so that `forget_bias` means the same in every variant;
    the source computes the input gate and sets f = 1 - i, which is the same with the sign of its block turned.

    Parameters
    ----------
    variant : a key of `VARIANTS`: V, NIG, NFG, NOG, NIAF, NOAF, CIFG, NP or FGR.
    forget_bias : the first value of the forget gate's bias.

    Source: K. Greff, R. K. Srivastava, J. Koutník, B. R. Steunebrink & J. Schmidhuber, LSTM: A search space odyssey,
    IEEE Trans. Neural Networks and Learning Systems 28 (2017), section II-A, and the list of variants there.
    """

    variant = "V"
    columnwise = True

    def __init__(self, variant: str | None = None, forget_bias: float = 1.0) -> None:
        self.variant = variant = variant or self.variant
        if variant not in VARIANTS:
            raise ValueError(f"variant: expected one of {', '.join(VARIANTS)}, got {variant!r}")
        self.forget_bias = forget_bias
        missing = {"NIG": "input", "CIFG": "input", "NFG": "forget", "NOG": "output"}.get(variant)
        self.gates: tuple[str, ...] = tuple(
            name for name in ("input", "forget", "output", "candidate") if name != missing
        )
        self.preactivations: tuple[str, ...] = self.gates
        self.state: tuple[str, ...] = ("h", "c", "ifo") if variant == "FGR" else ("h", "c")
        self.saved: tuple[str, ...] = ("squashed_c",)
        self._inner = tuple(gate for gate in ("input", "forget") if gate in self.gates)

    def sizes(self, hidden_size: int) -> dict[str, int]:
        """Return the rows of FGR's third state."""
        return {"ifo": 3 * hidden_size} if self.variant == "FGR" else {}

    def shapes(self, input_size: int, hidden_size: int) -> dict[str, tuple[int, ...]]:
        """Return the shapes of `W`, `U`, `b`, and of `P` and `R` where the variant has them."""
        D, H, G = input_size, hidden_size, len(self.gates) - 1
        shapes: dict[str, tuple[int, ...]] = {"W": (G * H + H, D), "U": (G * H + H, H), "b": (G * H + H,)}
        if self.variant != "NP":
            shapes["P"] = (G * H,)
        if self.variant == "FGR":
            shapes["R"] = (3 * H, 3 * H)
        return shapes

    def initialisers(self) -> dict[str, Initialiser]:
        """Glorot W, orthogonal U and R, zero P and b, but for the forget gate's."""
        found = recurrent_initialisers(len(self.gates)) | {"P": zeros, "R": blockwise(orthogonal, 3)}
        if "forget" in self.gates:
            found["b"] = gate_constant(self.gates.index("forget"), len(self.gates), self.forget_bias)
        return {name: found[name] for name in self.shapes(1, 1)}

    def step(self, p: Weights, now: Now) -> None:
        """Compute the gates, c_t and h_t."""
        xp, a, (h, c), (h_next, c_next), (squashed,) = now.xp, now.a, now.prev[:2], now.next[:2], now.saved
        blocks, ifo, work = self._blocks(now.gates), a[: 3 * len(c)], squashed  # which is free until c_t is known
        a += xp.matmul(p["U"], h, out=now.scratch)
        if self.variant == "FGR":
            ifo += xp.matmul(p["R"], now.prev[2], out=now.scratch[: 3 * len(c)])
        for gate in self._inner:
            self._peep(p, gate, c, blocks[gate], work)
            sigmoid(blocks[gate], out=blocks[gate])
        if self.variant != "NIAF":
            xp.tanh(blocks["candidate"], out=blocks["candidate"])

        i, f, o, g = self._values(blocks)
        xp.multiply(i, g, out=work)
        xp.multiply(f, c, out=c_next)
        c_next += work
        if "output" in blocks:
            self._peep(p, "output", c_next, o, work)
            sigmoid(o, out=o)
        if self.variant == "NOAF":
            squashed[...] = c_next
        else:
            xp.tanh(c_next, out=squashed)
        xp.multiply(o, squashed, out=h_next)
        if self.variant == "FGR":
            now.next[2][...] = ifo

    def step_backward(self, p: Weights, now: Now, dstate: tuple[Array, ...]) -> None:
        r"""Compute the gradients of the gates, and of h and c one step earlier.

        .. math::
            \delta o_t &= \delta h_t \odot \tanh c_t &
            \delta c_t &\mathrel{+}= \delta h_t \odot o_t \odot (1 - \tanh^2 c_t) + P_o \odot \delta a_o \\
            \delta i_t &= \delta c_t \odot g_t &
            \delta f_t &= \delta c_t \odot c_{t-1} \quad \text{(CIFG: } \delta c_t \odot (c_{t-1} - g_t)) \\
            \delta g_t &= \delta c_t \odot i_t &
            \delta a_s &= \delta s_t \odot s_t (1 - s_t) \text{ for } s = i, f, o;
            \quad \delta a_g = \delta g_t \odot (1 - g_t^2) \\
            \delta c_{t-1} &= \delta c_t \odot f_t + P_i \odot \delta a_i + P_f \odot \delta a_f &
            \delta h_{t-1} &= U^\top \delta a

        A function that a variant leaves out has the slope 1. FGR adds to :math:`\delta i_t, \delta f_t, \delta o_t`
        what arrives from the gates one step later, and sends :math:`R^\top \delta a_{ifo}` to those one step earlier.
        """
        xp, (dh, dc), c, (squashed,) = now.xp, dstate[:2], now.prev[1], now.saved
        blocks, d, work = self._blocks(now.gates), self._blocks(now.dgates), now.scratch[: len(dh)]
        i, f, o, g = self._values(blocks)
        if self.variant == "NOAF":
            work[...] = o
        else:
            xp.subtract(1, xp.multiply(squashed, squashed, out=work), out=work)
            work *= o
        work *= dh
        dc += work
        if "output" in d:
            self._through(now, dstate, "output", xp.multiply(dh, squashed, out=work))
            self._peep(p, "output", d["output"], dc, work)
        now.reached(1, dc)

        xp.multiply(dc, i, out=d["candidate"])
        if self.variant != "NIAF":
            d["candidate"] *= 1 - g * g
        if "input" in d:
            self._through(now, dstate, "input", xp.multiply(dc, g, out=work))
        if "forget" in d:
            xp.subtract(c, g, out=work) if self.variant == "CIFG" else xp.copyto(work, c)
            self._through(now, dstate, "forget", xp.multiply(dc, work, out=work))

        dc *= f
        for gate in self._inner:
            self._peep(p, gate, d[gate], dc, work)
        if self.variant == "FGR":
            now.reached(2, dstate[2])
            xp.matmul(p["R"].T, now.da[: 3 * len(dh)], out=dstate[2])
        xp.matmul(p["U"].T, now.da, out=dh)

    def recurrent_grads(self, p: Weights, trace: Trace, da: Array, grads: dict[str, Array]) -> None:
        r"""Compute the sums over time.

        .. math::
            \delta U = \sum_t \delta a_t h_{t-1}^\top, \quad
            \delta P_{if} = \sum_t \delta a_{if} \odot c_{t-1}, \quad \delta P_o = \sum_t \delta a_o \odot c_t, \quad
            \delta R = \sum_t \delta a_{ifo} (i, f, o)_{t-1}^\top
        """
        xp, H = trace.xp, trace.hidden
        xp.matmul(da, trace.previous_rows, out=grads["U"])
        if self.variant == "FGR":
            xp.matmul(da[: 3 * H], trace.rows_before("ifo"), out=grads["R"])
        if self.variant == "NP":
            return
        before, after = trace.rows_before("c").T, trace.rows_after("c").T
        for k, gate in enumerate(self.gates[:-1]):
            here = slice(k * H, (k + 1) * H)
            sum_over_rows(da[here] * (after if gate == "output" else before), out=grads["P"][here])

    def _blocks(self, views: tuple[Array, ...]) -> dict[str, Array]:
        return dict(zip(self.gates, views, strict=True))

    def _values(self, blocks: dict[str, Array]) -> tuple[Array, Array, Array, Array]:
        """Return i, f, o and g; a gate that is not there is 1."""
        f = blocks.get("forget", 1.0)
        i = 1 - f if self.variant == "CIFG" else blocks.get("input", 1.0)
        return i, f, blocks.get("output", 1.0), blocks["candidate"]

    def _peep(self, p: Weights, gate: str, seen: Array, out: Array, work: Array) -> None:
        """Add a gate's peephole weights times `seen` to `out`: forwards c to the gate, backwards the gate's to c's."""
        if self.variant != "NP":
            k, H = self.gates.index(gate), len(seen)
            work[...] = p["P"][k * H : (k + 1) * H, None]
            work *= seen
            out += work

    def _through(self, now: Now, dstate: tuple[Array, ...], gate: str, arriving: Array) -> None:
        """Take what arrives at a gate through its sigmoid."""
        k, H = self.gates.index(gate), len(arriving)
        value, d = now.gates[k], now.dgates[k]
        if self.variant == "FGR":
            at_gate = dstate[2][k * H : (k + 1) * H]
            at_gate += arriving
            arriving = at_gate
        now.xp.subtract(1, value, out=d)
        d *= value
        d *= arriving


class PeepholeLSTM(GreffLSTM):
    """The LSTM with peepholes: `GreffLSTM` as it is, its variant V.

    Source: F. Gers & J. Schmidhuber, Recurrent nets that time and count, IJCNN 2000; in this form A. Graves, Generating
    sequences with recurrent neural networks, 2013, equations 7 to 11, with the peephole matrices diagonal.
    """


class CIFG(GreffLSTM):
    """Coupled input and forget gate: what is forgotten makes room for what is stored, i = 1 - f; with peepholes."""

    variant = "CIFG"


class NIG(GreffLSTM):
    """No input gate."""

    variant = "NIG"


class NFG(GreffLSTM):
    """No forget gate: c only ever adds up, as in the LSTM of 1997."""

    variant = "NFG"


class NOG(GreffLSTM):
    """No output gate."""

    variant = "NOG"


class NIAF(GreffLSTM):
    """No input activation function: the candidate is linear."""

    variant = "NIAF"


class NOAF(GreffLSTM):
    """No output activation function: h = o c."""

    variant = "NOAF"


class NP(GreffLSTM):
    """No peepholes: the same function as `rnncore.cells.LSTM`, which is the faster of the two."""

    variant = "NP"


class FGR(GreffLSTM):
    """Full gate recurrence: the three gates see all three of the step before, through nine more matrices."""

    variant = "FGR"
