"""What stands beside the scores: the tests between systems, what captions are like, and what training cost."""

from collections.abc import Callable, Sequence
from itertools import compress
from typing import Any

from captioning.report.grid import Grid, Row, best_of
from captioning.report.numbers import (
    HEADLINES,
    MISSING,
    Result,
    format_count,
    format_loss,
    format_p,
    format_seconds,
    systems,
)

#: More pairs of systems than these are tested on the first two headline measures only, in the table.
_ALL_MEASURES_OF = 3
_FORMATS = {"words used": "{:,.0f}"}


def tests_grid(result: Result) -> Grid | None:
    """The differences between every two systems, and what chance does as much."""
    tests = result.get("tests", [])
    pairs = {(test["first"], test["second"]) for test in tests}
    shown = HEADLINES if len(pairs) <= _ALL_MEASURES_OF else HEADLINES[:2]
    rows = [_test_row(test) for test in tests if test["metric"] in shown]
    if not rows:
        return None
    columns = ("difference", "95 % interval", "p, bootstrap", "p, randomisation", "p, training runs")
    with_runs = any(test["p_runs"] is not None for test in tests)
    title, kept = "Is the difference more than chance?", 5 if with_runs else 4
    notes = (
        "Difference: the first less the second. Interval and the first two p: paired tests over the pictures, the runs "
        "of a system pooled (Koehn 2004; Riezler and Maxwell 2005)."
        + (" The last p: Welch's t-test over the training runs." if with_runs else "")
        + f" Two-sided; {len(pairs)} pair{'s' * (len(pairs) > 1)} of systems, not corrected for their number.",
    )
    rows = [Row(row.name, row.cells[:kept], system=row.system) for row in rows]
    return Grid(title, tuple((title, column) for column in columns[:kept]), tuple(rows), notes)


def _test_row(test: dict[str, Any]) -> Row:
    cells = (
        f"{test['difference']:+.1f}", f"{test['low']:+.1f} to {test['high']:+.1f}",
        format_p(test["p_bootstrap"]), format_p(test["p_randomisation"]), format_p(test["p_runs"]),
    )  # fmt: skip
    return Row(f"{test['first']} against {test['second']}, {test['metric']}", cells, system=test["first"])


def intervals_grid(result: Result) -> Grid | None:
    """Between which values each metric lies for 95 % of samples of the pictures."""
    blocks = {
        (name, decoder): block["intervals"]
        for name, system in systems(result).items()
        for decoder, block in system["decoders"].items()
        if "intervals" in block
    }
    if not blocks:
        return None
    names = list(dict.fromkeys(name for block in blocks.values() for name in block))
    rows = [
        Row(f"{system}, {decoder}", tuple(_range(block.get(name)) for name in names), system=system)
        for (system, decoder), block in blocks.items()
    ]
    title = "95 % intervals over samples of the pictures"
    notes = (
        "Percentile bootstrap: pictures drawn with replacement, BLEU's counts with them. Distinct captions and words "
        "used have none: a sample that has pictures twice has fewer of both.",
    )
    return Grid(title, tuple((title, name) for name in names), tuple(rows), notes)


def _range(interval: Sequence[float] | None) -> str:
    return MISSING if interval is None else "{:.1f} to {:.1f}".format(*interval)


def further_grid(result: Result) -> Grid | None:
    """What captions are like: METEOR where it was measured, how different, how new, how long."""
    blocks = {
        (name, decoder): block["further"]
        for name, system in systems(result).items()
        for decoder, block in system["decoders"].items()
        if "further" in block
    }
    if not blocks:
        return None
    names = list(dict.fromkeys(name for block in blocks.values() for name in block))
    rows = []
    for (system, decoder), block in blocks.items():
        values = [block.get(name) for name in names]
        cells = [
            MISSING if v is None else _FORMATS.get(n, "{:.1f}").format(v) for n, v in zip(names, values, strict=True)
        ]
        rows.append(Row(f"{system}, {decoder}", tuple(cells), system=system))
    notes = tuple(f"{name}: {text}" for name, text in result.get("further", {}).items())
    title = "What the captions are like"
    return Grid(title, tuple((title, name) for name in names), tuple(rows), notes)


def _number(value: float | None, written: str) -> str:
    return MISSING if value is None else written.format(value)


#: Group, column, where it stands in a system, how it is written, and which is better.
_COSTS: tuple[tuple[str, str, tuple[str, ...], Callable[[Any], str], Callable[..., float] | None], ...] = (
    ("Loss", "train", ("losses", "train"), format_loss, min),
    ("Loss", "validation", ("losses", "validation"), format_loss, min),
    ("Loss", "test", ("losses", "test"), format_loss, min),
    ("Size", "units", ("units",), format_count, None),
    ("Parameters", "cell", ("cell_parameters",), format_count, min),
    ("Parameters", "all", ("parameters",), format_count, min),
    ("Cost", "kFLOP a word, cell", ("cell_flop",), lambda v: MISSING if v is None else f"{v / 1000:,.0f}", min),
    ("Cost", "MiB a step", ("step_mib",), lambda v: _number(v, "{:,.1f}"), min),
    ("Training", "best epoch", ("best_of",), str, None),
    ("Training", "words/s", ("words_per_second",), lambda v: _number(v, "{:,.0f}"), max),
    ("Training", "time", ("seconds",), format_seconds, min),
)


def cost_grid(result: Result) -> Grid:
    """Losses, sizes, and what training cost; means where there are several runs."""
    found = [_with_speed(system) for system in systems(result).values()]
    values = [[_at(system, path) for _, _, path, _, _ in _COSTS] for system in found]
    known = [any(row[k] is not None for row in values) for k in range(len(_COSTS))]
    costs, values = list(compress(_COSTS, known)), [list(compress(row, known)) for row in values]
    best = best_of(values, [choose for *_, choose in costs])
    written = [[write(value) for value, (*_, write, _) in zip(row, costs, strict=True)] for row in values]
    rows = [Row(name, tuple(written[k]), best[k], name) for k, name in enumerate(systems(result))]
    columns = tuple((group, column) for group, column, *_ in costs)
    return Grid("Loss and cost", columns, tuple(rows), _cost_notes(result))


def _cost_notes(result: Result) -> tuple[str, ...]:
    notes = ["Losses are in nats a word."]
    if any("cell_flop" in system for system in systems(result).values()):
        notes.append(
            "kFLOP a word: the products of the cell for one word, forward. MiB a step: parameters, gradients, moments "
            "and activations of one batch."
        )
    notes += [f"Equal {what}: {meaning} as the first." for what, meaning in result.get("equal", {}).items()]
    if result.get("jobs", 1) > 1:
        notes.append(f"{result['jobs']} runs at a time, one thread each: speeds and times are of a shared machine.")
    return tuple(notes)


def _with_speed(system: dict[str, Any]) -> dict[str, Any]:
    speeds = [epoch["words_per_second"] for epoch in system["epochs"]]
    speed = sum(speeds) / len(speeds) if speeds else None
    return {"words_per_second": speed, "best_of": f"{system['best_epoch']} of {len(system['epochs'])}", **system}


def _at(system: Any, path: Sequence[str]) -> Any:
    for key in path:
        system = system.get(key) if system else None
    return system
