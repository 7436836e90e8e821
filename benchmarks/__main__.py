"""python -m benchmarks: what an LSTM costs against both GRUs on this machine, as Markdown, JSON and pictures.

python -m benchmarks                            # under ten minutes; benchmarks/results/MACHINE-cost.md
python -m benchmarks --quick --folder /tmp/it   # under one: small sizes, to see what there is
python -m benchmarks --again                    # the report anew from what was measured
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from benchmarks import record
from benchmarks.cost import plots, report
from benchmarks.cost.measure import QUICK, Plan, steps
from rnncore import doctor


def main(
    folder: Annotated[Path, typer.Option(help="Where the report goes.")] = record.RESULTS,
    quick: Annotated[bool, typer.Option("--quick", help="Small sizes, under a minute.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Keep what is there undisturbed, measure the rest.")] = False,
    again: Annotated[bool, typer.Option("--again", help="Measure nothing: report what was measured.")] = False,
) -> None:
    """Measure what LSTM and GRU cost, and write the report."""
    stem = f"{record.slug(record.setting('')['machine'])}-cost{'-quick' if quick else ''}"
    kept = folder / f"{stem}.json"
    if again and not kept.is_file():
        raise typer.BadParameter(f"{kept} is not there: measure first, without --again")
    if not again:
        measure(QUICK if quick else Plan(), kept, resume)
    content = record.load(kept)
    pictures = plots.draw(content, folder, stem)
    record.save_text(folder / f"{stem}.md", report.markdown(content, pictures))
    record.err.print(f"{folder / stem}.md", markup=False)


def measure(plan: Plan, kept: Path, resume: bool) -> None:
    """Measure, showing how far it is, and keep the record; interrupted, it stays beside it as `.partial`."""
    record.warn_if_held_back()
    about, started, todo = record.setting("python -m benchmarks"), time.perf_counter(), steps(plan)
    rows = _undisturbed(kept) if resume else []
    partial, there = kept.with_suffix(".partial"), {row["step"] for row in rows}
    columns = (TextColumn("measuring"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=record.err, transient=True, disable=not record.err.is_terminal) as bar:
        task, rates, others = bar.add_task("", total=len(todo)), doctor.rates(), record.Others()
        for name, step in todo.items():
            if name not in there:
                found = list(step())
                share = others.share()
                rows += [row | {"step": name, "others": share} for row in found]
                rows.sort(key=lambda row: list(todo).index(row["step"]))
                took = time.perf_counter() - started
                content = {"part": "cost", **about, "took": took, "base": list(plan.base), "rates": rates, "rows": rows}
                record.save(partial, content)
            bar.advance(task)
    if partial.is_file():
        partial.replace(kept)


def _undisturbed(kept: Path) -> list[dict[str, Any]]:
    """Return the rows that an earlier run has measured while nobody else used the machine."""
    partial = kept.with_suffix(".partial")
    found = partial if partial.is_file() else kept
    return [r for r in record.load(found)["rows"] if r["others"] <= record.DISTURBED] if found.is_file() else []


if __name__ == "__main__":
    typer.run(main)
