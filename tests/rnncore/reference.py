"""The cells as textbooks write them: a plain loop, a sequence a row, a formula a gate, masks for the lengths.

Written from the equations alone, to hold the engine against. Nothing is packed, sorted, joined or reused here, and
states are (B, H), unlike the engine's. Padding must be finite: it is computed and then masked away.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tests.rnncore.reference_variants import VARIANTS, sigmoid

Values = dict[str, Any]
Weights = Mapping[str, Any]
State = tuple[Any, ...]


def rnn(p: Weights, x: Any, state: State) -> Values:
    (h,) = state
    new = np.tanh(x @ p["W"].T + h @ p["U"].T + p["b"])
    return {"hidden": new, "h": new}


def rnn_back(p: Weights, x: Any, state: State, v: Values, dstate: State) -> tuple[Values, State, Values]:
    (h,), (dh,) = state, dstate
    da = dh * (1 - np.tanh(x @ p["W"].T + h @ p["U"].T + p["b"]) ** 2)
    return {"hidden": da}, (da @ p["U"],), {"W": da.T @ x, "U": da.T @ h, "b": da.sum(0)}


def lstm(p: Weights, x: Any, state: State) -> Values:
    h, c = state
    (Wi, Wf, Wo, Wg), (Ui, Uf, Uo, Ug) = np.split(p["W"], 4), np.split(p["U"], 4)
    bi, bf, bo, bg = np.split(p["b"], 4)
    i = sigmoid(x @ Wi.T + h @ Ui.T + bi)
    f = sigmoid(x @ Wf.T + h @ Uf.T + bf)
    o = sigmoid(x @ Wo.T + h @ Uo.T + bo)
    g = np.tanh(x @ Wg.T + h @ Ug.T + bg)
    c = f * c + i * g
    return {"input": i, "forget": f, "output": o, "candidate": g, "tanh_c": np.tanh(c), "c": c, "h": o * np.tanh(c)}


def lstm_back(p: Weights, x: Any, state: State, v: Values, dstate: State) -> tuple[Values, State, Values]:
    (h, c), (dh, dc) = state, dstate
    i, f, o, g = v["input"], v["forget"], v["output"], v["candidate"]
    Ui, Uf, Uo, Ug = np.split(p["U"], 4)
    dc = dc + dh * o * (1 - np.tanh(v["c"]) ** 2)
    di = dc * g * i * (1 - i)
    df = dc * c * f * (1 - f)
    do = dh * np.tanh(v["c"]) * o * (1 - o)
    dg = dc * i * (1 - g**2)
    grads = {
        "W": np.vstack([di.T @ x, df.T @ x, do.T @ x, dg.T @ x]),
        "U": np.vstack([di.T @ h, df.T @ h, do.T @ h, dg.T @ h]),
        "b": np.hstack([di.sum(0), df.sum(0), do.sum(0), dg.sum(0)]),
    }
    da = {"input": di, "forget": df, "output": do, "candidate": dg}
    return da, (di @ Ui + df @ Uf + do @ Uo + dg @ Ug, dc * f), grads


def gru(p: Weights, x: Any, state: State) -> Values:
    (h,) = state
    (Wr, Wz, Wn), (Ur, Uz, Un) = np.split(p["W"], 3), np.split(p["U"], 3)
    (br, bz, bn), (cr, cz, cn) = np.split(p["b"], 3), np.split(p["b_U"], 3)
    r = sigmoid(x @ Wr.T + br + h @ Ur.T + cr)
    z = sigmoid(x @ Wz.T + bz + h @ Uz.T + cz)
    q = h @ Un.T + cn
    n = np.tanh(x @ Wn.T + bn + r * q)
    return {"reset": r, "update": z, "candidate": n, "recall": q, "h": (1 - z) * n + z * h}


def gru_back(p: Weights, x: Any, state: State, v: Values, dstate: State) -> tuple[Values, State, Values]:
    (h,), (dh,) = state, dstate
    r, z, n, q = v["reset"], v["update"], v["candidate"], v["recall"]
    Ur, Uz, Un = np.split(p["U"], 3)
    dn = dh * (1 - z) * (1 - n**2)
    dz = dh * (h - n) * z * (1 - z)
    dr = dn * q * r * (1 - r)
    dq = dn * r
    grads = {
        "W": np.vstack([dr.T @ x, dz.T @ x, dn.T @ x]),
        "U": np.vstack([dr.T @ h, dz.T @ h, dq.T @ h]),
        "b": np.hstack([dr.sum(0), dz.sum(0), dn.sum(0)]),
        "b_U": np.hstack([dr.sum(0), dz.sum(0), dq.sum(0)]),
    }
    return {"reset": dr, "update": dz, "candidate": dn, "recall": dq}, (dh * z + dr @ Ur + dz @ Uz + dq @ Un,), grads


def gru_before(p: Weights, x: Any, state: State) -> Values:
    (h,) = state
    (Wr, Wz, Wn), (Ur, Uz, Un) = np.split(p["W"], 3), np.split(p["U"], 3)
    br, bz, bn = np.split(p["b"], 3)
    r = sigmoid(x @ Wr.T + h @ Ur.T + br)
    z = sigmoid(x @ Wz.T + h @ Uz.T + bz)
    n = np.tanh(x @ Wn.T + (r * h) @ Un.T + bn)
    return {"reset": r, "update": z, "candidate": n, "reset_h": r * h, "h": (1 - z) * n + z * h}


def gru_before_back(p: Weights, x: Any, state: State, v: Values, dstate: State) -> tuple[Values, State, Values]:
    (h,), (dh,) = state, dstate
    r, z, n = v["reset"], v["update"], v["candidate"]
    Ur, Uz, Un = np.split(p["U"], 3)
    dn = dh * (1 - z) * (1 - n**2)
    dz = dh * (h - n) * z * (1 - z)
    dr = (dn @ Un) * h * r * (1 - r)
    grads = {
        "W": np.vstack([dr.T @ x, dz.T @ x, dn.T @ x]),
        "U": np.vstack([dr.T @ h, dz.T @ h, dn.T @ (r * h)]),
        "b": np.hstack([dr.sum(0), dz.sum(0), dn.sum(0)]),
    }
    return {"reset": dr, "update": dz, "candidate": dn}, (dh * z + (dn @ Un) * r + dr @ Ur + dz @ Uz,), grads


@dataclass(frozen=True)
class Textbook:
    """A step, its derivative where one is written out, and the names of the states."""

    step: Callable[[Weights, Any, State], Values]
    back: Callable[[Weights, Any, State, Values, State], tuple[Values, State, Values]] | None
    states: tuple[str, ...] = ("h",)


TEXTBOOK = {
    "RNN": Textbook(rnn, rnn_back),
    "LSTM": Textbook(lstm, lstm_back, ("h", "c")),
    "GRU": Textbook(gru, gru_back),
    "GRU-before": Textbook(gru_before, gru_before_back),
    **{name: Textbook(step, None, states) for name, (step, states) in VARIANTS.items()},
}


@dataclass
class Run:
    """All that happened: `fields` (T, B, H) by name with zeros in the padding, the last states, the gradients."""

    fields: Values
    last: State
    gradients: Values = field(default_factory=dict)
    dparams: Values = field(default_factory=dict)
    dx: Any = None
    dinitial: State = ()


def run(
    name: str, p: Weights, x: Any, initial: Sequence[Any], lengths: Sequence[int], dh: Any, dlast: Sequence[Any]
) -> Run:
    """Forward, and backward where the cell's derivative is written out, over padded x (T, B, D)."""
    cell, state = TEXTBOOK[name], tuple(initial)
    before, values = [], []
    alive = [(t < np.asarray(lengths))[:, None] for t in range(len(x))]
    for t, x_t in enumerate(x):
        before.append(state)
        values.append(cell.step(p, x_t, state))
        state = tuple(np.where(alive[t], values[t][s], old) for s, old in zip(cell.states, state, strict=True))
    names = cell.step(p, x[0], tuple(initial))
    result = Run({k: np.array([v[k] * on for v, on in zip(values, alive, strict=True)]) for k in names}, state)
    if cell.back is None:
        return result

    dstate, das, dxs = tuple(dlast), [], []
    dparams = {k: np.zeros_like(v) for k, v in p.items()}
    for t in reversed(range(len(x))):
        reaching = tuple((d + dh[t] if k == 0 else d) * alive[t] for k, d in enumerate(dstate))
        da, dprev, grads = cell.back(p, x[t], before[t], values[t], reaching)
        dstate = tuple(np.where(alive[t], new, old) for new, old in zip(dprev, dstate, strict=True))
        dparams = {k: total + grads[k] for k, total in dparams.items()}
        joined = np.hstack([da[k] for k in list(da)[: len(p["W"]) // dh.shape[2]]])
        das.append(da)
        dxs.append(joined @ p["W"])
    result.gradients = {k: np.array([da[k] for da in reversed(das)]) for k in das[0]}
    result.dx, result.dinitial, result.dparams = np.array(dxs[::-1]), dstate, dparams
    return result
