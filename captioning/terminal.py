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
def training_bar(name: str, quiet: bool) -> Iterator[Report]:
    """Show an epoch's progress: loss, words a second, time left of the whole training; a line for each epoch.

    Where stderr is no terminal only the lines are written.
    """
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("loss {task.fields[loss]:.3f}  {task.fields[rate]:,.0f} words/s"),
        TimeRemainingColumn(),
    )
    with Bar(*columns, console=err, transient=True, disable=quiet or not err.is_terminal) as bar:
        task = bar.add_task(name, total=None, loss=0.0, rate=0.0)

        def report(now: Progress) -> None:
            rate = now.words / now.seconds if now.seconds else 0.0
            bar.update(
                task,
                description=f"{name} epoch {now.epoch}/{now.epochs}",
                total=now.epochs * now.all_words,
                completed=(now.epoch - 1) * now.all_words + now.words,
                loss=now.loss,
                rate=rate,
            )
            if now.words == now.all_words and not quiet:
                err.print(f"{name} epoch {now.epoch}/{now.epochs}: loss {now.loss:.4f}, {rate:,.0f} words/s")

        yield report


@contextmanager
def counting_bar(what: str, quiet: bool) -> Iterator[Callable[[int, int], None]]:
    """Show how many of something are done; yields the callback (done, all)."""
    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Bar(*columns, console=err, transient=True, disable=quiet or not err.is_terminal) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, everything: bar.update(task, completed=done, total=everything)
