"""Statistics of timings: medians, quartiles, and intervals by the bootstrap over pairs.

Timings on a shared machine have long tails to one side, so nothing here takes a mean or assumes a distribution.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

#: How often the bootstrap draws, and how much of what it draws the interval holds.
DRAWS, LEVEL = 4000, 0.95
#: Two runs of the same code on one machine differ by about this much, whatever the interval within each says.
MARGIN = 0.03


class Spread(NamedTuple):
    """A median with its quartiles."""

    low: float
    median: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Return the quartiles of at least one value."""
        if len(values) == 0:
            raise ValueError("no values: the median of nothing is undefined")
        return cls(*(float(q) for q in np.percentile(np.asarray(values, float), [25, 50, 75])))


class Change(NamedTuple):
    """How a later figure compares with an earlier one.

    ratio : later / earlier, below 1 is faster. low, high : its interval. verdict : 'better', 'worse' or 'noise'.
    """

    ratio: float
    low: float
    high: float
    verdict: str


def pair_ratios(ours: Sequence[float], theirs: Sequence[float]) -> list[float]:
    """Return ours / theirs turn by turn; both took their turns in the same rounds."""
    if len(ours) != len(theirs):
        raise ValueError(f"pairs need equal numbers of turns, got {len(ours)} and {len(theirs)}")
    return [a / b for a, b in zip(ours, theirs, strict=True)]


def interval(values: Sequence[float], seed: int = 0) -> tuple[float, float]:
    """Return the bootstrap interval of the median of `values`, by percentiles.

    Source: B. Efron, Bootstrap methods: another look at the jackknife, Annals of Statistics 7 (1979).
    """
    low, high = np.percentile(_medians(values, np.random.default_rng(seed)), _tails())
    return float(low), float(high)


def compare(before: Sequence[float], after: Sequence[float], margin: float = MARGIN, seed: int = 0) -> Change:
    """Return how the median of `after` compares with that of `before`; less is better.

    Each holds the ratios of one run's pairs. Better or worse it is only if the whole interval lies beyond the margin
    on one side: the interval knows what wanders within a run, the margin what wanders between runs.
    """
    rng = np.random.default_rng(seed)
    drawn = _medians(after, rng) / _medians(before, rng)
    low, high = (float(q) for q in np.percentile(drawn, _tails()))
    ratio = float(np.median(after) / np.median(before))
    verdict = "better" if high < 1 - margin else "worse" if low > 1 + margin else "noise"
    return Change(ratio, low, high, verdict)


def exponent(sizes: Sequence[float], seconds: Sequence[float]) -> float:
    """Return p of the least-squares fit seconds = c · size^p, a straight line in logarithms."""
    if len(sizes) < 2 or len(set(sizes)) < 2:
        raise ValueError(f"an exponent needs two different sizes, got {list(sizes)}")
    slope, _ = np.polyfit(np.log(np.asarray(sizes, float)), np.log(np.asarray(seconds, float)), 1)
    return float(slope)


def _medians(values: Sequence[float], rng: np.random.Generator) -> np.ndarray:
    if len(values) == 0:
        raise ValueError("no values: there is nothing to draw from")
    return np.median(rng.choice(np.asarray(values, float), (DRAWS, len(values))), axis=1)


def _tails() -> tuple[float, float]:
    return 50 * (1 - LEVEL), 50 * (1 + LEVEL)
