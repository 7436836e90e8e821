"""What gates are worth: the loss without them, and all measures of a captioner as plain values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from captioning.corpus import mean_loss
from captioning.errors import CaptioningError
from captioning.evaluate import derangement
from captioning.study.studied import Studied, held
from rnncore.study import (
    Clamp,
    Run,
    Shift,
    frozen,
    gradient_by_lag,
    half_life,
    lag_below,
    perturbation,
    removed,
    saturation,
    silenced,
    token_correlation,
    token_share,
    usage,
)
from rnncore.study.gates import carried_state, squash_of
from rnncore.study.intervene import Intervention

Done = Callable[[int, int], None]

#: How far a forget gate's bias is moved, in `measures_of`.
SHIFTS = (-4.0, -2.0, -1.0, 1.0, 2.0, 4.0)


def interventions_of(run: Run) -> dict[str, list[Clamp]]:
    """Return what can be done to every gate as a whole: frozen at its units' means, removed; and all units silenced."""
    done: dict[str, list[Clamp]] = {}
    for gate in run.cell.gates:
        try:
            squash_of(run.cell, gate)
        except ValueError:  # a normalised pre-activation: the gate cannot be set from outside
            continue
        done[f"{gate} frozen"] = [frozen(run, gate)]
        if gate != "candidate":
            done[f"{gate} removed"] = [removed(run.cell, gate)]
    return {**done, "all units silenced": silenced(run.cell)} if done else {}


@dataclass(frozen=True)
class Price:
    r"""What an intervention costs: the loss under it, and what it leaves of the picture's information, nats a word.

    .. math:: I = L(\text{pictures exchanged}) - L(\text{own pictures})
    """

    loss: float
    picture: float


def price(studied: Studied, interventions: Sequence[Intervention], seed: int = 0) -> Price:
    """Return the price of an intervention over the whole split; pictures are exchanged by a derangement."""
    order = derangement(len(studied.split.names), seed)
    exchanged = replace(studied.split, features=studied.split.features[studied.model.xp.asarray(order)])
    with held(studied.model, interventions):
        own = mean_loss(studied.model, studied.split)
        return Price(own, mean_loss(studied.model, exchanged) - own)


def measures_of(studied: Studied, captions: int, done: Done = lambda k, n: None) -> dict[str, Any]:
    """Return every measure of a captioner as plain values.

    captions : how many of the split's captions the gates are looked at over; losses are over all of them.
    done : told how many of the prices are found, and of how many.
    """
    if studied.checkpoint.recipe.model.attention != "none":
        raise CaptioningError(f"{studied.name}: a cell with attention cannot be measured alone; its page can be shown")
    run = studied.run(np.arange(min(captions, len(studied.split.ids))))
    state = carried_state(run.cell)
    gradient, memory, lives = gradient_by_lag(run), perturbation(run), _half_lives(run)
    words, shared = token_correlation(run, state, least=10), (*run.cell.gates, *run.cell.state)
    return {
        "captions": run.batch,
        "steps": int(run.lengths.sum()),
        "usage": {gate: _rounded(asdict(used)) for gate, used in usage(run).items()},
        "saturation": {gate: _sides(run, gate) for gate in run.cell.gates},
        "half_life": [round(float(tau), 3) for tau in np.minimum(lives, 1e4)],
        "half_life_median": round(float(np.median(lives)), 3) if len(lives) else None,
        "token_share": {name: round(float(token_share(run, name).mean()), 4) for name in shared},
        "units_of_words": [[k, word, round(value, 3)] for k, word, value in words.best_units(12)],
        "gradient_by_lag": _by_lag(gradient),
        "gradient_half": round(lag_below(gradient), 2),
        "perturbation": _by_lag(memory),
        "perturbation_half": round(lag_below(memory), 2),
        "prices": prices_of(studied, run, done),
    }


def prices_of(studied: Studied, run: Run, done: Done) -> dict[str, dict[str, float]]:
    """Return the price of leaving all as it is, of every intervention on a whole gate, and of another forget bias."""
    asked: dict[str, Sequence[Intervention]] = {"as trained": [], **interventions_of(run)}
    for gate in ("forget", "update"):
        if gate in run.cell.gates:
            asked |= {f"{gate} bias {by:+g}": [Shift(gate, by)] for by in SHIFTS}
    found = {}
    for k, (name, interventions) in enumerate(asked.items()):
        found[name] = _rounded(asdict(price(studied, interventions)))
        done(k + 1, len(asked))
    return found


def _half_lives(run: Run) -> np.ndarray[Any, Any]:
    """None where no gate carries anything, as in a tanh RNN."""
    try:
        return half_life(run)
    except ValueError:
        return np.zeros(0)


def _sides(run: Run, gate: str) -> dict[str, list[float]]:
    found = saturation(run, gate)
    return {"left": [round(float(v), 3) for v in found.left], "right": [round(float(v), 3) for v in found.right]}


def _by_lag(curve: np.ndarray[Any, Any]) -> dict[str, list[float]]:
    """Quartiles by lag, as far as ten sequences reach."""
    known = (~np.isnan(curve)).sum(1) >= min(10, curve.shape[1])
    low, middle, high = np.nanquantile(curve[known], [0.25, 0.5, 0.75], axis=1)
    return {name: [round(float(v), 4) for v in row] for name, row in (("low", low), ("median", middle), ("high", high))}


def _rounded(values: dict[str, float]) -> dict[str, float]:
    return {name: round(value, 5) for name, value in values.items()}
