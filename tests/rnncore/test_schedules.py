"""Learning-rate schedules."""

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rnncore.schedules import Constant, Cosine, Plateau, Schedule, Step


def test_constant_and_step() -> None:
    assert Constant().rate(0.1, 1000) == 0.1
    step = Step(every=3, factor=0.5)
    assert [step.rate(8.0, t) for t in range(8)] == [8, 8, 8, 4, 4, 4, 2, 2]


@given(st.integers(1, 50), st.integers(0, 49), st.floats(0, 1))
def test_cosine_rises_then_falls_to_its_floor(total: int, warmup: int, floor: float) -> None:
    warmup = min(warmup, total - 1)
    cosine = Cosine(total, warmup, floor)
    rates = [cosine.rate(2.0, t) for t in range(total + 3)]
    assert rates[: warmup + 1] == sorted(rates[: warmup + 1])
    assert rates[warmup] == pytest.approx(2.0)
    assert all(a >= b - 1e-12 for a, b in zip(rates[warmup:], rates[warmup + 1 :], strict=False))
    assert rates[total:] == pytest.approx([2.0 * floor] * 3, abs=1e-12)


def test_cosine_halfway() -> None:
    assert Cosine(total=110, warmup=10, floor=0.2).rate(1.0, 60) == pytest.approx(0.6)
    assert Cosine(total=100).rate(1.0, 25) == pytest.approx(0.5 + math.sqrt(2) / 4)


def test_plateau_cuts_after_patience_and_starts_counting_again() -> None:
    plateau = Plateau(factor=0.5, patience=2)
    rates = []
    for loss in (3.0, 2.0, 2.0, 2.1, 1.9, math.nan, 2.0, 1.9, 1.9):
        plateau.observe(loss)
        rates.append(plateau.rate(1.0, 0))
    assert rates == [1, 1, 1, 0.5, 0.5, 0.5, 0.25, 0.25, 0.125]


def test_plateau_resumes_exactly() -> None:
    first, second = Plateau(0.5, 2), Plateau(0.5, 2)
    for loss in (3.0, 2.0, 2.5):
        first.observe(loss)
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    for loss in (2.2, 1.0, 1.1, 1.2):
        first.observe(loss)
        second.observe(loss)
        assert first.rate(1.0, 0) == second.rate(1.0, 0)
    assert first.state_dict() == second.state_dict() == {"best": 1.0, "bad": 0, "cuts": 2}


def test_the_state_of_another_schedule_is_refused() -> None:
    Constant().load_state_dict(Constant().state_dict())
    with pytest.raises(ValueError, match=r"Plateau keeps .*best.*the saved state has"):
        Plateau(0.5, 2).load_state_dict(Step(3, 0.5).state_dict())


def test_all_listen_and_only_plateau_heeds() -> None:
    every: list[Schedule] = [Constant(), Step(2, 0.5), Cosine(10)]
    for schedule in every:
        before = schedule.rate(1.0, 5)
        for _ in range(10):
            schedule.observe(9.0)
        assert schedule.rate(1.0, 5) == before


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Step(0, 0.5), "every must be at least 1, got 0"),
        (lambda: Step(1, 0.0), "factor must be in"),
        (lambda: Cosine(10, warmup=10), "warmup must be in"),
        (lambda: Cosine(10, floor=1.5), "floor must be in"),
        (lambda: Plateau(1.0, 2), "factor must be in"),
        (lambda: Plateau(0.5, 0), "patience must be at least 1, got 0"),
    ],
)
def test_options_that_make_no_sense_are_refused(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
