"""The command line: python -m rnncore.tasks list | sample | study | show."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from rnncore.interop.files import write_whole
from rnncore.machine import usable_cores
from rnncore.processes import bars
from rnncore.tasks import TASKS, Task, make_task
from rnncore.tasks.plots import draw
from rnncore.tasks.report import about, markdown, rich_tables
from rnncore.tasks.study import Study
from rnncore.tasks.training import Settings
from rnncore.tasks.workers import finish, load_record

INTERRUPTED = 130
out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, soft_wrap=True)

app = typer.Typer(
    help="The field's toy tasks, and studies of cells on them.\n\nBegin with `python -m rnncore.tasks list`.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)

Name = Annotated[str, typer.Argument(metavar="TASK", help=f"{', '.join(TASKS)}, or module:Class.")]
Chosen = Annotated[list[str], typer.Option("--set", help="A setting of the task, as length=100; may be repeated.")]


def main() -> None:
    """Run the command line; an error is one message and exit code 1, wrong usage 2, Ctrl-C 130."""
    try:
        app()
    except (OSError, RuntimeError, ValueError) as error:
        err.print(f"error: {error}", markup=False)
        sys.exit(1)
    except (KeyboardInterrupt, SystemExit) as stop:
        if isinstance(stop, SystemExit) and stop.code != INTERRUPTED:
            raise
        err.print("stopped; finished runs and the last measurement of the others are kept: the same command goes on")
        sys.exit(INTERRUPTED)


@app.command("list")
def list_tasks() -> None:
    """List the tasks, their settings, and what is reached without memory."""
    table = Table("task", "settings", "without memory", "loss", "error", "which is", "solved")
    for name, kind in TASKS.items():
        task = kind()
        own = ", ".join(f"{k}={v!r}" for k, v in vars(task).items())
        found = task.baseline()
        solved = "–" if task.solved is None else f"< {task.solved:g}"
        table.add_row(name, own, found.how, f"{found.loss:.4f}", f"{found.error:.4f}", task.measure, solved)
    out.print(table, soft_wrap=False)


@app.command()
def sample(
    name: Name,
    settings: Chosen = [],  # noqa: B006
    count: Annotated[int, typer.Option(min=1, help="How many sequences.")] = 3,
    seed: int = 0,
) -> None:
    """Print some sequences of a task: for each step what is shown, and what is wanted.

    Example: python -m rnncore.tasks sample adding --set length=8
    """
    batch = _task(name, settings).batch(np.random.default_rng(seed), count)
    for b in range(count):
        steps = len(batch.x) if batch.lengths is None else int(batch.lengths[b])
        out.print(f"sequence {b + 1}", style="bold")
        for t in range(steps):
            wanted = f"  -> {batch.targets[t, b]}" if not batch.at_end else ""
            out.print(f"{t:5d}  {' '.join(f'{value:5.2g}' for value in batch.x[t, b])}{wanted}", markup=False)
        if batch.at_end:
            out.print(f"  end  -> {np.round(batch.targets[b], 4).tolist()}", markup=False)


@app.command()
def study(
    name: Name,
    run: Annotated[Path, typer.Option("--run", help="Folder of the runs and of the result; it is gone on with.")],
    cells: Annotated[str, typer.Option(help="By commas; module:Class is your own.")] = "LSTM,GRU,RNN",
    settings: Chosen = [],  # noqa: B006
    hidden: Annotated[int, typer.Option(min=1, help="Units, of every cell or of the first.")] = 64,
    equal: Annotated[str, typer.Option(help="units, parameters, or both by a comma.")] = "units,parameters",
    seeds: Annotated[int, typer.Option(min=1, help="How many.")] = 3,
    forget_bias: Annotated[str, typer.Option(help="Values by commas, each tried on every cell with such a gate.")] = "",
    start: Annotated[str, typer.Option(help="own, or uniform: the first values of PyTorch.")] = "own",
    steps: int = 8000,
    batch: int = 50,
    learning_rate: float = 1e-3,
    clip: Annotated[float, typer.Option(help="Limit of the gradient's norm.")] = 1.0,
    every: Annotated[int, typer.Option(help="Steps between two measurements.")] = 250,
    held_out: Annotated[int, typer.Option(help="Sequences of a measurement.")] = 1000,
    to_the_end: Annotated[bool, typer.Option("--to-the-end", help="Go on when the task is solved.")] = False,
    jobs: Annotated[int | None, typer.Option(min=1, help="Runs at a time; as many as there are cores.")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the result here too.")] = None,
    figure: Annotated[Path | None, typer.Option(help="Draw it here too, .svg or .png.")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress, results only.")] = False,
) -> None:
    """Train cells on a task with several seeds and compare them: table, curves, JSON. Run it again to go on.

    Among the cells, greff stands for the vanilla LSTM of Greff et al. (2017) and its eight variants.

    Example: python -m rnncore.tasks study adding --cells LSTM,GRU,RNN --run runs/adding
    """
    trained = Settings(steps, batch, learning_rate, clip, every, held_out, not to_the_end)
    biases = tuple(_number(text) for text in _split(forget_bias))
    chosen = Study(_task(name, settings), _split(cells), hidden, _split(equal), seeds, biases, start, trained)
    runs = chosen.runs()
    finished = sum(load_record(run, each) is not None for each in runs)
    with bars("runs", len(runs), finished, quiet) as watch:
        records = finish(runs, run, jobs or usable_cores(), watch)
    result = chosen.result(records)
    _write(result, run / "result.json", run / "result.svg", run / "result.md")
    _write(result, json_file, figure)
    _print(result)


@app.command()
def show(
    result_file: Annotated[Path, typer.Argument(help="The result.json of a study.")],
    figure: Annotated[Path | None, typer.Option(help="Draw it here, .svg or .png.")] = None,
    markdown_file: Annotated[Path | None, typer.Option("--markdown", help="Write the tables here.")] = None,
) -> None:
    """Print the table of a study again, and draw it.

    Example: python -m rnncore.tasks show runs/adding/result.json --figure adding.png
    """
    try:
        result = json.loads(result_file.read_text("utf-8"))
        _write(result, None, figure, markdown_file)
        _print(result)
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise ValueError(f"{result_file}: expected the result of a study, as it writes it ({error!r})") from error


def _print(result: dict[str, Any]) -> None:
    for table in rich_tables(result):
        out.print(table, soft_wrap=False)
    for text in about(result):
        out.print(text, markup=False)


def _write(result: dict[str, Any], json_file: Path | None, figure: Path | None, text: Path | None = None) -> None:
    if json_file is not None:
        write_whole(json_file, (json.dumps(result, ensure_ascii=False) + "\n").encode())
    if figure is not None:
        draw(result, figure)
    if text is not None:
        write_whole(text, markdown(result).encode())


def _task(name: str, settings: list[str]) -> Task:
    pairs = dict(text.partition("=")[::2] for text in settings)
    if wrong := [text for text in settings if "=" not in text]:
        raise ValueError(f"{wrong[0]!r} is no setting; write name=value, as in length=100")
    return make_task(name, **pairs)


def _split(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"--forget-bias takes numbers by commas, as in 0,1,2, got {text!r}") from None


if __name__ == "__main__":
    main()
