"""python -m benchmarks.gpu: every row of the tables of the GPU, in parts, and on from where the last call stopped."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks.gpu import captioner, card, lacking, layers
from benchmarks.peers.corpus import find_corpus
from benchmarks.record import err, load, save, setting

#: Pictures of the drawn corpus, where Flickr8k is not there: so many that the largest batch is a part of it.
PICTURES = 2000
MODULES = {"layers": layers, "lacking": lacking, "captioner": captioner}


def main(
    json: Annotated[Path, typer.Option(help="Where the record goes, row by row.")],
    part: Annotated[list[str], typer.Option(help="Which tables: layers, lacking, captioner.")] = list(MODULES),  # noqa: B006
    resume: Annotated[bool, typer.Option("--resume", help="Keep the rows that are there, measure the others.")] = False,
    minutes: Annotated[float, typer.Option(min=0, help="Begin no row after so many.")] = 9.0,
    without_torch: Annotated[bool, typer.Option("--without-torch", help="Leave PyTorch out.")] = False,
) -> None:
    """Measure, and keep the record after every row; the exit code is 1 if a row failed, with what it said kept."""
    if unknown := sorted(set(part) - set(MODULES)):
        raise typer.BadParameter(f"no part {', '.join(unknown)}; there are {', '.join(MODULES)}")
    if json.is_file() and not resume:
        raise typer.BadParameter(f"{json} is there already: give --resume to go on with it, or another name")
    about = card.describe(not without_torch)
    record = load(json) if json.is_file() else setting("python -m benchmarks.gpu") | {"part": "gpu", "rows": []}
    if record.setdefault("gpu", about) != about:
        raise typer.BadParameter(f"{json} is of {record['gpu']}, and here is {about}: give another name")
    failed = measure(record, json, part, until=time.monotonic() + 60 * minutes, torch=not without_torch)
    raise typer.Exit(1 if failed else 0)


def measure(record: dict[str, Any], path: Path, parts: list[str], until: float, torch: bool) -> int:
    """Measure the rows that the record lacks, until the clock says so; return how many rows of it have failed."""
    todo = missing(record["rows"], parts)
    measured = Measured(record, torch)
    for k, row in enumerate(todo):
        if time.monotonic() > until:
            err.print(f"{len(todo) - k} rows are left: the same command with --resume goes on", markup=False)
            break
        row |= attempt(lambda row=row: measured(row))  # type: ignore[misc]
        record["rows"] = [each for each in record["rows"] if not is_same_row(each, row)] + [row]
        save(path, record)  # what is measured stays, whatever comes
        err.print(f"{k + 1} of {len(todo)}: {row}", markup=False)
    return sum("failed" in row for row in record["rows"])


def missing(there: list[dict[str, Any]], parts: list[str]) -> list[dict[str, Any]]:
    """Return what names each row of some parts that is not there yet, or is there as failed."""
    named = [{"table": part, **row} for part in parts for row in MODULES[part].rows()]
    done = [row for row in there if "failed" not in row]
    return [row for row in named if not any(is_same_row(each, row) for each in done)]


def is_same_row(kept: Mapping[str, Any], row: Mapping[str, Any]) -> bool:
    """Whether a kept row is the one that `row` names."""
    names = ("table", "cell", "variant", "T", "B", "H", "captions", "products")
    return all(kept.get(name) == row.get(name) for name in names)


def attempt(work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Return what `work` measured; a row that cannot be measured, for whatever reason, says so instead."""
    try:
        return work()
    except Exception as error:  # CuPy's CompileException, for one, shares only that with others
        return {"failed": f"{type(error).__name__}: {error}"}


class Measured:
    """Measures a row by its table; what rows share is made when the first of them needs it."""

    def __init__(self, record: dict[str, Any], torch: bool) -> None:
        self.record, self.torch, self._corpus = record, torch, None

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """Return the figures of a row."""
        named = {name: value for name, value in row.items() if name != "table"}
        if row["table"] == "layers":
            rates = self.record.setdefault("rates", {})
            if row["products"] not in rates:
                rates[row["products"]] = layers.product_rate(row["products"])
            return layers.measure(rates, self.torch, **named)
        if row["table"] == "lacking":
            return lacking.measure(self.torch, **named)
        self._corpus = self._corpus or find_corpus(PICTURES)
        return captioner.measure(self._corpus, self.torch, **named)


if __name__ == "__main__":
    typer.run(main)
