"""python -m benchmarks.peers: speed and memory beside PyTorch, JAX, ONNX Runtime and Keras, whichever is installed.

python -m benchmarks.peers                      # every part, results in benchmarks/results
python -m benchmarks.peers training step        # some of them
python -m benchmarks.peers --both training      # without the variables that hold OpenBLAS back, and with them
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from benchmarks import record, turns
from benchmarks.peers import captioner, decoding, encoder, keras_captioner, layers, memory
from benchmarks.rows import FUSED
from benchmarks.tables import write_tables

#: Makes the rows of a part, but for those that are there already.
Rows = Callable[[list[dict[str, Any]]], Iterator[dict[str, Any]]]
#: Parts whose rows do not depend on one another, so that any may be measured again alone.
RESUMED = (*layers.PARTS, "captioner", "decoding")
PROGRAM = "python -m benchmarks.peers"


def parts(rounds: int, quick: bool) -> dict[str, tuple[Rows, int]]:
    """Return what makes the rows of each part, and how many there will be."""
    shrink = 8 if quick else 1
    found: dict[str, tuple[Rows, int]] = {
        name: (
            lambda rows, name=name: layers.measure(
                name, rounds, shrink, [(r["cell"], tuple(r["shape"])) for r in rows]
            ),
            2 * len(work.shapes),
        )
        for name, work in layers.PARTS.items()
    }
    found["memory"] = (lambda rows: memory.measure(quick), 2 * (len(memory.SHAPES) + 1))
    for name, recipe in (("captioner", "paper"), ("captioner-default", "default")):
        found[name] = (
            lambda rows, recipe=recipe: captioner.measure(rounds, quick, None, _keys(rows, "cell", "captions"), recipe),
            2 * len(captioner.BARS[recipe]),
        )
    found["decoding"] = (
        lambda rows: decoding.measure(rounds, quick, None, _keys(rows, "cell", "beam", "pictures")),
        2 * len(decoding.BARS),
    )
    found["encoder"] = (lambda rows: encoder.measure(rounds, quick), 1)
    if keras_captioner.is_there():
        found["keras"] = (lambda rows: keras_captioner.measure(rounds, quick), 2)
    return found


def run_part(name: str, rounds: int, quick: bool, folder: Path, resume: bool = False) -> Path:
    """Measure a part, showing how far it is, and write its record; interrupted, it stays as `.partial`."""
    make, count = parts(rounds, quick)[name]
    about, started = record.setting(PROGRAM), time.perf_counter()
    held = "-held" if record.is_held_back(about["machine"]) else ""
    path = folder / f"{record.slug(about['machine'])}-{name}{held}.json"
    partial = path.with_suffix(".partial")
    rows, took = _rows_that_are_there(path) if resume and name in RESUMED else ([], 0.0)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=record.err, transient=True, disable=not record.err.is_terminal) as bar:
        task, others = bar.add_task(name, total=count, completed=len(rows)), record.Others()
        for row in make(list(rows)):
            rows.append(row | {"others": others.share()})
            rows.sort(key=lambda r: place(name, r))
            bar.advance(task)
            elapsed = took + time.perf_counter() - started
            record.save(partial, {"part": name, **about, "took": elapsed, "rows": rows})
    if partial.is_file():
        partial.replace(path)
    return path


def place(part: str, row: dict[str, Any]) -> tuple[int, ...]:
    """Return where a row stands in its table, whenever it was measured."""
    cell = layers.CELLS.index(row["cell"]) if row["cell"] in layers.CELLS else 0
    if part in layers.PARTS:
        sizes, shape = list(layers.PARTS[part].shapes), tuple(row["shape"])
        return (sizes.index(shape) if shape in sizes else 0, cell)
    if part == "decoding":
        return (cell, -row["pictures"], row["beam"])
    return (row["captions"], cell) if part == "captioner" else (0,)


def _keys(rows: list[dict[str, Any]], *names: str) -> list[tuple[Any, ...]]:
    return [tuple(tuple(v) if isinstance(v := row[name], list) else v for name in names) for row in rows]


def _rows_that_are_there(path: Path) -> tuple[list[dict[str, Any]], float]:
    """Return what an earlier run has measured undisturbed, and how long it took."""
    partial = path.with_suffix(".partial")
    found = partial if partial.is_file() else path
    if not found.is_file():
        return [], 0.0
    content = record.load(found)
    undisturbed = (row for row in content["rows"] if row.get("others", 1.0) <= record.DISTURBED)
    return [row for row in undisturbed if FUSED in row["seconds"] or not record.has_fused()], content["took"]


def main(
    names: Annotated[list[str] | None, typer.Argument(help="Which parts; all if none is named.")] = None,
    both: Annotated[bool, typer.Option("--both", help="Measure without the variables that hold OpenBLAS back (AVX2 "
                                       "on x86-64), and again with them.")] = False,
    quick: Annotated[bool, typer.Option("--quick", help="Tiny sizes, to try it out: figures mean nothing.")] = False,
    rounds: Annotated[int, typer.Option(min=1, help="How many turns everybody takes at most.")] = turns.ROUNDS,
    folder: Annotated[Path, typer.Option(help="Where the records go.")] = record.RESULTS,
    resume: Annotated[bool, typer.Option("--resume", help="Keep rows that are there undisturbed.")] = False,
) -> None:  # fmt: skip
    """Measure and keep what recurrent layers and the captioner cost beside other libraries."""
    known = parts(rounds, quick)
    unknown = sorted(set(names or []) - set(known))
    if unknown:
        raise typer.BadParameter(f"no parts {', '.join(unknown)} here; there are {', '.join(known)}")
    for name in names or known:
        if both:
            options = ["--rounds", str(rounds), "--folder", str(folder), *["--quick"] * quick, *["--resume"] * resume]
            for held in (False, True):
                record.run_module("benchmarks.peers", [name, *options], held)
        else:
            record.warn_if_held_back()
            record.warn_if_not_fused()
            record.err.print(f"{name}: {run_part(name, rounds, quick, folder, resume)}", markup=False)
    for path in write_tables(folder):
        record.err.print(f"tables: {path}", markup=False)


if __name__ == "__main__":
    typer.run(main)
