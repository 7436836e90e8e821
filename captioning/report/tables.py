"""The tables of a comparison, built once and written for the terminal, for Markdown and for the page."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from rich.table import Table

from captioning.report.numbers import (
    MISSING,
    Result,
    format_count,
    format_loss,
    format_metric,
    format_seconds,
    is_coco,
    metric_names,
    protocols,
    systems,
)


@dataclass(frozen=True)
class Row:
    """One line of a grid. ``best`` holds the columns in which it is ahead; scale rows are not systems."""

    name: str
    cells: tuple[str, ...]
    best: frozenset[int] = frozenset()
    system: str | None = None
    note: str = ""


@dataclass(frozen=True)
class Grid:
    """A table: a head of (group, column) pairs over rows of written numbers, and a note under it."""

    title: str
    columns: tuple[tuple[str, str], ...]
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = field(default=())


def grids(result: Result) -> list[Grid]:
    """The tables of a result: COCO's metrics, the paper's beside ours, and what training cost."""
    scored = [_metrics_grid(result, name) for name in protocols(result) if is_coco(name)]
    paper = _paper_grid(result)
    return [*scored, *([paper] if paper else []), _cost_grid(result)]


def _metrics_grid(result: Result, protocol: str) -> Grid:
    names = metric_names(result, protocol)
    entries = [
        (f"{name}, {decoder}", name, block["metrics"].get(protocol, {}), "")
        for name, system in systems(result).items()
        for decoder, block in system["decoders"].items()
    ]
    values = [[metrics.get(m) for m in names] for _, _, metrics, _ in entries]
    best = _best(values, [max] * len(names))
    rows = [
        Row(label, tuple(format_metric(protocol, v) for v in line), best[k], system)
        for k, ((label, system, _, _), line) in enumerate(zip(entries, values, strict=True))
    ]
    for name, block in result.get("baselines", {}).items():
        metrics = block["metrics"].get(protocol, {})
        cells = tuple(format_metric(protocol, metrics.get(m)) for m in names)
        rows.append(Row(name, cells, note=block.get("note", "")))
    title = f"Caption metrics, {protocol}"
    return Grid(title, tuple((title, m) for m in names), tuple(rows), _described(result, [protocol]))


def _paper_grid(result: Result) -> Grid | None:
    """The paper's Table 1 beside ours: under each system's row of the paper our own, one column a reading."""
    paper = result.get("paper", {})
    readings = [name for name in protocols(result) if not is_coco(name)]
    if not paper and not readings:
        return None
    families = {_family(m): None for p in readings for m in metric_names(result, p)}
    columns = [("Loss", "test"), *((f, p) for f in families for p in readings if _reading(result, p, f))]
    rows = []
    for name, system in systems(result).items():
        if name in paper:
            rows.append(Row(f"{name}, the paper", tuple(_printed(paper[name], family) for family, _ in columns)))
        for decoder, block in system["decoders"].items():
            cells = [f"{system['losses']['test']:.4f}"]
            for family, source in columns[1:]:
                metrics = block["metrics"].get(source, {})
                cells.append(format_metric(source, metrics.get(_reading(result, source, family))))
            rows.append(Row(f"{name}, {decoder}", tuple(cells), system=name))
    title = "The paper's Table 1 beside ours" if paper else "The paper's measures"
    notes = ("Loss: cross-entropy on the test split, in nats a word.", *_described(result, readings))
    return Grid(title, tuple(columns), tuple(rows), notes)


def _printed(row: Mapping[str, float], family: str) -> str:
    """A number as the paper prints it; it does not say which reading it took, so each column shows it."""
    value = row.get("loss" if family == "Loss" else family)
    return MISSING if value is None else str(value)


def _family(metric: str) -> str:
    return re.split(r"[-_ ]", metric)[0]


def _reading(result: Result, protocol: str, family: str) -> str | None:
    """The metric of a protocol that reads one of the paper's measures: BLEU-4 for BLEU."""
    return next((m for m in metric_names(result, protocol) if _family(m) == family), None)


def _cost_grid(result: Result) -> Grid:
    columns = [
        ("Loss", "train"), ("Loss", "validation"), ("Loss", "test"), ("Parameters", "cell"), ("Parameters", "all"),
        ("Training", "best epoch"), ("Training", "words/s"), ("Training", "time"),
    ]  # fmt: skip
    values: list[list[float | None]] = []
    written: list[list[str]] = []
    for system in systems(result).values():
        speeds = [epoch["words_per_second"] for epoch in system["epochs"]]
        speed = sum(speeds) / len(speeds) if speeds else None
        losses = [system["losses"].get(split) for _, split in columns[:3]]
        sizes = [system["cell_parameters"], system["parameters"]]
        values.append([*losses, *sizes, None, speed, system["seconds"]])
        training = [f"{system['best_epoch']} of {len(system['epochs'])}"]
        training += [MISSING if speed is None else f"{speed:,.0f}", format_seconds(system["seconds"])]
        written.append([*map(format_loss, losses), *map(format_count, sizes), *training])
    best = _best(values, [min, min, min, min, min, None, max, min])
    rows = [Row(name, tuple(written[k]), best[k], name) for k, name in enumerate(systems(result))]
    return Grid("Loss and cost", tuple(columns), tuple(rows), ("Losses are in nats a word.",))


def _best(
    values: Sequence[Sequence[float | None]], choose: Sequence[Callable[..., float] | None]
) -> list[frozenset[int]]:
    """For each row the columns in which no other row is better; none where all are equal."""
    ahead: list[set[int]] = [set() for _ in values]
    for column, chosen in enumerate(choose):
        known = [row[column] for row in values if row[column] is not None]
        if chosen is None or len(set(known)) < 2:
            continue
        top = chosen(known)
        for row, found in zip(values, ahead, strict=True):
            if row[column] == top:
                found.add(column)
    return [frozenset(found) for found in ahead]


def _described(result: Result, names: Sequence[str]) -> tuple[str, ...]:
    known = result.get("protocols", {})
    return tuple(f"{name}: {known[name]}" for name in names if name in known)


def rich_table(grid: Grid) -> Table:
    """A grid for the terminal; the best system of a column is bold.

    A grid of more columns than rows is turned on its side, so that 80 characters hold it without breaking words.
    """
    caption = "\n".join(grid.notes) or None
    table = Table(title=grid.title, caption=caption, title_justify="left", caption_justify="left")
    table.add_column("", overflow="fold")
    if len(grid.columns) > len(grid.rows):
        return _turned(grid, table)
    for group, column in grid.columns:
        head = column if group == grid.title else f"{group}\n{column}"
        table.add_column(head, justify="right", overflow="fold")
    for k, row in enumerate(grid.rows):
        cells = [f"[bold]{cell}[/bold]" if c in row.best else cell for c, cell in enumerate(row.cells)]
        last_system = row.system is not None and k + 1 < len(grid.rows) and grid.rows[k + 1].system is None
        style = None if row.system else "dim"
        table.add_row(_plain(row.name), *cells, style=style, end_section=last_system)
    return table


def _turned(grid: Grid, table: Table) -> Table:
    """The grid's columns as rows of `table`."""
    for row in grid.rows:
        table.add_column(_plain(row.name), justify="right", overflow="fold", style=None if row.system else "dim")
    for c, (group, column) in enumerate(grid.columns):
        head = column if group == grid.title else f"{group}, {column}"
        cells = [f"[bold]{row.cells[c]}[/bold]" if c in row.best else row.cells[c] for row in grid.rows]
        last_of_group = c + 1 < len(grid.columns) and grid.columns[c + 1][0] != group
        table.add_row(head, *cells, end_section=last_of_group)
    return table


def _plain(text: str) -> str:
    return text.replace("[", r"\[")


def markdown(grid: Grid) -> str:
    """A grid as a Markdown table; the best system of a column is bold."""
    heads = [column if group == grid.title else f"{group}, {column}" for group, column in grid.columns]
    lines = [f"**{_cell(grid.title)}**", "", _line(["", *map(_cell, heads)])]
    lines.append(_line(["---", *["---:"] * len(heads)]))
    for row in grid.rows:
        cells = [f"**{cell}**" if c in row.best else cell for c, cell in enumerate(row.cells)]
        lines.append(_line([_cell(row.name), *cells]))
    lines += [f"\n{note}" for note in grid.notes]
    return "\n".join(lines)


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cell(text: str) -> str:
    return " ".join(text.replace("|", r"\|").split())
