"""Is a difference more than chance? Bootstrap intervals, and paired tests between two systems.

The pictures are what chance draws (Koehn, EMNLP 2004: paired bootstrap; Riezler and Maxwell, ACL workshop 2005, after
Noreen 1989: approximate randomisation), and so are the training runs (Welch, Biometrika 1947: a t-test of unequal
variances). Whoever claims that one system is better should pass both.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from captioning.metrics.bleu import Floats
from captioning.metrics.statistics import Statistics, metrics_of

RESAMPLES = 5000
_TOGETHER = 500  # samples of pictures drawn at a time: some 8 MB of counts for a thousand pictures


@dataclass(frozen=True)
class Paired:
    """How far the first system is ahead of the second in one metric, and how often chance does as much.

    difference : first minus second. low, high : the 95 % interval of the paired bootstrap.
    p_bootstrap : two-sided, how often a sample of the pictures turns the order round.
    p_randomisation : two-sided, how often swapping the two systems at random gives a difference as large.
    """

    difference: float
    low: float
    high: float
    p_bootstrap: float
    p_randomisation: float


def intervals(statistics: Statistics, resamples: int = RESAMPLES, seed: int = 0) -> dict[str, tuple[float, float]]:
    """The 95 % percentile bootstrap interval of each metric over the pictures, COCO's times 100."""
    drawn = np.concatenate(
        [metrics_of(counts @ statistics.rows) for counts in _bootstrap(len(statistics.rows), resamples, seed)]
    )
    low, high = np.quantile(drawn, [0.025, 0.975], axis=0)
    return {name: (float(a), float(b)) for name, a, b in zip(statistics.metrics, low, high, strict=True)}


def paired(first: Statistics, second: Statistics, resamples: int = RESAMPLES, seed: int = 0) -> dict[str, Paired]:
    """Compare two systems on the same pictures, for each of their metrics.

    Raises
    ------
    ValueError
        If the two did not caption the same pictures in the same order.
    """
    if first.names != second.names:
        raise ValueError("two systems are compared on the same pictures, in the same order")
    a, b = first.rows, second.rows
    observed = metrics_of(a.sum(axis=0)) - metrics_of(b.sum(axis=0))
    drawn = _differences(_bootstrap(len(a), resamples, seed), lambda c: (c @ a, c @ b))
    total = a.sum(axis=0) + b.sum(axis=0)

    def swapped(keep: Floats) -> tuple[Floats, Floats]:
        sums = keep @ (a - b) + b.sum(axis=0)
        return sums, total - sums

    random = _differences(_halves(len(a), resamples, seed + 1), swapped)
    low, high = np.quantile(drawn, [0.025, 0.975], axis=0)
    turned = np.minimum((drawn <= 0).sum(axis=0), (drawn >= 0).sum(axis=0))
    p_bootstrap = np.minimum(2 * (turned + 1) / (resamples + 1), 1)
    as_large = (np.abs(random) >= np.abs(observed) - 1e-9).sum(axis=0)
    rows = zip(observed, low, high, p_bootstrap, (as_large + 1) / (resamples + 1), strict=True)
    return {name: Paired(*map(float, row)) for name, row in zip(first.metrics, rows, strict=True)}


def _bootstrap(pictures: int, resamples: int, seed: int) -> Iterator[Floats]:
    """Samples of the pictures with replacement, as how often each is drawn: blocks of (samples, pictures)."""
    rng = np.random.default_rng(seed)
    for first in range(0, resamples, _TOGETHER):
        size = min(_TOGETHER, resamples - first)
        drawn = rng.integers(pictures, size=(size, pictures)) + pictures * np.arange(size)[:, None]
        yield np.bincount(drawn.ravel(), minlength=size * pictures).reshape(size, pictures).astype(np.float64)


def _halves(pictures: int, resamples: int, seed: int) -> Iterator[Floats]:
    """For each sample the pictures, as 0 or 1, whose two captions stay where they are; the others are swapped."""
    rng = np.random.default_rng(seed)
    for first in range(0, resamples, _TOGETHER):
        yield rng.integers(2, size=(min(_TOGETHER, resamples - first), pictures)).astype(np.float64)


def _differences(samples: Iterator[Floats], sums: Callable[[Floats], tuple[Floats, Floats]]) -> Floats:
    """The difference of the metrics in each sample, (samples, metrics)."""
    return np.concatenate([metrics_of(one) - metrics_of(other) for one, other in map(sums, samples)])


def deviation(values: Sequence[float]) -> float:
    """The standard deviation of a sample, with n - 1; 0 of a single value."""
    return float(np.std(values, ddof=1)) if len(values) > 1 else 0.0


def welch(first: Sequence[float], second: Sequence[float]) -> float | None:
    """The two-sided p of Welch's t-test that two samples have one mean; None where either has but one value."""
    if min(len(first), len(second)) < 2:
        return None
    errors = [np.var(values, ddof=1) / len(values) for values in (first, second)]
    difference, error = abs(float(np.mean(first) - np.mean(second))), float(sum(errors))
    if error == 0:
        return 1.0 if difference == 0 else 0.0
    freedom = error**2 / sum(e**2 / (len(v) - 1) for e, v in zip(errors, (first, second), strict=True))
    return student(difference / math.sqrt(error), float(freedom))


def student(t: float, freedom: float) -> float:
    """P(|T| >= t) of Student's t distribution, to about 1e-9.

    With x = sqrt(v) tan(a) its density becomes cos(a)^(v-1), integrated here by Gauss and Legendre.
    """
    angle, (nodes, weights) = math.atan(t / math.sqrt(freedom)), _nodes()

    def area(start: float) -> float:
        half = (math.pi / 2 - start) / 2
        return float(half * (weights * np.cos(start + half * (nodes + 1)) ** (freedom - 1)).sum())

    return area(angle) / area(0.0)


@cache
def _nodes() -> tuple[Floats, Floats]:
    """The places and weights of Gauss and Legendre, which take longer to find than the integral."""
    return np.polynomial.legendre.leggauss(200)
