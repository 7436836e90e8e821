"""The further cells as their papers write them, forwards only: finite differences hold their gradients."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

Values = dict[str, Any]
Weights = Mapping[str, Any]
State = tuple[Any, ...]


def sigmoid(a: Any) -> Any:
    return 1 / (1 + np.exp(-a))


def greff(variant: str) -> Callable[[Weights, Any, State], Values]:
    names = {"NIG": "fog", "NFG": "iog", "NOG": "ifg", "CIFG": "fog"}.get(variant, "ifog")

    def step(p: Weights, x: Any, state: State) -> Values:
        h, c = state[:2]
        a = dict(zip(names, np.split(x @ p["W"].T + h @ p["U"].T + p["b"], len(names), axis=1), strict=True))
        P = dict.fromkeys("ifo", 0.0)
        if variant != "NP":
            P |= dict(zip(names, np.split(p["P"], len(names) - 1), strict=False))
        if variant == "FGR":
            for k, block in zip("ifo", np.split(state[2] @ p["R"].T, 3, axis=1), strict=True):
                a[k] = a[k] + block
        f = sigmoid(a["f"] + P["f"] * c) if "f" in a else 1.0
        i = sigmoid(a["i"] + P["i"] * c) if "i" in a else 1.0
        if variant == "CIFG":
            i = 1 - f
        g = a["g"] if variant == "NIAF" else np.tanh(a["g"])
        c = f * c + i * g
        o = sigmoid(a["o"] + P["o"] * c) if "o" in a else 1.0
        squashed = c if variant == "NOAF" else np.tanh(c)
        gates = {"i": ("input", i), "f": ("forget", f), "o": ("output", o), "g": ("candidate", g)}
        found = dict(gates[k] for k in names) | {"squashed_c": squashed, "c": c, "h": o * squashed}
        return found | ({"ifo": np.hstack([i, f, o])} if variant == "FGR" else {})

    return step


def mingru(p: Weights, x: Any, state: State) -> Values:
    (h,) = state
    (Wz, Wn), (bz, bn) = np.split(p["W"], 2), np.split(p["b"], 2)
    z, n = sigmoid(x @ Wz.T + bz), x @ Wn.T + bn
    return {"update": z, "candidate": n, "h": (1 - z) * h + z * n}


def lstmp(p: Weights, x: Any, state: State) -> Values:
    h, c = state
    i, f, o, g = np.split(x @ p["W"].T + h @ p["U"].T + p["b"], 4, axis=1)
    i, f, o, g = sigmoid(i), sigmoid(f), sigmoid(o), np.tanh(g)
    c = f * c + i * g
    m = o * np.tanh(c)
    found = {"input": i, "forget": f, "output": o, "candidate": g, "tanh_c": np.tanh(c), "m": m, "c": c}
    return found | {"h": m @ p["V"].T}


def normal(v: Any) -> tuple[Any, Any]:
    scale = 1 / np.sqrt(v.var(1, keepdims=True) + 1e-5)
    return (v - v.mean(1, keepdims=True)) * scale, scale


def layernorm(p: Weights, x: Any, state: State) -> Values:
    h, c = state
    (x, sx), (h, sh) = normal(x @ p["W"].T + p["b"]), normal(h @ p["U"].T)
    i, f, o, g = np.split(x * p["alpha_W"] + h * p["alpha_U"] + p["beta"], 4, axis=1)
    i, f, o, g = sigmoid(i), sigmoid(f), sigmoid(o), np.tanh(g)
    c = f * c + i * g
    n, sc = normal(c)
    t = np.tanh(p["alpha_c"] * n + p["beta_c"])
    gates = {"input": i, "forget": f, "output": o, "candidate": g, "c": c, "h": o * t, "tanh_c": t}
    return gates | {"normal_x": x, "normal_h": h, "normal_c": n, "scale": np.hstack([sx, sh, sc])}


HC = ("h", "c")
VARIANTS: dict[str, tuple[Callable[[Weights, Any, State], Values], tuple[str, ...]]] = {
    "minGRU": (mingru, ("h",)),
    "LSTM-projection": (lstmp, HC),
    "LSTM-projection-2": (lstmp, HC),
    "LSTM-layernorm": (layernorm, HC),
    "LSTM-peephole": (greff("V"), HC),
    "CIFG": (greff("CIFG"), HC),
    **{f"Greff-{v}": (greff(v), HC) for v in ("NIG", "NFG", "NOG", "NIAF", "NOAF", "NP")},
    "Greff-FGR": (greff("FGR"), (*HC, "ifo")),
}
