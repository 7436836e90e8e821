"""The result of a study as tables, for the terminal and as Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table

NONE = "–"


def tables(result: Mapping[str, Any]) -> dict[str, list[list[str]]]:
    """Return the lines of a study by comparison, each table with its head as its first line."""
    return {
        f"equal {equal}": [head(result), *(line(result, entry) for entry in entries)]
        for equal in ("units", "parameters")
        if (entries := [entry for entry in result["entries"] if equal in entry["equal"]])
    }


def head(result: Mapping[str, Any]) -> list[str]:
    """Return the names of the columns."""
    solved = result["task"]["solved"]
    steps = [] if solved is None else [f"steps to below {solved:g}, by seed", "mean"]
    return ["cell", "units", "parameters", *steps, "at the end", "s / 1000 steps"]


def line(result: Mapping[str, Any], entry: Mapping[str, Any]) -> list[str]:
    """Return one entry as written numbers."""
    steps = []
    if result["task"]["solved"] is not None:
        limit = result["settings"]["steps"]
        each = ", ".join(_reached(seed, limit) for seed in entry["seeds"])
        steps = [each, spread(entry["steps"], "{:,.0f}")]
    sizes = [f"{entry['hidden']:,}", f"{entry['parameters']:,}"]
    return [entry["label"], *sizes, *steps, spread(entry["error"], "{:.4f}"), f"{entry['seconds']:.1f}"]


def _reached(seed: Mapping[str, Any], limit: int) -> str:
    if seed["failed"]:
        return "diverged"
    return f"not in {limit:,}" if seed["solved_at"] is None else f"{seed['solved_at']:,}"


def spread(found: Sequence[float | None] | None, form: str) -> str:
    """Return mean ± deviation."""
    if found is None or found[0] is None:
        return NONE
    mean, deviation = found
    return form.format(mean) if deviation is None else f"{form.format(mean)} ± {form.format(deviation)}"


def about(result: Mapping[str, Any]) -> list[str]:
    """Return what a reader must know of the numbers."""
    task, settings, baseline = result["task"], result["settings"], result["baseline"]
    own = ", ".join(f"{key} {value}" for key, value in task.items() if key not in _SAID and value != "")
    start = "" if result["start"] == "own" else f"; first values: {result['start']}"
    floor = f", and no network comes below {baseline['floor']:.4f}" if baseline["floor"] else ""
    return [
        f"Task: {task['name']}" + (f" ({own})" if own else "") + f". Error: {task['measure']}. {task['source']}.",
        f"Without memory ({baseline['how']}): loss {baseline['loss']:.4f}{floor}, error {baseline['error']:.4f}.",
        f"Adam {settings['learning_rate']:g}, {settings['batch']} sequences a step, gradient norm clipped at "
        f"{settings['clip']:g}, measured every {settings['every']} steps on {settings['held_out']:,} new "
        f"sequences{start}.",
        "Means ± deviation over the seeds; a mean of steps only where all seeds got there. Seconds are of one core.",
    ]


_SAID = ("name", "measure", "solved", "source", "fingerprint")


def rich_tables(result: Mapping[str, Any]) -> list[Table]:
    """Return the tables for the terminal."""
    made = []
    for name, lines in tables(result).items():
        table = Table(title=f"{result['title']}, {name}", title_justify="left")
        for k, column in enumerate(lines[0]):
            table.add_column(column, justify="left" if k == 0 else "right")
        for cells in lines[1:]:
            table.add_row(*(cell.replace("[", r"\[") for cell in cells))
        made.append(table)
    return made


def markdown(result: Mapping[str, Any]) -> str:
    """Return the tables and what must be known of them as Markdown."""
    parts = []
    for name, lines in tables(result).items():
        rule = ["---", *["---:"] * (len(lines[0]) - 1)]
        rows = [
            f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"
            for cells in (lines[0], rule, *lines[1:])
        ]
        parts.append(f"**{result['title']}, {name}**\n\n" + "\n".join(rows))
    return "\n\n".join([*parts, " ".join(about(result))]) + "\n"
