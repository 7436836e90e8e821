"""Turns: everybody's are taken in every round, warm and in changing order, and whoever is slower is seen to be."""

import gc
from collections.abc import Callable
from typing import Any

import pytest

from benchmarks import turns
from benchmarks.numbers import Spread, compare, pair_ratios
from benchmarks.turns import Competitor, fastest, take_turns


class Clock:
    """Stands in for the `time` of `benchmarks.turns`, so that work takes what it says on any machine, however busy."""

    def __init__(self) -> None:
        self.now = 0.0
        self.slept = 0.0

    def perf_counter(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.slept += seconds

    def spin(self, seconds: float) -> Callable[[], None]:
        """Work that takes so long."""

        def work() -> None:
            self.now += seconds

        return work


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(turns, "time", made)
    return made


def test_a_planted_slow_competitor_is_worse_and_its_twin_is_not(clock: Clock) -> None:
    competitors = {"ours": clock.spin(4e-3), "twin": clock.spin(4e-3), "peer": clock.spin(2e-3)}
    seconds = take_turns({name: Competitor(work) for name, work in competitors.items()}, 7, turn=0.0, pause=0.0)
    assert {len(each) for each in seconds.values()} == {7}
    assert seconds["ours"] == pytest.approx([4e-3] * 7)
    assert compare(pair_ratios(seconds["twin"], seconds["ours"]), [1.0] * 7).verdict == "noise"
    ratios = pair_ratios(seconds["ours"], seconds["peer"])
    assert Spread.of(ratios).median == pytest.approx(2)
    assert compare(pair_ratios(seconds["peer"], seconds["peer"]), ratios).verdict == "worse"


def test_every_round_begins_with_another_and_each_turn_is_prepared_and_warmed() -> None:
    log: list[str] = []
    both = {n: Competitor(lambda n=n: log.append(n), lambda n=n: log.append(n.upper())) for n in "ab"}
    take_turns(both, 2, turn=0.0, pause=0.0)
    first_round = ["A", "a", "a", "B", "b", "b"]
    assert log == [*first_round, "A", "a", "a", "B", "b", "b", "B", "b", "b", "A", "a", "a"]


def test_short_work_is_called_many_times_a_turn_and_pauses_are_not_timed(clock: Clock) -> None:
    calls = [0]

    def work() -> None:
        calls[0] += 1
        clock.now += 1e-4

    (seconds,) = take_turns({"it": Competitor(work)}, 3, turn=0.02, pause=0.5).values()
    assert calls[0] == 2 + 3 * (1 + 200)
    assert seconds == pytest.approx([1e-4] * 3)
    assert clock.slept == pytest.approx(0.5 * 4)


def test_long_work_warms_itself(clock: Clock) -> None:
    calls = [0]

    def work() -> None:
        calls[0] += 1
        clock.now += 2 * turns.WARMS_ITSELF

    take_turns({"it": Competitor(work)}, 3, turn=0.0, pause=0.0)
    assert calls[0] == 2 + 3


def test_rounds_that_would_take_too_long_are_fewer(clock: Clock) -> None:
    for long, rounds in ((turns.BUDGET, turns.LEAST), (turns.BUDGET / 20.5, 20), (turns.BUDGET / 1e4, 100)):
        (seconds,) = take_turns({"it": Competitor(clock.spin(long))}, 100, turn=0.0, pause=0.0).values()
        assert len(seconds) == rounds


def test_the_fastest_setting_is_taken(clock: Clock) -> None:
    variants = {str(k): Competitor(clock.spin(k * 1e-3), settings={"k": k}) for k in (3, 1, 2)}
    assert fastest(variants, pause=0.0).settings == {"k": 1}


def test_no_garbage_is_collected_while_the_clock_runs() -> None:
    seen: list[Any] = []
    Competitor(lambda: seen.append(gc.isenabled())).turn(2)
    assert seen == [True, False, False]
    assert gc.isenabled()


def test_nobody_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        take_turns({})
