"""Competitors take turns within one run, so that the machine's moods hit all alike.

A turn is a block of calls of one competitor, so that its threads run warm; before it there is a pause in which the
threads of the one before stop spinning: OpenMP's and OpenBLAS's wait busily for more work, for tens of milliseconds,
on the very cores that the next one needs. Every round begins with another competitor.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

#: Seconds of the pause before a turn, and of the turn itself at least.
PAUSE, TURN = 0.1, 0.05
#: Rounds, where work is so long that they would take more than `BUDGET` seconds fewer, but `LEAST` always.
ROUNDS, LEAST, BUDGET = 13, 5, 6.0
#: Work that takes longer than this needs no call before the clock starts: it warms itself.
WARMS_ITSELF = 0.1


@dataclass(frozen=True)
class Competitor:
    """Something to time.

    call : the work; it returns its result, so that results can be compared before anything is timed.
    prepare : what to set before a turn, such as a number of threads or the state to start from; it is not timed.
    settings : what a record says of it.
    """

    call: Callable[[], Any]
    prepare: Callable[[], None] | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)

    def first(self) -> Any:
        """Prepare, and return the result of a call."""
        if self.prepare is not None:
            self.prepare()
        return self.call()

    def turn(self, calls: int, warm: bool = True) -> float:
        """Return the mean seconds of a call in a block of `calls`; `warm` wakes threads and caches with one before."""
        if self.prepare is not None:
            self.prepare()
        if warm:
            self.call()
        with _no_collection():
            started = time.perf_counter()
            for _ in range(calls):
                self.call()
            return (time.perf_counter() - started) / calls


def take_turns(
    competitors: Mapping[str, Competitor], rounds: int = ROUNDS, turn: float = TURN, pause: float = PAUSE
) -> dict[str, list[float]]:
    """Return the mean seconds of a call of each competitor, turn by turn: the k-th of all belong to one round."""
    if not competitors:
        raise ValueError("nobody takes a turn: give at least one competitor")
    long: dict[str, float] = {}
    for name, each in competitors.items():  # the first round is not kept: it says how long a call takes
        time.sleep(pause)
        long[name] = max(each.turn(1), 1e-7)
    calls = {name: max(1, round(turn / seconds)) for name, seconds in long.items()}
    warm = {name: seconds < WARMS_ITSELF for name, seconds in long.items()}
    whole = sum(pause + seconds * (calls[name] + warm[name]) for name, seconds in long.items())
    kept: dict[str, list[float]] = {name: [] for name in competitors}
    names = list(competitors)
    for k in range(max(min(LEAST, rounds), min(rounds, int(BUDGET / whole)))):
        first = k % len(names)
        for name in names[first:] + names[:first]:
            time.sleep(pause)
            kept[name].append(competitors[name].turn(calls[name], warm[name]))
    return kept


def fastest(variants: Mapping[str, Competitor], pause: float = PAUSE) -> Competitor:
    """Return the quickest of several settings of one competitor, each tried a little: what its own expert would use."""
    tried = {}
    for name, each in variants.items():
        time.sleep(pause)
        seconds = max(each.turn(1), 1e-7)
        more = 3 if seconds < WARMS_ITSELF else 1
        tried[name] = min(each.turn(max(1, min(20, int(0.02 / seconds))), warm=False) for _ in range(more))
    return variants[min(tried, key=lambda name: tried[name])]


@contextmanager
def _no_collection() -> Any:
    """No garbage collection while the clock runs, as `timeit` has it."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
