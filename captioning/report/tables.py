"""The tables of a comparison: COCO's metrics, the paper's beside ours, and those of `measures`."""

import re
from collections.abc import Mapping, Sequence

from captioning.report.grid import Grid, Row, best_of
from captioning.report.measures import cost_grid, further_grid, intervals_grid, tests_grid
from captioning.report.numbers import (
    MISSING,
    Result,
    format_metric,
    is_coco,
    metric_names,
    protocols,
    systems,
)


def grids(result: Result) -> list[Grid]:
    """The tables of a result: COCO's metrics, the paper's beside ours, and what training cost."""
    scored = [_metrics_grid(result, name) for name in protocols(result) if is_coco(name)]
    paper = _paper_grid(result)
    return [
        *scored,
        *filter(None, [intervals_grid(result), tests_grid(result), further_grid(result), paper]),
        cost_grid(result),
    ]


def _metrics_grid(result: Result, protocol: str) -> Grid:
    names = metric_names(result, protocol)
    entries = [
        (f"{name}, {decoder}", name, block["metrics"].get(protocol, {}), block.get("deviations", {}).get(protocol, {}))
        for name, system in systems(result).items()
        for decoder, block in system["decoders"].items()
    ]
    values = [[metrics.get(m) for m in names] for _, _, metrics, _ in entries]
    best = best_of(values, [max] * len(names))
    rows = [
        Row(
            label, tuple(format_metric(protocol, v, spread.get(m)) for m, v in zip(names, line, strict=True)), b, system
        )
        for (label, system, _, spread), line, b in zip(entries, values, best, strict=True)
    ]
    for name, block in result.get("baselines", {}).items():
        metrics = block["metrics"].get(protocol, {})
        cells = tuple(format_metric(protocol, metrics.get(m)) for m in names)
        rows.append(Row(name, cells, note=block.get("note", "")))
    title = f"Caption metrics, {protocol}"
    notes = (*_described(result, [protocol]), *_several(result))
    return Grid(title, tuple((title, m) for m in names), tuple(rows), notes)


def _several(result: Result) -> tuple[str, ...]:
    """What ± means, where there are several runs."""
    seeds = result.get("seeds", [])
    return (f"Mean ± standard deviation of {len(seeds)} training runs.",) if len(seeds) > 1 else ()


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


def _described(result: Result, names: Sequence[str]) -> tuple[str, ...]:
    known = result.get("protocols", {})
    return tuple(f"{name}: {known[name]}" for name in names if name in known)
