"""A `Run` as a table for people, and as CSV and safetensors for other tools."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from rnncore.interop.files import write_whole
from rnncore.study.run import Floats, Run

if TYPE_CHECKING:
    from rich.table import Table

FORMAT = "rnncore run 1"


def columns(run: Run) -> dict[str, Floats]:
    """Return every value by its name, and every gradient by its name after a 'd '."""
    return {**run.values, **{f"d {name}": array for name, array in run.gradients.items()}}


def table(run: Run, unit: int, sequence: int = 0, names: Sequence[str] | None = None, digits: int = 3) -> Table:
    """Return a table for `rich.print`: one row a step of one unit, one column for each of `names`.

    names : of values, and of gradients as 'd forget'; gates and states when None.
    """
    from rich.table import Table

    chosen = [*run.cell.gates, *run.cell.state] if names is None else list(names)
    found = columns(run)
    if unknown := [name for name in chosen if name not in found]:
        raise KeyError(f"no columns {unknown}; there are {', '.join(found)}")
    made = Table(title=f"{run.name}, unit {unit}" + (f", sequence {sequence}" if run.batch > 1 else ""))
    made.add_column("step", justify="right")
    if run.tokens is not None:
        made.add_column("token")
    for name in chosen:
        made.add_column(name, justify="right")
    for t, label in enumerate(run.labels(sequence)):
        numbers = [f"{found[name][t, sequence, unit]:.{digits}f}" for name in chosen]
        made.add_row(str(t), *([label] if run.tokens is not None else []), *numbers)
    return made


def text(run: Run, unit: int, sequence: int = 0, names: Sequence[str] | None = None, digits: int = 3) -> str:
    """Return `table` as plain text, as wide as it needs to be."""
    from rich.console import Console

    made = table(run, unit, sequence, names, digits)
    console = Console(file=io.StringIO(), width=400, color_system=None)
    with console.capture() as printed:
        console.print(made)
    return "\n".join(line.rstrip() for line in printed.get().splitlines())


def csv_rows(run: Run) -> Iterator[list[str | int | float]]:
    """Yield a header, then a row for every real step of every unit: sequence, step, token, unit, and all values."""
    found = columns(run)
    yield ["sequence", "step", "token", "unit", *found]
    units = max(array.shape[2] for array in found.values())
    for b, length in enumerate(run.lengths):
        labels = run.labels(b) if run.tokens is not None else [""] * int(length)
        for t, label in enumerate(labels):
            for unit in range(units):
                cells = [float(a[t, b, unit]) if unit < a.shape[2] else "" for a in found.values()]
                yield [b, t, label, unit, *cells]


def write_csv(run: Run, path: str | Path) -> None:
    """Write `csv_rows` to a file, whole or not at all; numbers keep every digit."""
    lines = io.StringIO(newline="")
    csv.writer(lines, lineterminator="\n").writerows(csv_rows(run))
    write_whole(Path(path), lines.getvalue().encode())


def write_safetensors(run: Run, path: str | Path) -> None:
    """Write every array to a safetensors file, whole or not at all.

    Tensors: `value/forget`, `gradient/forget`, `weight/U`, `initial/h`, `x` and `lengths`. The header has `format`, and
    as JSON the cell, its gates and states, and the tokens.
    """
    from safetensors.numpy import save

    arrays = {"x": run.x, "lengths": run.lengths.astype(np.int64)}
    for kind, group in (("value", run.values), ("gradient", run.gradients), ("weight", run.weights)):
        arrays |= {f"{kind}/{name}": array for name, array in group.items()}
    arrays |= {f"initial/{name}": array for name, array in zip(run.cell.state, run.initial, strict=True)}
    about = {
        "cell": type(run.cell).__name__,
        "name": run.name,
        "gates": run.cell.gates,
        "state": run.cell.state,
        "tokens": run.tokens,
    }
    metadata = {"format": FORMAT, "header": json.dumps(about)}
    write_whole(Path(path), save({k: np.asarray(a, order="C") for k, a in arrays.items()}, metadata=metadata))
