"""Many runs over several cores: a process a run, one thread of BLAS each, what is finished kept in a file of its own.

A folder of runs holds NAME.json for each that is finished and NAME.safetensors, its state at the last measurement, for
each that is not. Both are written to a temporary name and renamed, so a run that is killed goes on from its last
measurement, with the same numbers.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import IO, Any, cast

from rnncore.interop.files import write_whole
from rnncore.tasks.training import Run, Training

#: Called with a run and the number of its steps that are taken, from several threads; at its end with all its steps.
Watch = Callable[[Run, int], None]
SECONDS_BETWEEN_REPORTS = 0.2


def load_record(folder: Path, run: Run) -> dict[str, Any] | None:
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


def carry_out(run: Run, folder: Path, report: Callable[[int], None] | None = None) -> None:
    """Train a run in this process, from where it was left in the folder, and leave its result there."""
    checkpoint = folder / f"{run.name}.safetensors"
    record = Training(run, checkpoint).finish(report)
    write_whole(folder / f"{run.name}.json", (json.dumps(record) + "\n").encode())
    checkpoint.unlink(missing_ok=True)


class Workers:
    """Carries out runs, `jobs` at a time.

    Raises
    ------
    RuntimeError
        If a run ends in an error, which is quoted; the others are stopped, and their last measurements kept.
    """

    def __init__(self, folder: Path, jobs: int) -> None:
        if jobs < 1:
            raise ValueError(f"jobs must be at least 1, got {jobs}")
        self.folder, self.jobs = folder, jobs
        self._processes: list[subprocess.Popen[str]] = []
        self._stopped = False

    def finish(self, runs: Sequence[Run], watch: Watch | None = None) -> dict[str, dict[str, Any]]:
        """Carry out those runs that are not finished, and return what all left, by `Run.name`."""
        self.folder.mkdir(parents=True, exist_ok=True)
        pending = [run for run in runs if load_record(self.folder, run) is None]
        with ThreadPoolExecutor(self.jobs) as pool:
            try:
                futures = [pool.submit(self._one, run, watch or (lambda run, step: None)) for run in pending]
                for future in as_completed(futures):
                    future.result()
            except BaseException:
                self._stop()
                raise
        return {run.name: load_record(self.folder, run) or {} for run in runs}

    def _one(self, run: Run, watch: Watch) -> None:
        if self._stopped:
            return
        process = subprocess.Popen(
            [sys.executable, "-m", "rnncore.tasks.workers", str(self.folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"},
        )
        self._processes.append(process)
        sent, steps, errors = (cast(IO[str], pipe) for pipe in (process.stdin, process.stdout, process.stderr))
        with process:
            sent.write(json.dumps(run.to_dict()))
            sent.close()
            for line in steps:
                if int(line) < run.settings.steps:
                    watch(run, int(line))
            said = errors.read().strip()
        if process.returncode and not self._stopped:
            reason = said.splitlines()[-1] if said else f"exit code {process.returncode}"
            raise RuntimeError(f"the run {run.name} ended: {reason}")
        watch(run, run.settings.steps)

    def _stop(self) -> None:
        self._stopped = True
        for process in self._processes:
            if process.poll() is None:
                process.terminate()


def main() -> None:
    """Carry out the run whose plain values stand on stdin; print its steps. It ends with whoever reads them."""
    folder, run = Path(sys.argv[1]), Run.of(json.loads(sys.stdin.read()))
    said = 0.0

    def report(step: int) -> None:
        nonlocal said
        if (now := time.monotonic()) - said >= SECONDS_BETWEEN_REPORTS:
            said = now
            print(step, flush=True)

    try:
        carry_out(run, folder, report)
    except BrokenPipeError:  # who started this is gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
