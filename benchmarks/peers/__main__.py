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
from benchmarks.tables import write_tables

Rows = Callable[[], Iterator[dict[str, Any]]]
PROGRAM = "python -m benchmarks.peers"


def parts(rounds: int, quick: bool) -> dict[str, tuple[Rows, int]]:
    """Return what makes the rows of each part, and how many there will be."""
    shrink = 8 if quick else 1
    found: dict[str, tuple[Rows, int]] = {
        name: (lambda name=name: layers.measure(name, rounds, shrink), 2 * len(work.shapes))
        for name, work in layers.PARTS.items()
    }
    found["memory"] = (lambda: memory.measure(quick), 2 * (len(memory.SHAPES) + 1))
    found["captioner"] = (lambda: captioner.measure(rounds, quick), 2 * len(captioner.BARS))
    found["decoding"] = (lambda: decoding.measure(rounds, quick), 2 * len(decoding.BARS))
    found["encoder"] = (lambda: encoder.measure(rounds, quick), 1)
    if keras_captioner.is_there():
        found["keras"] = (lambda: keras_captioner.measure(rounds, quick), 2)
    return found


def run_part(name: str, rounds: int, quick: bool, folder: Path) -> Path:
    """Measure a part, showing how far it is, and write its record; interrupted, it stays as `.partial`."""
    make, count = parts(rounds, quick)[name]
    about, rows, started = record.setting(PROGRAM), [], time.perf_counter()
    held = "-held" if record.is_held_back(about["machine"]) else ""
    path = folder / f"{record.slug(about['machine'])}-{name}{held}.json"
    partial = path.with_suffix(".partial")
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=record.err, transient=True, disable=not record.err.is_terminal) as bar:
        task = bar.add_task(name, total=count)
        for row in make():
            rows.append(row)
            bar.advance(task)
            record.save(partial, {"part": name, **about, "took": time.perf_counter() - started, "rows": rows})
    partial.replace(path)
    return path


def main(
    names: Annotated[list[str] | None, typer.Argument(help="Which parts; all if none is named.")] = None,
    both: Annotated[bool, typer.Option("--both", help="Measure without the variables that hold OpenBLAS back (AVX2 "
                                       "on x86-64), and again with them.")] = False,
    quick: Annotated[bool, typer.Option("--quick", help="Tiny sizes, to try it out: figures mean nothing.")] = False,
    rounds: Annotated[int, typer.Option(min=1, help="How many turns everybody takes at most.")] = turns.ROUNDS,
    folder: Annotated[Path, typer.Option(help="Where the records go.")] = record.RESULTS,
) -> None:  # fmt: skip
    """Measure and keep what recurrent layers and the captioner cost beside other libraries."""
    known = parts(rounds, quick)
    unknown = sorted(set(names or []) - set(known))
    if unknown:
        raise typer.BadParameter(f"no parts {', '.join(unknown)} here; there are {', '.join(known)}")
    for name in names or known:
        if both:
            options = ["--rounds", str(rounds), "--folder", str(folder), *(["--quick"] if quick else [])]
            for held in (False, True):
                record.run_module("benchmarks.peers", [name, *options], held)
        else:
            record.warn_if_held_back()
            record.err.print(f"{name}: {run_part(name, rounds, quick, folder)}", markup=False)
    for path in write_tables(folder):
        record.err.print(f"tables: {path}", markup=False)


if __name__ == "__main__":
    typer.run(main)
