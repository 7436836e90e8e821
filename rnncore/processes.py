"""Many jobs over several cores: a process a job, one thread of BLAS each, and bars that show how far they are.

A job is a module that is run with `python -m`. It finds what to do on its stdin, keeps what it does in files of its
own, and prints `done total`, two numbers, on its stdout whenever it has got further. It ends with whoever reads that.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, cast

SECONDS_BETWEEN_REPORTS = 0.2
ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "BLIS_NUM_THREADS": "1"}


@dataclass(frozen=True)
class Job:
    """What is to be done: `label` for people, the module with its arguments, and what it reads on stdin."""

    label: str
    module: str
    arguments: tuple[str, ...]
    given: str


#: Called from several threads with a job, and how much of it is done, of how much; at its end with both equal.
Watch = Callable[[Job, int, int], None]


class Processes:
    """Carries out jobs, `at_once` at a time.

    Raises
    ------
    RuntimeError
        If a job ends in an error, the last line of which is quoted; the others are stopped.
    """

    def __init__(self, at_once: int) -> None:
        if at_once < 1:
            raise ValueError(f"jobs must be at least 1, got {at_once}")
        self.at_once = at_once
        self._running: list[subprocess.Popen[str]] = []
        self._stopped = False

    def finish(self, jobs: Sequence[Job], watch: Watch | None = None) -> None:
        """Carry out all jobs."""
        with ThreadPoolExecutor(self.at_once) as pool:
            try:
                futures = [pool.submit(self._one, job, watch or (lambda job, done, total: None)) for job in jobs]
                for future in as_completed(futures):
                    future.result()
            except BaseException:
                self._stop()
                raise

    def _one(self, job: Job, watch: Watch) -> None:
        if self._stopped:
            return
        process = subprocess.Popen(
            [sys.executable, "-m", job.module, *job.arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | ONE_THREAD,
        )
        self._running.append(process)
        sent, told, errors = (cast(IO[str], pipe) for pipe in (process.stdin, process.stdout, process.stderr))
        with process:
            sent.write(job.given)
            sent.close()
            done = total = 1
            for line in told:
                done, total = map(int, line.split())
                if done < total:
                    watch(job, done, total)
            said = errors.read().strip()
        if process.returncode and not self._stopped:
            reason = said.splitlines()[-1] if said else f"exit code {process.returncode}"
            raise RuntimeError(f"{job.label}: {reason}")
        watch(job, total, total)

    def _stop(self) -> None:
        self._stopped = True
        for process in self._running:
            if process.poll() is None:
                process.terminate()


@contextmanager
def told_to_the_parent() -> Iterator[Callable[[int, int], None]]:
    """Yield what a job calls with done and total, which prints them now and then.

    When nobody reads them any more, and on Ctrl-C, the process ends without a word.
    """
    said = 0.0

    def report(done: int, total: int) -> None:
        nonlocal said
        if (now := time.monotonic()) - said >= SECONDS_BETWEEN_REPORTS:
            said = now
            print(done, total, flush=True)

    try:
        yield report
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)


@contextmanager
def bars(what: str, jobs: int, finished: int, quiet: bool) -> Iterator[Watch]:
    """Show how many jobs are finished, and how far those are that run; where stderr is no terminal, a line a job."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn
    from rich.progress import TimeElapsedColumn as Elapsed
    from rich.progress import TimeRemainingColumn as Remaining

    err = Console(stderr=True, highlight=False, soft_wrap=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), Elapsed(), Remaining())
    with Progress(*columns, console=err, transient=True, disable=quiet or not err.is_terminal) as shown:
        everything = shown.add_task(what, total=jobs, completed=finished)
        tasks, lock, ended = dict[str, TaskID](), threading.Lock(), finished

        def watch(job: Job, done: int, total: int) -> None:
            nonlocal ended
            with lock:
                if job.label not in tasks:
                    tasks[job.label] = shown.add_task(job.label, total=total)
                shown.update(tasks[job.label], total=total, completed=done)
                if done < total:
                    return
                shown.remove_task(tasks.pop(job.label))
                ended += 1
                shown.update(everything, completed=ended)
                if not quiet:
                    err.print(f"{ended} of {jobs}: {job.label}", markup=False)

        yield watch
