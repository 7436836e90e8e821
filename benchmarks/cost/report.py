"""The cost report in Markdown: made of the record alone, so that it can be made again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.cost import figures
from benchmarks.cost.measure import CELLS
from benchmarks.rows import FUSED, digits, milliseconds
from benchmarks.tables import source, table

Row = Mapping[str, Any]


def markdown(record: Mapping[str, Any], pictures: Mapping[str, str]) -> str:
    """Return the whole report; `pictures` are file names by what they show."""
    rows, base = record["rows"], record["base"]
    T, B, H = base
    sections = [
        f"{source(record)} Large products reach {record['rates']['float32']:.0f} GFLOP/s here, one thread moves "
        f"{record['rates']['memory']:.0f} GB/s. D is H, and T={T}, B={B}, H={H} where nothing else is said.",
        "### Does a GRU cost 3/4 of an LSTM?",
        _claim(rows),
        f"![Time of both GRUs in parts of the LSTM's, against H and B]({pictures['claim']})",
        "### Equal units",
        "Parameters, operations in products and bytes of a training step are counted, times are measured.",
        _equal_units(figures.along(figures.select(rows, "training"), "H", base), figures.select(rows, "forward")),
        "### Equal parameters",
        "Each cell has as many units as give it about the LSTM's number of parameters, all read the same input.",
        _equal_parameters(figures.select(rows, "training, equal parameters")),
        "### One step of a stream",
        _stream(figures.select(rows, "one step of a stream")),
        "### Growth with T, B and H",
        _growth(figures.select(rows, "training"), base),
        f"![Time of a training step against T, B and H]({pictures['scaling']})",
        "### What the time goes into",
        _shares_said(rows, base),
        f"![Shares of products, element work and calls]({pictures['shares']})",
        f"![Rates reached under the machine's roof]({pictures['roofline']})",
    ]
    return "\n\n".join(sections) + "\n"


def _claim(rows: Sequence[Row]) -> str:
    """The paragraph: what is counted, where the measured ratio is that, and where not."""
    calls = {row["cell"]: figures.median(row) / row["shape"][0] for row in figures.select(rows, "calls")}
    counted = (
        "In products it is 3/4 exactly, and in parameters but for a bias: three blocks in place of four. In time it is "
        f"so where products are what takes it. 'Within {figures.NEAR}' is by the median; intervals are in the tables."
    )
    why = ", ".join(f"{cell} {1e6 * seconds:.0f} µs" for cell, seconds in calls.items())
    small = (
        "Where the arithmetic is small, the number of calls counts, and there the two are nearly alike: a training "
        f"step costs so much a time step with nothing to compute: {why}."
    )
    return "\n\n".join([counted, *(figures.claim(rows, cell) for cell in CELLS[1:]), small])


def _equal_units(training: Sequence[Row], forward: Sequence[Row]) -> str:
    ahead = {(row["cell"], tuple(row["shape"])): row for row in forward}
    lines = []
    for row in sorted(training, key=lambda r: (r["shape"][3], CELLS.index(r["cell"]))):
        cost, only = row["cost"], ahead[row["cell"], tuple(row["shape"])]
        counted = [f"{cost['parameters']:,}", f"{cost['training'] / 1e9:.3g}", f"{cost['bytes'] / 1e6:.3g}"]
        rate = f"{cost['training'] / figures.median(row) / 1e9:.0f}"
        fused = milliseconds(row["seconds"].get(FUSED))
        lines.append([f"{row['shape'][3]}", row["cell"], *counted, _ms(only), _ms(row), _ratio(row), rate, fused])
    heads = ["H", "cell", "parameters", "GFLOP", "MB", "forward, ms", "training, ms", "/ LSTM (95 %)", "GFLOP/s"]
    if any(FUSED in row["seconds"] for row in training):
        said = "Fused is the same training step with `fused=True`; all else here is without.\n\n"
        return said + table([*heads, "fused, ms"], lines)
    return table(heads, [line[:-1] for line in lines])


def _equal_parameters(rows: Sequence[Row]) -> str:
    lines = []
    for row in rows:
        lines.append([f"{row['shape'][3]}", row["cell"], f"{row['cost']['parameters']:,}", _ms(row), _ratio(row)])
    return table(["H", "cell", "parameters", "training, ms", "/ LSTM (95 %)"], lines)


def _stream(rows: Sequence[Row]) -> str:
    lines = [[f"{r['shape'][3]}", r["cell"], digits(1e6 * figures.median(r)), _ratio(r)] for r in rows]
    return table(["H", "cell", "µs a step", "/ LSTM (95 %)"], lines)


def _growth(training: Sequence[Row], base: Sequence[int]) -> str:
    """Exponents over all sizes of an axis, and over its largest two, where the small costs no longer show."""
    lines = []
    for cell in CELLS:
        cells = [cell, ""]
        for axis in "TBH":
            rows = figures.along([r for r in training if r["cell"] == cell], axis, base)
            cells.append(f"{figures.fitted(rows, axis):.2f} ({figures.fitted(rows[-2:], axis):.2f})")
        lines.append(cells)
    said = "The exponent p of time ∝ size^p, fitted over all sizes, and in brackets between the largest two."
    return said + "\n\n" + table(["cell", "", "T", "B", "H"], lines)


def _shares_said(rows: Sequence[Row], base: Sequence[int]) -> str:
    calls = {row["cell"]: row for row in figures.select(rows, "calls")}
    lines = []
    for row in sorted(figures.select(rows, "training"), key=lambda r: (r["shape"], CELLS.index(r["cell"]))):
        parts = figures.share(row, calls[row["cell"]])
        lines.append([f"({', '.join(map(str, row['shape']))})", row["cell"], *(f"{100 * p:.0f} %" for p in parts)])
    said = (
        "Products: the step's matrix products alone, in turns with it. Calls: a step of one sequence of one unit, "
        "where there is nothing to compute. Element work is what is left: gates, states and their gradients, and "
        "memory. In the picture L is the LSTM, G the GRU, G-b GRU-before."
    )
    return said + "\n\n" + table(["(T, B, D, H)", "cell", "products", "element work", "calls"], lines)


def _ms(row: Row) -> str:
    return digits(1e3 * figures.median(row))


def _ratio(row: Row) -> str:
    if "LSTM" not in row["seconds"]:
        return "1"
    ratio = figures.to_lstm(row)
    return f"{ratio.median:.2f} ({ratio.low:.2f} to {ratio.high:.2f})"
