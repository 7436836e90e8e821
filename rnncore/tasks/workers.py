"""Runs over several cores, what is finished kept in a file of its own.

A folder of runs holds NAME.json for each that is finished and NAME.safetensors, its state at the last measurement, for
each that is not. Both are written to a temporary name and renamed, so a run that is killed goes on from its last
measurement, with the same numbers.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rnncore.interop.files import write_whole
from rnncore.processes import Job, Processes, Watch, told_to_the_parent
from rnncore.tasks.training import Training, Trial


def load_record(folder: Path, run: Trial) -> dict[str, Any] | None:
    """Return what a finished run left in a folder, None if it is not finished.

    Raises
    ------
    ValueError
        If the file is damaged.
    """
    path = folder / f"{run.name}.json"
    if not path.is_file():
        return None
    try:
        record: dict[str, Any] = json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: expected the result of a run, {error}; remove the file to run it again") from error
    return record


def carry_out(run: Trial, folder: Path, report: Callable[[int], None] | None = None) -> None:
    """Train a run in this process, from where it was left in the folder, and leave its result there."""
    checkpoint = folder / f"{run.name}.safetensors"
    record = Training(run, checkpoint).finish(report)
    write_whole(folder / f"{run.name}.json", (json.dumps(record) + "\n").encode())
    checkpoint.unlink(missing_ok=True)


def finish(runs: Sequence[Trial], folder: Path, jobs: int, watch: Watch | None = None) -> dict[str, dict[str, Any]]:
    """Carry out those runs that are not finished, `jobs` at a time, and return what all left, by `Trial.name`.

    Raises
    ------
    RuntimeError
        If a run ends in an error, which is quoted; the others are stopped, and their last measurements kept.
    """
    processes = Processes(jobs)
    folder.mkdir(parents=True, exist_ok=True)
    pending = [run for run in runs if load_record(folder, run) is None]
    processes.finish([job_of(run, folder) for run in pending], watch)
    return {run.name: load_record(folder, run) or {} for run in runs}


def job_of(run: Trial, folder: Path) -> Job:
    """Return the process that carries out a run."""
    label = f"{run.label}, {run.hidden} units, seed {run.seed}"
    return Job(label, "rnncore.tasks.workers", (str(folder),), json.dumps(run.to_dict()))


def main() -> None:
    """Carry out the run whose plain values stand on stdin."""
    folder, run = Path(sys.argv[1]), Trial.of(json.loads(sys.stdin.read()))
    with told_to_the_parent() as tell:
        carry_out(run, folder, lambda step: tell(step, run.settings.steps))


if __name__ == "__main__":
    main()
