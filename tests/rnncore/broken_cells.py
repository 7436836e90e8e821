"""Cells with one mistake each, as people make them: what `check_cell` must catch.

A mistake is a cell class, where it is made, and a hook that makes it: `step` runs after the cell's step, `before` and
`after` around its step backward, `grads` after it has written the gradients of U and the like. The hooks around the
step backward also get `was`: copies of the gradients of the states as they came in.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from rnncore.array import sigmoid
from rnncore.cells import CELLS, CIFG, GRU, LSTM, LSTMP, RNN, Cell, GRUBefore, LayerNormLSTM, MinGRU, Now
from rnncore.cells.greff import FGR, NIAF, NIG, NOAF, NOG, NP, PeepholeLSTM
from rnncore.trace import Trace

Hook = Callable[..., None]


@dataclass(frozen=True)
class Mistake:
    """`blames` is the name of the array that the check should find wrong first."""

    title: str
    cell: type[Any]
    where: str
    hook: Hook
    blames: str

    def made(self) -> Cell:
        where, hook = self.where, self.hook

        class Broken(self.cell):  # type: ignore[misc, name-defined]
            def step(self, p: Any, now: Now) -> None:
                super().step(p, now)
                if where == "step":
                    hook(p, now)

            def step_backward(self, p: Any, now: Now, dstate: tuple[Any, ...]) -> None:
                was = tuple(d.copy() for d in dstate)
                if where == "before":
                    hook(p, now, dstate, was)
                super().step_backward(p, now, dstate)
                if where == "after":
                    hook(p, now, dstate, was)

            def recurrent_grads(self, p: Any, trace: Trace, da: Any, grads: dict[str, Any]) -> None:
                super().recurrent_grads(p, trace, da, grads)
                if where == "grads":
                    hook(p, trace, da, grads)

        return Broken()


def gate(k: int, change: Callable[[Any], Any]) -> Hook:
    """Put `change(gate)` times as much in the gradient of pre-activation k, too late for the recurrent product."""

    def hook(p: Any, now: Now, dstate: Any, was: Any) -> None:
        now.dgates[k][...] *= change(now.gates[k] if k < len(now.gates) else now.saved[0])

    return hook


def and_on(hook: Hook) -> Hook:
    """And let what the hook did to `da` reach the state before too: a plain recurrent product, as in LSTM and RNN."""

    def both(p: Any, now: Now, dstate: Any, was: Any) -> None:
        hook(p, now, dstate, was)
        dstate[0][...] = p["U"].T @ now.da

    return both


def states(k: int, change: Callable[[Now], Any]) -> Hook:
    """Put `change(now)` times as much in the gradient of state k."""

    def hook(p: Any, now: Now, dstate: Any, was: Any) -> None:
        dstate[k][...] *= change(now)

    return hook


def no_tanh_slope(p: Any, now: Now, dstate: Any, was: Any) -> None:
    """Let dc = dh o, by adding what is missing from 1 - tanh² to it."""
    dstate[1][...] += dstate[0] * now.gates[2] * now.saved[0] ** 2


def lstm_c_without_output_gate(p: Any, now: Now, dstate: Any, was: Any) -> None:
    o, t = now.gates[2], now.saved[0]
    dstate[1][...] += dstate[0] * (1 - o) * (1 - t**2)


def gru_lost_path(blocks: slice, source: slice) -> Hook:
    """Take one recurrent product out of dh again."""

    def hook(p: Any, now: Now, dstate: Any, was: Any) -> None:
        H = len(dstate[0])
        rows, da = slice(blocks.start * H, blocks.stop * H), slice(source.start * H, source.stop * H)
        dstate[0][...] -= p["U"][rows].T @ now.da[da]

    return hook


def lost_update(p: Any, now: Now, dstate: Any, was: Any) -> None:
    """Take out what reaches the state before past the candidate, dh z."""
    dstate[0][...] -= was[0] * now.gates[1]


def lost_reset(p: Any, now: Now, dstate: Any, was: Any) -> None:
    """Take out what reaches the state before through the candidate, of the reset before the product."""
    H = len(dstate[0])
    dstate[0][...] -= (p["U"][2 * H :].T @ now.dgates[2]) * now.gates[0]


def zero(name: str) -> Hook:
    return lambda p, trace, da, grads: grads[name].fill(0)


def negative(name: str) -> Hook:
    return lambda p, trace, da, grads: np.negative(grads[name], out=grads[name])


def last_block_zero(name: str) -> Hook:
    def hook(p: Any, trace: Trace, da: Any, grads: dict[str, Any]) -> None:
        grads[name][-trace.hidden :] = 0

    return hook


def a_little_off(name: str) -> Hook:
    def hook(p: Any, trace: Trace, da: Any, grads: dict[str, Any]) -> None:
        grads[name].flat[-1] *= 1 + 1e-5

    return hook


def transposed(p: Any, trace: Trace, da: Any, grads: dict[str, Any]) -> None:
    H = trace.hidden
    for k in range(len(grads["U"]) // H):
        grads["U"][k * H : (k + 1) * H] = grads["U"][k * H : (k + 1) * H].T.copy()


def wrong_rows(rows: Callable[[Trace], Any], da_of: Callable[[Any, int], Any] = lambda da, H: da) -> Hook:
    def hook(p: Any, trace: Trace, da: Any, grads: dict[str, Any]) -> None:
        np.matmul(da_of(da, trace.hidden), rows(trace), out=grads["U"])

    return hook


def gru_da(da: Any, H: int) -> Any:
    """What U's gradient is made of in the GRU: δr, δz and δq, without δn."""
    return np.concatenate([da[: 2 * H], da[3 * H :]])


def current(trace: Trace) -> Any:
    return trace.state_rows[trace.packing.batch :]


def as_if_dense(trace: Trace) -> Any:
    return trace.state_rows[: trace.packing.rows]


def sharpened(k: int) -> Hook:
    """A forward pass that its derivative does not know of."""

    def hook(p: Any, now: Now) -> None:
        now.next[0][...] *= 1 + 0.1 * sigmoid(now.gates[k])

    return hook


def slope_of_sigmoid(s: Any) -> Any:
    return 1 / (1 - s)  # leaves s instead of s (1 - s)


def slope_of_tanh(t: Any) -> Any:
    return 1 / (1 - t**2)


def none(_: Any) -> float:
    return 0.0


def flipped(_: Any) -> float:
    return -1.0


def every_gate(cell: type[Any], count: int, tanh: int, linear: int = -1) -> list[Mistake]:
    """For each gate: its gradient zero, its sign flipped, its own slope left out, where it has one."""
    changes = [("is zero", none), ("has the wrong sign", flipped)]
    slopes = [slope_of_tanh if k == tanh else slope_of_sigmoid for k in range(count)]
    return [
        Mistake(f"{cell.__name__}: the gradient of gate {k} {what}", cell, "after", gate(k, change), "W")
        for k in range(count)
        for what, change in [*changes, *([("lacks its slope", slopes[k])] if k != linear else [])]
    ]


def peepholes(names: tuple[str, ...], when: str) -> Hook:
    """Take out of dc again what peepholes let through, by name."""

    def hook(p: Any, now: Now, dstate: Any, was: Any) -> None:
        H = len(dstate[1])
        f = now.gates[1] if when == "after o" else 1.0
        for k in (("input", "forget", "output").index(name) for name in names):
            dstate[1][...] -= f * p["P"][k * H : (k + 1) * H, None] * now.dgates[k]

    return hook


def peephole_rows(p: Any, trace: Trace, da: Any, grads: dict[str, Any]) -> None:
    """Let the gates i and f have seen c_t, as o did."""
    H, c = trace.hidden, trace.rows("c").T
    grads["P"][: 2 * H] = (da[: 2 * H] * np.vstack([c, c])).sum(1)


def output_peephole_rows(p: Any, trace: Trace, da: Any, grads: dict[str, Any]) -> None:
    """Let the gate o have seen c_{t-1}, as i and f did."""
    H = trace.hidden
    grads["P"][2 * H :] = (da[2 * H : 3 * H] * trace.rows_before("c").T).sum(1)


def uncoupled(p: Any, now: Now, dstate: Any, was: Any) -> None:
    """Forget that the forget gate is the input gate as well."""
    c, g = now.prev[1], now.gates[2]
    now.dgates[0][...] *= c / (c - g)


def recurrent_gates(p: Any, trace: Trace, da: Any, grads: dict[str, Any]) -> None:
    np.matmul(da[: 3 * trace.hidden], trace.rows("ifo"), out=grads["R"])


def unprojected(p: Any, trace: Trace, da: Any, grads: dict[str, Any]) -> None:
    """Take the projected h for what was projected."""
    np.matmul(da[4 * trace.hidden :], trace.rows("h"), out=grads["V"])


def without_means(which: str, weight: str) -> Hook:
    """Let the gradient go through a normalisation as if mean and scale were constants."""

    def hook(p: Any, now: Now, dstate: Any, was: Any) -> None:
        H, scale = len(dstate[1]), now.saved[4]
        d = now.dgates[5] * p[weight][:, None]
        if which == "x":
            now.da[: 4 * H] = d * scale[0]
        else:
            now.dgates[4][...] = d * scale[1]
            dstate[0][...] = p["U"].T @ now.dgates[4]

    return hook


def every_parameter(cell: type[Any], names: tuple[str, ...]) -> list[Mistake]:
    """For each gradient that a cell writes itself: zero, negated, one block zero, one number off."""
    return [
        Mistake(f"{cell.__name__}: the gradient of {name} {what}", cell, where, hook, name)
        for name in names
        for what, where, hook in [
            ("is zero", "grads", zero(name)),
            ("is negated", "grads", negative(name)),
            ("lacks its last block", "grads", last_block_zero(name)),
            ("is off by 1e-5 in one place", "grads", a_little_off(name)),
        ]
    ]


def after(title: str, cell: type[Any], hook: Hook, blames: str = "W") -> Mistake:
    return Mistake(f"{cell.__name__}: {title}", cell, "after", hook, blames)


def before(title: str, cell: type[Any], hook: Hook, blames: str = "W") -> Mistake:
    return Mistake(f"{cell.__name__}: {title}", cell, "before", hook, blames)


def grads(title: str, cell: type[Any], hook: Hook) -> Mistake:
    return Mistake(f"{cell.__name__}: {title}", cell, "grads", hook, "U")


FURTHER = [kind for kind in CELLS.values() if kind not in (RNN, LSTM, GRU, GRUBefore)]

MISTAKES: list[Mistake] = [
    *every_gate(RNN, 1, tanh=0),
    *every_gate(LSTM, 4, tanh=3),
    *every_gate(GRU, 3, tanh=2),
    *every_gate(GRUBefore, 3, tanh=2),
    *every_parameter(RNN, ("U",)),
    *every_parameter(LSTM, ("U",)),
    *every_parameter(GRU, ("U", "b_U")),
    *every_parameter(GRUBefore, ("U",)),
    *every_gate(MinGRU, 2, tanh=-1, linear=1),
    *every_gate(PeepholeLSTM, 4, tanh=3),
    *every_gate(LSTMP, 4, tanh=3),
    *every_gate(CIFG, 3, tanh=2),
    *every_gate(NIG, 3, tanh=2),
    *every_gate(NOG, 3, tanh=2),
    *every_gate(NIAF, 4, tanh=-1, linear=3),
    *every_gate(NOAF, 4, tanh=3),
    *every_gate(FGR, 4, tanh=3),
    *(m for m in every_gate(LayerNormLSTM, 4, tanh=3) if "slope" not in m.title),
    *every_parameter(PeepholeLSTM, ("U", "P")),
    *every_parameter(LSTMP, ("U", "V")),
    *every_parameter(LayerNormLSTM, ("U", "alpha_W", "alpha_U", "beta", "alpha_c", "beta_c")),
    *every_parameter(CIFG, ("U", "P")),
    *every_parameter(NP, ("U",)),
    *every_parameter(FGR, ("U", "P", "R")),
    after("dc lacks the peepholes of i and f", PeepholeLSTM, peepholes(("input", "forget"), "")),
    after("dc lacks the peephole of i", PeepholeLSTM, peepholes(("input",), "")),
    after("dc lacks the peephole of o on its way back", PeepholeLSTM, peepholes(("output",), "after o")),
    after("f does not know that it is i too", CIFG, uncoupled),
    after("the gates of the step before get nothing", FGR, states(2, none)),
    before("what arrives at the gates is ignored", FGR, states(2, none)),
    after("dh is lost", MinGRU, states(0, none)),
    after("dh carries z", MinGRU, states(0, lambda now: now.gates[0] / (1 - now.gates[0]))),
    after("the input's normalisation has no mean", LayerNormLSTM, without_means("x", "alpha_W")),
    after("the recurrent normalisation has no mean", LayerNormLSTM, without_means("h", "alpha_U")),
    Mistake("PeepholeLSTM: i and f see c", PeepholeLSTM, "grads", peephole_rows, "P"),
    Mistake("PeepholeLSTM: o sees the c before", PeepholeLSTM, "grads", output_peephole_rows, "P"),
    Mistake("FGR: dR takes the gates for those before", FGR, "grads", recurrent_gates, "R"),
    Mistake("LSTMP: dV takes h for m", LSTMP, "grads", unprojected, "V"),
    *(
        after(title, c, states(k, none))
        for c in (PeepholeLSTM, LSTMP, LayerNormLSTM, CIFG, NIG, NOG, NIAF, NOAF, FGR)
        for k, title in enumerate(("dh is lost", "dc is lost"))
    ),
    *(Mistake(f"{c.__name__}: forward goes on alone", c, "step", sharpened(0), "W") for c in FURTHER),
    after("the gradient of the recall is zero", GRU, gate(3, none), "U"),
    after("dc does not carry f", LSTM, states(1, lambda now: 1 / now.gates[1])),
    after("dc is lost", LSTM, states(1, none)),
    after("dh is lost", LSTM, states(0, none)),
    after("dh is lost", RNN, states(0, none)),
    after("dh is lost", GRU, states(0, none)),
    after("dh is lost", GRUBefore, states(0, none)),
    after("a gate's gradient is wrong on its way back too", LSTM, and_on(gate(3, slope_of_tanh))),
    after("the slope is missing on the way back too", RNN, and_on(gate(0, slope_of_tanh))),
    before("what arrives at c is ignored", LSTM, states(1, none)),
    before("dc lacks 1 - tanh²", LSTM, no_tanh_slope),
    before("dc lacks the output gate", LSTM, lstm_c_without_output_gate),
    after("dh lacks the product with U_rz", GRU, gru_lost_path(slice(0, 2), slice(0, 2))),
    after("dh lacks the product with U_n", GRU, gru_lost_path(slice(2, 3), slice(3, 4))),
    after("dh takes dn for dq", GRU, gru_lost_path(slice(2, 3), slice(2, 3))),
    after("dh lacks the way past the candidate", GRU, lost_update),
    after("dh lacks the way past the candidate", GRUBefore, lost_update),
    after("dh lacks the way through r h", GRUBefore, lost_reset),
    after("dh lacks the product with U_rz", GRUBefore, gru_lost_path(slice(0, 2), slice(0, 2))),
    *(grads("the blocks of dU are transposed", c, transposed) for c in (RNN, LSTM, GRU, GRUBefore)),
    grads("dU takes h for the h before", RNN, wrong_rows(current)),
    grads("dU takes h for the h before", LSTM, wrong_rows(current)),
    grads("dU takes h for the h before", GRU, wrong_rows(current, gru_da)),
    grads("dU takes h for the h before", GRUBefore, wrong_rows(current)),
    grads("dU takes the rows of a dense batch", RNN, wrong_rows(as_if_dense)),
    grads("dU takes the rows of a dense batch", LSTM, wrong_rows(as_if_dense)),
    grads("dU takes h for r h in the candidate", GRUBefore, wrong_rows(lambda trace: trace.previous_rows)),
    grads("dU takes dn for dq", GRU, wrong_rows(lambda trace: trace.previous_rows, lambda da, H: da[: 3 * H])),
    *(
        Mistake(f"{c.__name__}: forward does what backward does not know", c, "step", sharpened(0), "W")
        for c in (RNN, LSTM, GRU, GRUBefore)
    ),
]
