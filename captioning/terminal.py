"""What a person sees while something long runs: progress bars on stderr, gone when it is no terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from captioning.train import Progress, Report

out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, soft_wrap=True)


@contextmanager
def training_bars(quiet: bool) -> Iterator[Callable[[str], Report]]:
    """Show the progress of one training or of several at a time: loss, words a second, time left; a line an epoch.

    Yields what gives the report of a training by its name. Where stderr is no terminal only the lines are written.
    """
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("loss {task.fields[loss]:.3f}  {task.fields[rate]:,.0f} words/s"),
        TimeRemainingColumn(),
    )
    with Bar(*columns, console=err, transient=True, disable=quiet or not err.is_terminal) as bar:
        yield lambda name: _TrainingBar(bar, name, quiet)


@contextmanager
def training_bar(name: str, quiet: bool) -> Iterator[Report]:
    """Show the progress of one training."""
    with training_bars(quiet) as report:
        yield report(name)


class _TrainingBar:
    """The bar of one training, which goes when its last epoch is done."""

    def __init__(self, bar: Bar, name: str, quiet: bool) -> None:
        self.bar, self.name, self.quiet = bar, name, quiet
        self.task = bar.add_task(name, total=None, loss=0.0, rate=0.0)
        self.said = 0

    def __call__(self, now: Progress) -> None:
        rate = now.words / now.seconds if now.seconds else 0.0
        done = (now.epoch - 1) * now.all_words + now.words
        title, total = f"{self.name} epoch {now.epoch}/{now.epochs}", now.epochs * now.all_words
        if self.task in self.bar.task_ids:
            self.bar.update(self.task, description=title, total=total, completed=done, loss=now.loss, rate=rate)
        if now.words < now.all_words:
            return
        if not self.quiet and now.epoch > self.said:
            self.said = now.epoch
            err.print(f"{title}: loss {now.loss:.4f}, {rate:,.0f} words/s", markup=False)
        if now.epoch == now.epochs and self.task in self.bar.task_ids:
            self.bar.remove_task(self.task)


@contextmanager
def counting_bar(what: str, quiet: bool) -> Iterator[Callable[[int, int], None]]:
    """Show how many of something are done; yields the callback (done, all)."""
    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Bar(*columns, console=err, transient=True, disable=quiet or not err.is_terminal) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, everything: bar.update(task, completed=done, total=everything)
