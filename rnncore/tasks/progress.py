"""What a person sees while a study runs: bars on stderr; where that is no terminal, a line for each finished run."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import TimeRemainingColumn as Remaining

from rnncore.tasks.training import Run
from rnncore.tasks.workers import Watch

out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, soft_wrap=True)


@contextmanager
def progress(runs: int, finished: int, quiet: bool) -> Iterator[Watch]:
    """Show how many of the runs are finished and the steps of those on their way; yields what is told of them."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), Remaining())
    with Progress(*columns, console=err, transient=True, disable=quiet or not err.is_terminal) as bars:
        everything, tasks, lock = (
            bars.add_task("runs", total=runs, completed=finished),
            dict[str, TaskID](),
            threading.Lock(),
        )
        done = finished

        def watch(run: Run, step: int) -> None:
            nonlocal done
            with lock:
                if run.name not in tasks:
                    tasks[run.name] = bars.add_task(f"{run.label}, {run.hidden} units, seed {run.seed}", total=None)
                bars.update(tasks[run.name], total=run.settings.steps, completed=step)
                if step < run.settings.steps:
                    return
                bars.remove_task(tasks.pop(run.name))
                done += 1
                bars.update(everything, completed=done)
                if not quiet:
                    err.print(f"{done} of {runs}: {run.label}, {run.hidden} units, seed {run.seed}", markup=False)

        yield watch
