"""The run itself: one warm process that has collected all tests, and a fork of it for every mutant."""

from __future__ import annotations

import json
import math
import os
import resource
import select
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path
from typing import Any, NoReturn

import pytest

from tests.mutation.coverage import Coverage, measure, passes
from tests.mutation.mutants import Mutant
from tests.mutation.transplant import transplant

#: A mutant may take so many times the processor seconds of its tests, and the runner's `grace`, before it counts as
#: endless; and, where it waits for something that never comes, so many times that on the clock.
PATIENCE, WAITING = 4.0, 10.0
#: Tests whose baseline took longer come after all others.
SLOW = 2.0


@dataclass
class Outcome:
    """What became of a mutant: killed (by a test), endless, or survived (the tests that meet it, or its budget)."""

    mutant: Mutant
    fate: str
    by: str
    seconds: float
    tests: int

    def record(self) -> dict[str, Any]:
        """Return it as plain data."""
        m = self.mutant
        shown = {"function": m.place.function, "operator": m.operator, "before": m.before, "after": m.after}
        about = {"id": m.id, "file": m.file, "line": m.line, "code": m.code, **shown}
        return {**about, "fate": self.fate, "by": self.by, "seconds": round(self.seconds, 2), "tests": self.tests}


@dataclass
class _Child:
    mutant: Mutant
    pid: int
    pipe: int
    started: float
    limit: float
    tests: int
    heard: bytes = b""


@dataclass
class Runner:
    """Tries mutants against the tests that meet them, those that have killed most before first.

    sources : the path of every file by its name in the project. jobs : how many processes at a time. grace : seconds.
    budget : of a mutant's tests, no further one is started once those before it have taken so many processor seconds
        without a mutant; what is still alive then counts as a survivor.
    """

    items: Sequence[pytest.Item]
    coverage: Coverage
    sources: dict[str, Path]
    jobs: int
    grace: float
    budget: float
    kills: dict[str, Counter[str]] = field(default_factory=dict)

    def run(self, mutants: Sequence[Mutant]) -> Iterator[Outcome]:
        """Yield the outcome of every mutant, in the order in which they end."""
        waiting, running = list(reversed(mutants)), dict[int, _Child]()
        try:
            while waiting or running:
                while waiting and len(running) < self.jobs:
                    mutant = waiting.pop()
                    if chosen := self.chosen(mutant):
                        child = self._start(mutant, chosen)
                        running[child.pipe] = child
                    else:
                        yield Outcome(mutant, "survived", "no test meets it", 0.0, 0)
                for pipe in select.select(list(running), [], [], 0.5)[0]:
                    if not self._hear(running[pipe]):
                        yield self._end(running.pop(pipe))
                for child in [c for c in running.values() if time.monotonic() - c.started > WAITING * c.limit]:
                    os.kill(child.pid, signal.SIGKILL)
                    yield self._end(running.pop(child.pipe), endless=True)
        finally:
            for child in running.values():
                os.kill(child.pid, signal.SIGKILL)
                os.waitpid(child.pid, 0)

    def chosen(self, mutant: Mutant) -> list[pytest.Item]:
        """Return the tests that a mutant has to live through, in their order."""
        met = self.coverage.meeting(str(self.sources[mutant.file]), *mutant.place.lines)
        seconds, kills = self.coverage.seconds, self.kills.setdefault(mutant.file, Counter())
        chosen = [item for item in self.items if item.nodeid in met]
        turns = _turns(chosen)

        def rank(item: pytest.Item) -> tuple[bool, float, int, float]:
            cost = seconds[item.nodeid]
            return cost > SLOW, -kills[item.nodeid] / (0.05 + cost), turns[item.nodeid], cost

        chosen.sort(key=rank)
        before = accumulate((seconds[item.nodeid] for item in chosen), initial=0.0)
        return [item for item, spent in zip(chosen, before, strict=False) if spent < self.budget]

    def _start(self, mutant: Mutant, chosen: Sequence[pytest.Item]) -> _Child:
        limit = self.grace + PATIENCE * sum(self.coverage.seconds[item.nodeid] for item in chosen)
        here, there = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(here)
            resource.setrlimit(resource.RLIMIT_CPU, (math.ceil(limit), resource.RLIM_INFINITY))
            _be_mutant(mutant, str(self.sources[mutant.file]), chosen, there)
        os.close(there)
        return _Child(mutant, pid, here, time.monotonic(), limit, len(chosen))

    def _hear(self, child: _Child) -> bool:
        heard = os.read(child.pipe, 4096)
        child.heard += heard
        return bool(heard)

    def _end(self, child: _Child, endless: bool = False) -> Outcome:
        os.close(child.pipe)
        status = os.waitpid(child.pid, 0)[1]
        killer, seconds = child.heard.decode().strip(), time.monotonic() - child.started
        if endless or (os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGXCPU):
            return Outcome(child.mutant, "endless", killer, seconds, child.tests)
        if status == 0:
            return Outcome(child.mutant, "survived", "", seconds, child.tests)
        self.kills[child.mutant.file][killer] += 1
        return Outcome(child.mutant, "killed", killer or "the process ended", seconds, child.tests)


def _turns(items: Sequence[pytest.Item]) -> dict[str, int]:
    """Number the cases of every parametrised test: one of each test comes before a second of any."""
    cases, turns = Counter[str](), dict[str, int]()
    for item in items:
        function = item.nodeid.partition("[")[0]
        turns[item.nodeid] = cases[function]
        cases[function] += 1
    return turns


def _be_mutant(mutant: Mutant, path: str, chosen: Sequence[pytest.Item], pipe: int) -> NoReturn:
    """In the fork: make the mistake, run the tests until one fails, name it, and end without any clean-up."""
    status = 1
    try:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1)
        os.dup2(nowhere, 2)
        module = next(m for m in list(sys.modules.values()) if getattr(m, "__file__", None) == path)
        transplant(module, mutant.compile(path))
        for item, following in zip(chosen, [*chosen[1:], None], strict=True):
            if not passes(item, following):
                os.write(pipe, item.nodeid.encode())
                break
        else:
            status = 0
    except BaseException as error:
        os.write(pipe, f"{type(error).__name__} at once".encode())
    finally:
        os._exit(status)


class Plugin:
    """What takes the place of pytest's own loop over the tests it has collected."""

    def __init__(self, loop: Callable[[Sequence[pytest.Item]], None]) -> None:
        self.loop = loop

    def pytest_configure(self, config: pytest.Config) -> None:
        """Equal examples in every run, and no time spent on making a failing one smaller."""
        from hypothesis import Phase, settings

        phases = (Phase.explicit, Phase.generate)
        settings.register_profile("mutation", derandomize=True, deadline=None, database=None, phases=phases)
        settings.load_profile("mutation")

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Run the given loop instead."""
        self.loop(session.items)
        return True


def measured(
    items: Sequence[pytest.Item], files: Sequence[str], kept: Path, keys: Mapping[str, str], say: Callable[[str], None]
) -> Coverage:
    """Return which lines each test runs; only files of tests whose key is not that of what was kept are run."""
    known = Coverage.load(kept, keys)
    waiting = [item for item in items if item.nodeid not in known.seconds]
    if not waiting:
        return known
    pid = os.fork()  # so that the parent, from which the mutants come, has run no test
    if pid == 0:
        _be_measured(waiting, files, known, kept, say)
    if os.waitpid(pid, 0)[1] != 0:
        raise SystemExit("the tests could not be run without a mutant")
    return Coverage.load(kept, keys)


def _be_measured(
    items: Sequence[pytest.Item], files: Sequence[str], found: Coverage, kept: Path, say: Callable[[str], None]
) -> NoReturn:
    status = 1
    try:
        for done in measure(items, files, found):
            if done % 100 == 0:
                say(f"which lines tests run: {done} of {len(items)} tests")
        found.save(kept)
        status = 0
    finally:
        os._exit(status)


def read_records(path: Path) -> dict[str, dict[str, Any]]:
    """Return what an earlier run wrote, by mutant."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    records = [json.loads(line) for line in lines if line.endswith("}")]
    return {record["id"]: record for record in records}
