"""Medians, intervals and verdicts on numbers whose answers are known."""

import numpy as np
import pytest

from benchmarks.numbers import MARGIN, Spread, compare, exponent, interval, pair_ratios


def wandering(centre: float, count: int = 25, seed: int = 0, deviation: float = 0.03) -> list[float]:
    """Ratios around a centre with a tail to the slow side, as timings have it."""
    rng = np.random.default_rng(seed)
    return list(centre * np.exp(rng.normal(0, deviation, count) + rng.exponential(deviation, count)))


def test_quartiles() -> None:
    assert Spread.of([4.0, 1.0, 3.0, 2.0, 5.0]) == (2.0, 3.0, 4.0)
    with pytest.raises(ValueError, match="no values"):
        Spread.of([])


def test_ratios_are_taken_pair_by_pair() -> None:
    assert pair_ratios([1.0, 4.0], [2.0, 2.0]) == [0.5, 2.0]
    with pytest.raises(ValueError, match="3 and 2"):
        pair_ratios([1.0] * 3, [1.0] * 2)


def test_the_interval_holds_the_median_of_what_was_drawn_from_in_about_95_of_100_cases() -> None:
    held = 0
    for seed in range(200):
        values = np.random.default_rng(seed).normal(1.0, 0.1, 21)
        low, high = interval(list(values), seed)
        held += low <= 1.0 <= high
    assert 180 <= held <= 199


def test_equal_seeds_give_equal_intervals() -> None:
    values = wandering(1.0)
    assert interval(values, 3) == interval(values, 3)


@pytest.mark.parametrize(("factor", "verdict"), [(0.8, "better"), (1.25, "worse"), (1.0, "noise"), (1.01, "noise")])
def test_verdicts(factor: float, verdict: str) -> None:
    change = compare(wandering(0.9), wandering(0.9 * factor, seed=1))
    assert change.verdict == verdict
    assert change.low < change.ratio < change.high
    assert change.ratio == pytest.approx(factor, rel=0.05)


def test_a_change_within_the_margin_is_noise_however_sure_it_is() -> None:
    before, after = wandering(1.0, 400, deviation=1e-4), wandering(1.02, 400, seed=1, deviation=1e-4)
    assert compare(before, after).verdict == "noise"
    assert compare(before, after, margin=0.0).verdict == "worse"
    assert MARGIN > 0.02


def test_a_large_change_of_few_wild_pairs_is_noise() -> None:
    assert compare([1.0, 3.0, 0.5], [2.0, 0.4, 1.1]).verdict == "noise"


def test_an_exponent_is_the_slope_in_logarithms() -> None:
    sizes = [16, 32, 64, 128]
    assert exponent(sizes, [3e-6 * n**1.7 for n in sizes]) == pytest.approx(1.7)
    with pytest.raises(ValueError, match="two different sizes"):
        exponent([8, 8], [1.0, 1.0])
