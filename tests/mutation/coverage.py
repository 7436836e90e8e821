"""Which tests run which lines: one pass over all tests, after which a mutant needs only those that meet it."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import pytest


@dataclass
class Coverage:
    """For every test, by its node id: processor seconds, and the lines that it ran of every file of interest.

    keys : for every file of tests, what it and the files of interest were when it was measured.
    """

    seconds: dict[str, float] = field(default_factory=dict)
    lines: dict[str, dict[str, list[int]]] = field(default_factory=dict)
    failed: list[str] = field(default_factory=list)
    keys: dict[str, str] = field(default_factory=dict)

    def meeting(self, file: str, first: int, last: int) -> set[str]:
        """Return the tests that run a line in [first, last] of a file."""
        here = range(first, last + 1)
        return {test for test, files in self.lines.items() if any(line in here for line in files.get(file, ()))}

    def save(self, path: Path) -> None:
        """Write it to a file."""
        path.write_text(json.dumps(vars(self)), encoding="utf-8")

    @classmethod
    def load(cls, path: Path, keys: Mapping[str, str]) -> Coverage:
        """Return what was kept of those files of tests that have the same key; nothing if nothing was."""
        kept = cls(**json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else cls()
        good = {test for test in kept.seconds if (file := file_of(test)) in keys and kept.keys[file] == keys[file]}
        seconds, lines = ({test: of[test] for test in good} for of in (kept.seconds, kept.lines))
        return cls(seconds, lines, [test for test in kept.failed if test in good], dict(keys))


def file_of(test: str) -> str:
    """Return the file of a test's node id."""
    return test.partition("::")[0]


def measure(items: Sequence[pytest.Item], files: Collection[str], found: Coverage) -> Iterator[int]:
    """Run all tests under a line tracer, fill `found`, and yield how many are done."""
    for number, (item, following) in enumerate(zip(items, [*items[1:], None], strict=True), 1):
        met: dict[str, set[int]] = {}
        started = time.process_time()
        sys.settrace(_tracer(met, frozenset(files)))
        try:
            good = passes(item, following)
        finally:
            sys.settrace(None)
        found.seconds[item.nodeid] = time.process_time() - started
        found.lines[item.nodeid] = {file: sorted(lines) for file, lines in met.items()}
        found.failed += [] if good else [item.nodeid]
        yield number


def passes(item: pytest.Item, following: pytest.Item | None) -> bool:
    """Run one test with its fixtures; False if any part of it fails. A skipped test passes."""
    reports: list[Any] = []

    class Listener:
        def pytest_runtest_logreport(self, report: Any) -> None:
            reports.append(report)

    listener = Listener()
    item.config.pluginmanager.register(listener)
    try:
        item.ihook.pytest_runtest_protocol(item=item, nextitem=following)
    finally:
        item.config.pluginmanager.unregister(listener)
    return not any(report.failed for report in reports)


def _tracer(met: dict[str, set[int]], files: frozenset[str]) -> Any:
    def local(frame: FrameType, event: str, argument: Any) -> Any:
        met[frame.f_code.co_filename].add(frame.f_lineno)
        return local

    def start(frame: FrameType, event: str, argument: Any) -> Any:
        file = frame.f_code.co_filename
        if file not in files:
            return None
        met.setdefault(file, set()).add(frame.f_lineno)
        return local

    return start
