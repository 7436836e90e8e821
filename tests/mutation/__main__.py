"""Does a test notice? Plants mistakes in the heart of the library, one at a time, and runs the tests that meet each.

    python -m tests.mutation                            all files; goes on where an earlier run stopped
    python -m tests.mutation rnncore/optim.py --jobs 2  one file
    python -m tests.mutation --again                    the survivors once more, after tests were added
    python -m tests.mutation --write docs/results/mutation.json
    python -m tests.mutation --write partial.json --known  only what earlier runs have found

Progress is kept in build/mutation/, a line a mutant, so Ctrl-C loses nothing.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # before NumPy: a fork and threads of its own do not go together

import pytest

from tests.mutation.coverage import file_of
from tests.mutation.mutants import Mutant, find_mutants
from tests.mutation.report import write_report
from tests.mutation.run import Plugin, Runner, measured, read_records

ROOT = Path(__file__).resolve().parents[2]
FILES = ("rnncore/cells", "rnncore/sequence.py", "rnncore/steps.py", "rnncore/optim.py", "rnncore/losses.py")
#: Tests that say nothing about the numbers of these files (those of the checker itself among them), start processes of
#: their own, or train for long.
LEFT_OUT = ("test_gradcheck.py", "test_house.py", "test_tasks*.py", "test_doctor.py", "test_machine.py", "study/*.py")


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutation", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("files", nargs="*", default=FILES, help="files and folders to plant mistakes in")
    parser.add_argument("--tests", nargs="+", default=["tests/rnncore"], help="files and folders of tests")
    parser.add_argument("--jobs", type=int, default=2, help="processes at a time")
    parser.add_argument("--grace", type=float, default=20.0, help="processor seconds that any mutant may take")
    parser.add_argument("--budget", type=float, default=60.0, help="seconds of tests before a mutant has survived")
    parser.add_argument("--folder", type=Path, default=Path("build/mutation"), help="where progress is kept")
    parser.add_argument("--again", action="store_true", help="try those that survived again")
    parser.add_argument("--write", type=Path, help="write the outcome here as JSON, and as Markdown beside it")
    parser.add_argument("--known", action="store_true", help="run nothing")
    given = parser.parse_args()
    os.chdir(ROOT)
    mutants = [m for file in _files(given.files, "*.py") for m in find_mutants(file, Path(file).read_text("utf-8"))]
    given.folder.mkdir(parents=True, exist_ok=True)
    session = _Session(mutants, given)
    if not given.known:
        _run(session, [file for file in _files(given.tests, "test_*.py") if not any(map(Path(file).match, LEFT_OUT))])
    if given.write:
        write_report(given.write, mutants, read_records(session.log))


def _run(session: _Session, tests: Sequence[str]) -> None:
    options = ["-q", "-s", "-p", "no:cacheprovider", "-m", "not gpu"]
    ended = pytest.main([*options, *tests], plugins=[Plugin(session.run)])
    if ended not in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):  # it counts none, since it ran none
        sys.exit(ended)


class _Session:
    """One run over the mutants as `given` on the command line, with its log in a folder."""

    def __init__(self, mutants: Sequence[Mutant], given: argparse.Namespace) -> None:
        self.mutants, self.given = mutants, given
        self.log = given.folder / "outcomes.jsonl"

    def run(self, items: Sequence[pytest.Item]) -> None:
        """Try every mutant that has no outcome yet."""
        sources = {mutant.file: ROOT / mutant.file for mutant in self.mutants}
        known = read_records(self.log)
        waiting = [
            m for m in self.mutants if m.id not in known or (self.given.again and known[m.id]["fate"] == "survived")
        ]
        if not waiting:
            return
        files = [str(path) for path in sources.values()]
        paths = {file_of(item.nodeid): item.path for item in items}
        keys = {test: _key(files, path) for test, path in paths.items()}
        coverage = measured(items, files, self.given.folder / "coverage.json", keys, _say)
        if coverage.failed:
            raise SystemExit(f"these fail without any mutant, mend them first: {', '.join(coverage.failed)}")
        given = self.given
        runner = Runner(items, coverage, sources, given.jobs, given.grace, given.budget)
        started, survived = time.monotonic(), 0
        with self.log.open("a", encoding="utf-8") as log:
            for number, outcome in enumerate(runner.run(waiting), 1):
                log.write(json.dumps(outcome.record()) + "\n")
                log.flush()
                survived += outcome.fate == "survived"
                left = (time.monotonic() - started) / number * (len(waiting) - number) / 60
                _say(f"{number} of {len(waiting)}, {survived} survived, {left:.0f} min left: {outcome.mutant.file}")


def _files(given: Sequence[str], pattern: str) -> list[str]:
    paths = [Path(name) for name in given]
    files = [file for path in paths for file in (sorted(path.rglob(pattern)) if path.is_dir() else [path])]
    return [file.as_posix() for file in files]


def _key(files: Sequence[str], test: Path) -> str:
    """What must be equal for an earlier measurement of which lines of `files` a file of tests runs to hold."""
    digest = hashlib.sha256("\n".join(sorted(files)).encode())
    for path in (*map(Path, sorted(files)), test):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _say(line: str) -> None:
    end = "\r" if sys.stderr.isatty() else "\n"
    print(f"{line:<110}", end=end, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
