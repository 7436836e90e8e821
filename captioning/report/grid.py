"""A table built once and written for the terminal and for Markdown; the page writes it itself."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from rich.table import Table


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


def best_of(
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
