"""Puts the page together: one file that opens from the file system and asks nobody for anything."""

from collections.abc import Mapping
from html import escape
from importlib.resources import files
from itertools import groupby
from string import Template
from typing import Any

from captioning.report.curves import charts
from captioning.report.details import script_data
from captioning.report.gallery import References, gallery
from captioning.report.grid import Grid, Row
from captioning.report.numbers import (
    Result,
    format_metric,
    headlines,
    main_decoder,
    main_metrics,
    main_protocol,
    systems,
)
from captioning.report.summary import RANKED_BY, picture_scores, summary
from captioning.report.tables import grids
from captioning.report.thumbnails import Thumbnails


def report_page(result: Result, references: References, thumbnails: Thumbnails, max_pictures: int) -> str:
    """The whole page as HTML."""
    folder = files("captioning.report")
    shown = gallery(result, references, thumbnails, max_pictures)
    first, *rest = summary(result)
    return Template(folder.joinpath("page.html").read_text(encoding="utf-8")).substitute(
        title=escape(result["title"]),
        style=folder.joinpath("style.css").read_text(encoding="utf-8"),
        script="".join(folder.joinpath(name).read_text(encoding="utf-8") for name in ("page.js", "said.js")),
        dataset=escape(_dataset_line(result)),
        lead=escape(first),
        findings="".join(f"<li>{escape(text)}</li>" for text in rest),
        tiles=_tiles(result),
        tables="".join(_table(grid) for grid in grids(result)),
        scale=_scale(result),
        charts="".join(charts(result)),
        about_pictures=escape(_about_pictures(result, shown.shown, shown.total)),
        sorting="" if picture_scores(result) else "hidden",
        filters="".join(f'<option value="{escape(name)}">{escape(name)} ahead</option>' for name in systems(result)),
        cards=shown.cards,
        said=script_data(shown.said),
        details=_details(result),
        date=escape(result["date"]),
    )


def _dataset_line(result: Result) -> str:
    data = result["dataset"]
    return (
        f"{data['name']}: {data['train']:,} training, {data['validation']:,} validation and {data['test']:,} test "
        f"pictures, {data['vocabulary']:,} words"
    )


def _tiles(result: Result) -> str:
    """The headline measures, each with every system's number."""
    protocol, by_system = main_protocol(result) or "", main_metrics(result)
    tiles = []
    for metric in headlines(result):
        values = {system: metrics.get(metric) for system, metrics in by_system.items()}
        top = max(v for v in values.values() if v is not None)
        lines = "".join(
            f'<div class="s{k % 6}{" ahead" if value == top else ""}"><dt>{escape(system)}</dt>'
            f"<dd>{format_metric(protocol, value)}</dd></div>"
            for k, (system, value) in enumerate(values.items())
        )
        tiles.append(f'<section class="tile"><h3>{escape(metric)}</h3><dl>{lines}</dl></section>')
    return "".join(tiles)


def _table(grid: Grid) -> str:
    titled = all(group == grid.title for group, _ in grid.columns)
    groups = "".join(
        f'<th scope="colgroup" colspan="{len(list(members))}">{escape(group)}</th>'
        for group, members in groupby(group for group, _ in grid.columns)
    )
    top = "" if titled else f"<tr><td></td>{groups}</tr>"
    starts = {k for k in range(1, len(grid.columns)) if grid.columns[k][0] != grid.columns[k - 1][0]}
    heads = "".join(
        f'<th scope="col"{_start(k, starts, " " in column)}>{escape(column)}</th>'
        for k, (_, column) in enumerate(grid.columns)
    )
    order = list(dict.fromkeys(row.system for row in grid.rows if row.system))
    rows = "".join(_table_row(row, order, starts) for row in grid.rows)
    notes = "".join(f"<p>{escape(note)}</p>" for note in grid.notes)
    return (
        f'<div class="tablebox"><div class="scroll" tabindex="0" role="region" aria-label="{escape(grid.title)}">'
        f"<table><caption>{escape(grid.title)}</caption><thead>{top}<tr><td></td>{heads}</tr></thead>"
        f'<tbody>{rows}</tbody></table></div><div class="notes">{notes}</div></div>'
    )


def _table_row(row: Row, order: list[str], starts: set[int]) -> str:
    kind = "scale" if row.system is None else f"s{order.index(row.system) % 6}"
    note = f"<small>{escape(row.note)}</small>" if row.note else ""
    cells = "".join(
        f"<td{_start(k, starts)}>{f'<strong>{escape(cell)}</strong>' if k in row.best else escape(cell)}</td>"
        for k, cell in enumerate(row.cells)
    )
    return f'<tr class="{kind}"><th scope="row">{escape(row.name)}{note}</th>{cells}</tr>'


def _start(column: int, starts: set[int], wraps: bool = True) -> str:
    """The classes of a cell: a rule before each group of columns; a single word is never broken."""
    classes = ["start"] * (column in starts) + ["word"] * (not wraps)
    return f' class="{" ".join(classes)}"' if classes else ""


def _scale(result: Result) -> str:
    """Bars that put the systems between a caption that never changes and a person."""
    protocol = main_protocol(result) or ""
    bars = [(name, m.get(RANKED_BY), f"s{k % 6}") for k, (name, m) in enumerate(main_metrics(result).items())]
    for name, block in result.get("baselines", {}).items():
        bars.append((name, block["metrics"].get(protocol, {}).get(RANKED_BY), "scale"))
    known = sorted(((name, v, kind) for name, v, kind in bars if v is not None), key=lambda bar: bar[1])
    if not known or len(known) == len(systems(result)):
        return ""
    top = max(value for _, value, _ in known) or 1.0
    lines = "".join(
        f'<div class="bar {kind}"><dt>{escape(name)}</dt><dd><span style="width:{100 * max(value, 0) / top:.1f}%">'
        f"</span><b>{format_metric(protocol, value)}</b></dd></div>"
        for name, value, kind in known
    )
    return f'<figure class="chart bars wide"><figcaption>{RANKED_BY}, for scale</figcaption><dl>{lines}</dl></figure>'


def _about_pictures(result: Result, shown: int, total: int) -> str:
    spread = f"spread evenly from the best to the worst by {RANKED_BY}" if picture_scores(result) else "in order"
    which = f"All {total:,} pictures" if shown == total else f"{shown} of the {total:,} pictures, {spread}"
    return f"{which}. Captions decoded with {main_decoder(result)}."


def _details(result: Result) -> str:
    encoder = result["encoder"]
    blocks: dict[str, Mapping[str, Any]] = {
        "Run": {"command": result["command"], "date": result["date"], "seed": result["seed"]},
        "Pictures' encoder": {"description": encoder["description"], "hash": encoder["hash"]},
        "Machine": result["machine"],
        "Recipe": result["recipe"],
        "Protocols": {name: text for name, text in result.get("protocols", {}).items() if text},
    }
    return "".join(
        f"<section><h3>{escape(name)}</h3>{_tree(values)}</section>" for name, values in blocks.items() if values
    )


def _tree(values: Mapping[str, Any]) -> str:
    rows = "".join(f"<div><dt>{escape(str(key))}</dt><dd>{_value(value)}</dd></div>" for key, value in values.items())
    return f"<dl>{rows}</dl>"


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        return _tree(value) if value else "none"
    if isinstance(value, list | tuple):
        return escape(", ".join(map(str, value))) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "none" if value is None else escape(str(value))
