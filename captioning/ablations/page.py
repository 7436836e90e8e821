"""The page of a grid: one file that opens from the file system and asks nobody for anything."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from importlib.resources import files
from string import Template
from typing import Any

from captioning.ablations.charts import charts
from captioning.ablations.effects import MEASURES
from captioning.ablations.tables import Lines, Result, effect_lines, run_lines, short, written


def grid_page(result: Result) -> str:
    """Return the whole page as HTML."""
    folder = files("captioning.ablations")
    shown = "".join(
        f'<div class="charts" data-measure="{escape(measure)}"{hidden}>{charts(result, measure)}</div>'
        for measure, hidden in zip(MEASURES, ["", *[" hidden"] * (len(MEASURES) - 1)], strict=True)
    )
    first, *rest = findings(result)
    return Template(folder.joinpath("page.html").read_text(encoding="utf-8")).substitute(
        title=escape(result["title"]),
        style=files("captioning.report").joinpath("style.css").read_text(encoding="utf-8"),
        script=folder.joinpath("page.js").read_text(encoding="utf-8"),
        about=escape(_about(result)),
        lead=escape(first),
        findings="".join(f"<li>{escape(text)}</li>" for text in rest),
        measures="".join(f"<option>{escape(measure)}</option>" for measure in MEASURES),
        charts=shown,
        effects=_table("effects", effect_lines(result), 1),
        runs=_table("trainings", run_lines(result), len(result["axes"])),
        protocol=escape(f"{result['protocol']}; {result['split']} split; loss in nats a word."),
        details=_details(result),
        date=escape(result["date"]),
    )


def findings(result: Result) -> list[str]:
    """Return what stands out: the best training, and which effects are more than chance."""
    done = [run for run in result["runs"] if run["measures"] is not None]
    failed = len(result["runs"]) - len(done)
    if not done:
        return ["Every training diverged; lower the learning rate."]
    best = max(done, key=lambda run: run["measures"]["CIDEr-D"])
    levels = ", ".join(f"{short(axis)} {level}" for axis, level in best["levels"].items())
    said = [f"The best of {len(done)} trainings reaches CIDEr-D {best['measures']['CIDEr-D']:.1f}: {levels}."]
    for measure in ("CIDEr-D", "loss"):
        found = result["effects"][measure]
        clear = [e for e in found if e["low"] is not None and (e["low"] > 0 or e["high"] < 0)]
        largest = max(found, key=lambda e: abs(e["mean"]), default=None)
        if largest is not None:
            name = f"{short(largest['axis'])} {largest['level']} instead of {largest['reference']}"
            said.append(
                f"{measure}: the largest effect is that of {name}, {written(measure, largest['mean'], True)}; "
                f"{len(clear)} of {len(found)} effects have an interval without zero."
            )
    return said + ([f"{failed} trainings diverged and take no part in the effects."] if failed else [])


def _about(result: Result) -> str:
    data, count = result["dataset"], len(result["runs"])
    design = "every combination" if result["design"] == "full" else "one axis at a time"
    pictures = f"{data['train']:,} training pictures of {data['name']}"
    seeds = f"{len(result['seeds'])} seed" + ("s" if len(result["seeds"]) > 1 else "")
    return f"{count} trainings, {design}, {seeds}; {pictures}; recipe {result['base']}"


def _table(name: str, lines: Lines, names: int) -> str:
    """A table whose columns sort it; the first `names` columns are words."""
    head = "".join(f'<th scope="col"><button type="button">{escape(cell)}</button></th>' for cell in lines[0])
    kinds = [' class="text"'] * names + [""] * (len(lines[0]) - names)
    cells = [[f"<td{kind}>{escape(c)}</td>" for kind, c in zip(kinds, row, strict=True)] for row in lines[1:]]
    rows = "".join(f"<tr>{''.join(row)}</tr>" for row in cells)
    return (
        f'<div class="tablebox"><div class="scroll" tabindex="0" role="region" aria-label="{name}">'
        f'<table class="sorted" id="{name}"><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div></div>'
    )


def _details(result: Result) -> str:
    flat = {f"{s}.{key}": v for s, keys in result["recipe"].items() for key, v in keys.items()}
    levels = {
        f"{axis}: {level}": ", ".join(f"{key} = {value}" for key, value in keys.items()) or "as the recipe has it"
        for axis, own in result["sets"].items()
        for level, keys in own.items()
    }
    run = {"command": result["command"], "features": result["features"], "date": result["date"]}
    machine = {key: str(value) for key, value in result["machine"].items()}
    blocks: dict[str, Mapping[str, Any]] = {"Run": run, "Levels": levels, "Recipe": flat, "Machine": machine}
    return "".join(f"<section><h3>{name}</h3><dl>{_list(values)}</dl></section>" for name, values in blocks.items())


def _list(values: Mapping[str, Any]) -> str:
    return "".join(f"<div><dt>{escape(key)}</dt><dd>{escape(str(value))}</dd></div>" for key, value in values.items())
