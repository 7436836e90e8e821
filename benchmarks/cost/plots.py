"""The report's pictures: one colour and one mark a cell throughout, told apart by those who see no colours too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from benchmarks.cost import figures
from benchmarks.cost.measure import CELLS
from encoders.files import atomic_write

#: Okabe and Ito's palette, made for colour-blind readers, with a mark and a stroke each.
LOOK = {"LSTM": ("#0072B2", "o", "-"), "GRU": ("#D55E00", "s", "--"), "GRU-before": ("#009E73", "^", ":")}
PARTS = {"products": ("#0072B2", ""), "elements": ("#E69F00", "///"), "calls": ("#999999", "...")}
STYLE = {"svg.hashsalt": "rnncore", "font.size": 9, "axes.spines.top": False, "axes.spines.right": False}
Row = Mapping[str, Any]


def draw(record: Mapping[str, Any], folder: Path, stem: str) -> dict[str, str]:
    """Write every picture as SVG and return their file names by what they show."""
    makers = {"claim": claim, "scaling": scaling, "shares": shares, "roofline": roofline}
    names = {}
    with mpl.rc_context(STYLE):
        for what, make in makers.items():
            names[what] = f"{stem}-{what}.svg"
            with atomic_write(folder / names[what]) as file:
                make(record).savefig(file, format="svg", bbox_inches="tight", metadata={"Date": None})
    return names


def claim(record: Mapping[str, Any]) -> Figure:
    """Time of the GRUs in parts of the LSTM's, against H and against B, with the line at three quarters."""
    figure = Figure(figsize=(8, 3))
    training = figures.select(record["rows"], "training")
    for axes, axis in zip(figure.subplots(1, 2, sharey=True), "HB", strict=True):
        for cell in CELLS[1:]:
            rows = figures.along([row for row in training if row["cell"] == cell], axis, record["base"])
            ratios = [figures.to_lstm(row) for row in rows]
            colour, mark, stroke = LOOK[cell]
            bars = [[r.median - r.low for r in ratios], [r.high - r.median for r in ratios]]
            style = {"color": colour, "marker": mark, "linestyle": stroke, "label": cell, "capsize": 3}
            axes.errorbar([figures.size(row, axis) for row in rows], [r.median for r in ratios], bars, **style)
        axes.axhline(figures.CLAIM, color="black", linewidth=0.8)
        axes.annotate("3/4", (0, figures.CLAIM), xycoords=("axes fraction", "data"), va="bottom")
        _sizes(axes, axis, [figures.size(row, axis) for row in figures.along(training, axis, record["base"])])
    figure.axes[0].set_ylabel("training step / LSTM's")
    figure.axes[0].legend(frameon=False)
    return figure


def scaling(record: Mapping[str, Any]) -> Figure:
    """Time of a training step against T, B and H, with fitted exponents."""
    figure = Figure(figsize=(9, 3))
    training = figures.select(record["rows"], "training")
    for axes, axis in zip(figure.subplots(1, 3, sharey=True), "TBH", strict=True):
        for cell in CELLS:
            rows = figures.along([row for row in training if row["cell"] == cell], axis, record["base"])
            colour, mark, stroke = LOOK[cell]
            label = f"{cell} ∝ {axis}^{figures.fitted(rows, axis):.2f}"
            milliseconds = [1e3 * figures.median(row) for row in rows]
            sizes = [figures.size(row, axis) for row in rows]
            axes.plot(sizes, milliseconds, color=colour, marker=mark, linestyle=stroke, label=label)
        axes.set_yscale("log")
        axes.legend(frameon=False, fontsize=8)
        _sizes(axes, axis, sizes)
    figure.axes[0].set_ylabel("training step, ms")
    return figure


def shares(record: Mapping[str, Any]) -> Figure:
    """What a training step's time goes into, against H and against B, a group of bars a size."""
    figure = Figure(figsize=(9, 3))
    training = figures.select(record["rows"], "training")
    calls = {row["cell"]: row for row in figures.select(record["rows"], "calls")}
    for axes, axis in zip(figure.subplots(1, 2, sharey=True), "HB", strict=True):
        groups = [figures.along([r for r in training if r["cell"] == cell], axis, record["base"]) for cell in CELLS]
        places: list[float] = []
        for k, (cell, rows) in enumerate(zip(CELLS, groups, strict=True)):
            places = [n * 4.0 + k for n in range(len(rows))]
            _stack(axes, places, [figures.share(row, calls[cell]) for row in rows], label=k == 0 and axis == "H")
            for place in places:
                axes.annotate(cell[:1] + cell[3:5].replace("M", ""), (place, 1.02), fontsize=6, ha="center")
        axes.set_xticks([n * 4.0 + 1 for n in range(len(groups[0]))], [figures.size(r, axis) for r in groups[0]])
        axes.set_xlabel(axis)
    figure.axes[0].set_ylabel("share of a training step")
    figure.legend(loc="outside upper center", ncols=3, frameon=False)
    return figure


def roofline(record: Mapping[str, Any]) -> Figure:
    """Measured rates of training steps under what this machine's products and memory would allow."""
    figure = Figure(figsize=(6, 3.5))
    axes, rates = figure.subplots(), record["rates"]
    training = figures.along(figures.select(record["rows"], "training"), "H", record["base"])
    intensities = [row["cost"]["training"] / row["cost"]["bytes"] for row in training]
    ends = [min(intensities) / 2, max(intensities) * 2]
    corner = rates["float32"] / rates["memory"]
    line = sorted({*ends, max(ends[0], min(corner, ends[1]))})
    roof = [min(rates["float32"], rates["memory"] * x) for x in line]
    axes.plot(line, roof, color="black", linewidth=1)
    axes.annotate(f"products {rates['float32']:.0f} GFLOP/s, memory {rates['memory']:.0f} GB/s", (0.98, 0.86),
                  xycoords="axes fraction", va="top", ha="right")  # fmt: skip
    for cell in CELLS:
        colour, mark, stroke = LOOK[cell]
        rows = [row for row in training if row["cell"] == cell]
        at = [row["cost"]["training"] / row["cost"]["bytes"] for row in rows]
        reached = [row["cost"]["training"] / figures.median(row) / 1e9 for row in rows]
        axes.plot(at, reached, color=colour, marker=mark, linestyle=stroke, label=cell)
        if cell == "LSTM":
            for x, y, row in zip(at, reached, rows, strict=True):
                axes.annotate(f"H={row['shape'][3]}", (x, y), xytext=(4, -10), textcoords="offset points", fontsize=7)
    axes.set(xscale="log", yscale="log", xlabel="operations in products / byte moved at least", ylabel="GFLOP/s")
    plain = FuncFormatter(lambda value, _: f"{value:g}")
    axes.yaxis.set_major_formatter(plain)
    axes.yaxis.set_minor_formatter(plain)
    axes.legend(frameon=False, loc="lower right")
    return figure


def _stack(axes: Axes, places: Sequence[float], found: Sequence[figures.Share], label: bool) -> None:
    below = [0.0] * len(found)
    for part, (colour, hatch) in PARTS.items():
        heights = [getattr(each, part) for each in found]
        axes.bar(places, heights, 0.9, below, color=colour, hatch=hatch, edgecolor="white", linewidth=0.3,
                 label={"elements": "element work"}.get(part, part) if label else None)  # fmt: skip
        below = [b + h for b, h in zip(below, heights, strict=True)]


def _sizes(axes: Axes, axis: str, sizes: Sequence[int]) -> None:
    axes.set_xscale("log", base=2)
    shown = sorted(set(sizes))
    axes.set_xticks(shown, [str(n) for n in shown])
    axes.minorticks_off()
    axes.set_xlabel(f"{axis}{' (= D)' if axis == 'H' else ''}")
