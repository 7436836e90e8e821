"""What each level of a grid does: its mean difference from the first level, all else equal, with its interval."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any

from captioning.metrics.significance import deviation, student

#: What can be looked at, and whether more of it is better.
MEASURES = {"CIDEr-D": True, "BLEU-4": True, "BLEU-1": True, "ROUGE-L": True, "loss": False}


@dataclass(frozen=True)
class Effect:
    """A level against the reference of its axis, over the pairs of trainings that differ in nothing else.

    mean : of the differences, level minus reference. low, high : of its 95 % interval by Student's t with n - 1 degrees
        of freedom, None of a single pair. The pairs are taken as a sample: where axes act on one another, it is wider.
    """

    axis: str
    level: str
    reference: str
    pairs: int
    mean: float
    low: float | None
    high: float | None


def effects(runs: Sequence[Mapping[str, Any]], axes: Mapping[str, Sequence[str]], measure: str) -> list[Effect]:
    """Return the effect of every level but the references on a measure.

    runs : with `levels`, `seed` and `measures` each; those that failed have no measures and take no part. axes : the
    levels by axis, the reference first.
    """
    by_place = {place(run["levels"], run["seed"]): run["measures"][measure] for run in runs if run["measures"]}
    found = []
    for axis, (reference, *others) in axes.items():
        for level in others:
            pairs = [
                (value, by_place[other])
                for key, value in by_place.items()
                if dict(key[0])[axis] == level
                and (other := place(dict(key[0]) | {axis: reference}, key[1])) in by_place
            ]
            if pairs:
                found.append(Effect(axis, level, reference, len(pairs), *interval([a - b for a, b in pairs])))
    return found


def place(levels: Mapping[str, str], seed: int) -> tuple[tuple[tuple[str, str], ...], int]:
    """Return what tells a training from all others."""
    return tuple(sorted(levels.items())), seed


def interval(values: Sequence[float]) -> tuple[float, float | None, float | None]:
    r"""Return the mean :math:`\bar d` and :math:`\bar d \pm t_{n-1} s / \sqrt n`, None of a single value."""
    mean = sum(values) / len(values)
    if len(values) < 2:
        return mean, None, None
    half = t_quantile(len(values) - 1) * deviation(values) / math.sqrt(len(values))
    return mean, mean - half, mean + half


@cache
def t_quantile(freedom: int, p: float = 0.05) -> float:
    """Return t with P(abs(T) >= t) = p, by halving an interval."""
    low, high = 0.0, 1.0
    while student(high, freedom) > p:
        high *= 2
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if student(middle, freedom) > p else (low, middle)
    return high


def all_effects(
    runs: Sequence[Mapping[str, Any]], axes: Mapping[str, Sequence[str]]
) -> dict[str, list[dict[str, Any]]]:
    """Return the effects on every measure, as plain values."""
    return {measure: [asdict(effect) for effect in effects(runs, axes, measure)] for measure in MEASURES}
