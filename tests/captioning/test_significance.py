"""Bootstrap intervals and paired tests: against brute force, against known tables, and on cases made to be clear."""

import numpy as np
import pytest

from captioning.metrics import coco_scores
from captioning.metrics.significance import deviation, intervals, paired, student, welch
from captioning.metrics.statistics import METRICS, Statistics, coco_statistics, metrics_of, pooled

Captions = dict[str, list[str]]
WORDS = ["a", "man", "dog", "runs", "on", "grass", "in", "the", "park", "and", "red", "blue"]


def corpus(pictures: int, seed: int = 0) -> dict[str, list[list[str]]]:
    rng = np.random.default_rng(seed)
    return {f"{k}.jpg": [list(rng.choice(WORDS, rng.integers(4, 10))) for _ in range(3)] for k in range(pictures)}


def spoiled(references: dict[str, list[list[str]]], share: float, seed: int) -> Captions:
    """The first reference of each picture with a share of its words replaced."""
    rng = np.random.default_rng(seed)
    return {
        name: [str(rng.choice(WORDS)) if rng.random() < share else word for word in own[0]]
        for name, own in references.items()
    }


@pytest.fixture(scope="module")
def systems() -> tuple[Statistics, Statistics, Statistics]:
    """A good system, one as good with other mistakes, and a bad one, on 60 pictures."""
    references = corpus(60)
    good, other, bad = (coco_statistics(spoiled(references, s, k), references) for k, s in enumerate((0.3, 0.3, 0.8)))
    return good, other, bad


def test_statistics_add_up_to_the_metrics_of_any_pictures() -> None:
    references = corpus(12)
    said = spoiled(references, 0.4, 1)
    statistics = coco_statistics(said, references)
    assert statistics.scores() == pytest.approx(coco_scores(said, references), rel=1e-12)
    # BLEU of pictures drawn more than once is that of a corpus which holds them more than once.
    draw = [0, 0, 3, 5, 5, 5, 7]
    names = list(said)
    several = {f"{k}": said[names[p]] for k, p in enumerate(draw)}
    expected = coco_scores(several, {f"{k}": references[names[p]] for k, p in enumerate(draw)})
    drawn = dict(zip(METRICS, metrics_of(statistics.rows[draw].sum(axis=0)), strict=True))
    for metric in ("BLEU-1", "BLEU-2", "BLEU-3", "BLEU-4", "ROUGE-L"):
        assert drawn[metric] == pytest.approx(expected[metric], rel=1e-12)


def test_pooled_runs_are_their_mean() -> None:
    references = corpus(8)
    runs = [coco_statistics(spoiled(references, 0.3, seed), references) for seed in range(3)]
    mean = pooled(runs).scores()
    for metric in ("ROUGE-L", "CIDEr-D"):
        assert mean[metric] == pytest.approx(np.mean([run.scores()[metric] for run in runs]), rel=1e-12)
    with pytest.raises(ValueError, match="same pictures"):
        pooled([runs[0], Statistics(("another.jpg",), runs[0].rows[:1])])


def test_the_interval_is_that_of_a_plain_bootstrap(systems: tuple[Statistics, ...]) -> None:
    good = systems[0]
    found = intervals(good, 4000)
    rng = np.random.default_rng(9)
    draws = [metrics_of(good.rows[rng.integers(60, size=60)].sum(axis=0)) for _ in range(4000)]
    low, high = np.quantile(draws, [0.025, 0.975], axis=0)
    for k, metric in enumerate(METRICS):
        width = high[k] - low[k]
        assert width > 1
        assert found[metric] == pytest.approx((low[k], high[k]), abs=0.08 * width)
        assert found[metric][0] < good.scores()[metric] < found[metric][1]


def test_an_interval_holds_the_truth_as_often_as_it_says() -> None:
    """Means of 50 pictures drawn from a known distribution: 95 % of the intervals hold its mean."""
    rng, held = np.random.default_rng(0), 0
    for trial in range(400):
        rows = np.zeros((50, 13))
        rows[:, 4:10], rows[:, -1] = 1, 1
        rows[:, -2] = rng.normal(60, 10, 50)
        low, high = intervals(Statistics(tuple(map(str, range(50))), rows), 300, seed=trial)["CIDEr-D"]
        held += low <= 60 <= high
    assert 0.91 <= held / 400 <= 0.98


def test_a_clear_difference_is_found_and_its_sign_is_right(systems: tuple[Statistics, ...]) -> None:
    good, _, bad = systems
    for metric, found in paired(good, bad, 2000).items():
        assert found.difference == pytest.approx(good.scores()[metric] - bad.scores()[metric], rel=1e-9)
        assert 0 < found.low < found.difference < found.high
        assert found.p_bootstrap < 0.01
        assert found.p_randomisation < 0.01
    turned = paired(bad, good, 2000)["CIDEr-D"]
    assert turned.difference < turned.high < 0
    assert turned.p_bootstrap < 0.01


def test_equal_systems_are_not_told_apart(systems: tuple[Statistics, ...]) -> None:
    good, other, _ = systems
    assert paired(good, other, 1000)["CIDEr-D"].p_randomisation > 0.05
    for found in paired(good, good, 300).values():
        assert (found.difference, found.low, found.high) == (0, 0, 0)
        assert found.p_bootstrap == found.p_randomisation == 1


@pytest.mark.parametrize("test", ["p_bootstrap", "p_randomisation"])
def test_chance_alone_is_found_as_often_as_it_says(test: str) -> None:
    """Two systems of one kind: a p below 0.1 in about one of ten comparisons, never in half or in none of them."""
    rng, found = np.random.default_rng(1), 0
    for trial in range(300):
        both = np.zeros((2, 40, 13))
        both[..., 4:10], both[..., -1] = 1, 1
        both[..., -2] = rng.normal(60, 10, (2, 40))
        names = tuple(map(str, range(40)))
        result = paired(Statistics(names, both[0]), Statistics(names, both[1]), 200, seed=trial)["CIDEr-D"]
        found += getattr(result, test) < 0.1
    assert 0.05 <= found / 300 <= 0.17


def test_the_randomisation_is_the_exact_one_of_few_pictures() -> None:
    rows = np.zeros((2, 5, 13))
    rows[..., 4:10], rows[..., -1] = 1, 1
    rows[0, :, -2], rows[1, :, -2] = [5, 6, 9, 4, 8], [4, 3, 7, 5, 2]
    gap = rows[0, :, -2] - rows[1, :, -2]
    signs = 1 - 2 * ((np.arange(32)[:, None] >> np.arange(5)) & 1)
    exact = np.mean(np.abs(signs @ gap) >= abs(gap.sum()))
    names = tuple("abcde")
    found = paired(Statistics(names, rows[0]), Statistics(names, rows[1]), 20000)["CIDEr-D"]
    assert found.p_randomisation == pytest.approx(exact, abs=0.01)


def test_equal_seeds_give_equal_figures(systems: tuple[Statistics, ...]) -> None:
    good, other, _ = systems
    assert paired(good, other, 700, seed=3) == paired(good, other, 700, seed=3)
    assert paired(good, other, 700, seed=3) != paired(good, other, 700, seed=4)
    with pytest.raises(ValueError, match="same pictures"):
        paired(good, Statistics(good.names[::-1], good.rows))


def test_students_distribution_is_the_tables() -> None:
    """Two-sided 5 % points of the usual table, and the Cauchy distribution in closed form."""
    for freedom, t in ((1, 12.7062047), (2, 4.3026527), (4, 2.7764451), (10, 2.2281389), (30, 2.0422725)):
        assert student(t, freedom) == pytest.approx(0.05, abs=1e-7)
    assert student(3.0, 1) == pytest.approx(1 - 2 / np.pi * np.arctan(3.0), abs=1e-12)
    assert student(0.0, 5) == pytest.approx(1)


def test_welch_by_hand() -> None:
    first, second = [27.5, 21.0, 19.0, 23.6, 17.0], [27.1, 22.0, 20.8, 23.4]
    a, b = np.var(first, ddof=1) / 5, np.var(second, ddof=1) / 4
    freedom = (a + b) ** 2 / (a**2 / 4 + b**2 / 3)
    t = (np.mean(second) - np.mean(first)) / np.sqrt(a + b)
    assert welch(first, second) == pytest.approx(student(t, freedom))
    assert welch([1.0], [2.0, 3.0]) is None
    assert welch([1.0, 1.0], [2.0, 2.0]) == 0
    assert welch([1.0, 1.0], [1.0, 1.0]) == 1
    assert deviation([1.0, 3.0]) == pytest.approx(np.sqrt(2))
    assert deviation([5.0]) == 0
