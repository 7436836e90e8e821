"""The tables of a grid: what each level does, and every training; for the terminal and for the page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.table import Table

from captioning.ablations.effects import MEASURES
from captioning.report.numbers import MISSING, format_count, format_seconds

Result = Mapping[str, Any]
Lines = list[list[str]]


def written(measure: str, value: float | None, signed: bool = False) -> str:
    """Return a measure as it is printed: three decimals of a loss, one of the others."""
    if value is None:
        return MISSING
    return f"{value:{'+' if signed else ''}.{3 if measure == 'loss' else 1}f}"


def short(axis: str) -> str:
    """Return the name of an axis without the section of its key."""
    return axis.rpartition(".")[2].replace("_", " ")


def effect_lines(result: Result) -> Lines:
    """Return the effects, a column a measure, the head first."""
    head = ["", *result["effects"], "pairs"]
    rows = zip(*result["effects"].values(), strict=True)
    return [
        head,
        *(
            [_name(row[0]), *(_effect(m, e) for m, e in zip(MEASURES, row, strict=True)), str(row[0]["pairs"])]
            for row in rows
        ),
    ]


def _name(effect: Mapping[str, Any]) -> str:
    return f"{short(effect['axis'])}: {effect['level']} instead of {effect['reference']}"


def _effect(measure: str, effect: Mapping[str, Any]) -> str:
    mean = written(measure, effect["mean"], signed=True)
    if effect["low"] is None:
        return mean
    return f"{mean} ({written(measure, effect['low'], True)} to {written(measure, effect['high'], True)})"


def run_lines(result: Result) -> Lines:
    """Return every training, the head first."""
    head = [*map(short, result["axes"]), "seed", *MEASURES, "parameters", "best epoch", "time"]
    return [head, *(_run(run) for run in result["runs"])]


def _run(run: Mapping[str, Any]) -> list[str]:
    own = run["measures"]
    values = ["diverged" if own is None else written(m, own[m]) for m in MEASURES]
    epochs = f"{run['best_epoch']} of {len(run['epochs'])}"
    return [
        *run["levels"].values(), str(run["seed"]), *values,
        format_count(run["parameters"]), epochs, format_seconds(run["seconds"]),
    ]  # fmt: skip


def effects_table(result: Result) -> Table:
    """Return the effects on CIDEr-D and loss for the terminal; the page has all."""
    lines = [[row[0], row[1], row[-2], row[-1]] for row in effect_lines(result)]
    caption = "mean difference, and its 95 % interval over pairs of trainings that differ in nothing else"
    return _table(f"{result['title']}: effects on the {result['split']} split", lines, caption)


def runs_table(result: Result) -> Table:
    """Return the trainings for the terminal."""
    lines = [["training", "seed", "CIDEr-D", "BLEU-4", "loss", "time"]]
    for run, row in zip(result["runs"], run_lines(result)[1:], strict=True):
        names = len(run["levels"])
        lines.append([", ".join(row[:names]), row[names], row[names + 1], row[names + 2], row[-4], row[-1]])
    return _table("Every training", lines, f"{result['protocol']}; loss in nats a word")


def _table(title: str, lines: Lines, caption: str) -> Table:
    table = Table(title=title, title_justify="left", caption=caption, caption_justify="left")
    for k, column in enumerate(lines[0]):
        table.add_column(column.replace("[", r"\["), justify="left" if k == 0 else "right", overflow="fold")
    for cells in lines[1:]:
        table.add_row(*(cell.replace("[", r"\[") for cell in cells))
    return table
