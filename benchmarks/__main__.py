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
from benchmarks.cost.measure import QUICK, Plan, measure
from rnncore import doctor, machine


def main(
    folder: Annotated[Path, typer.Option(help="Where the report goes.")] = record.RESULTS,
    quick: Annotated[bool, typer.Option("--quick", help="Small sizes, under a minute.")] = False,
    again: Annotated[bool, typer.Option("--again", help="Measure nothing: report what was measured.")] = False,
) -> None:
    """Measure what LSTM and GRU cost, and write the report."""
    stem = f"{record.slug(machine.describe_machine())}-cost{'-quick' if quick else ''}"
    kept = folder / f"{stem}.json"
    if again and not kept.is_file():
        raise typer.BadParameter(f"{kept} is not there: measure first, without --again")
    if not again:
        record.save(kept, measured(QUICK if quick else Plan()))
    content = record.load(kept)
    pictures = plots.draw(content, folder, stem)
    record.save_text(folder / f"{stem}.md", report.markdown(content, pictures))
    record.err.print(f"{folder / stem}.md", markup=False)


def measured(plan: Plan) -> dict[str, Any]:
    """Measure, showing how far it is, and return the record."""
    record.warn_if_held_back()
    about, started = record.setting("python -m benchmarks"), time.perf_counter()
    columns = (TextColumn("measuring"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=record.err, transient=True, disable=not record.err.is_terminal) as bar:
        task = bar.add_task("", total=len(plan))
        rates = doctor.rates()
        rows = list(measure(plan, lambda: bar.advance(task)))
    took = time.perf_counter() - started
    return {"part": "cost", **about, "took": took, "base": list(plan.base), "rates": rates, "rows": rows}


if __name__ == "__main__":
    typer.run(main)
