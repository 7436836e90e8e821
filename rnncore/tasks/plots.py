"""Pictures of a study: learning curves, and the steps to the threshold. Matplotlib is imported when one is drawn."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rnncore.study.plots.style import save

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: M. Okabe & K. Ito, Color universal design (2008): told apart with every kind of colour vision.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000", "#999999", "#B8A600")
WIDTH = 10.0


def colours(result: Mapping[str, Any]) -> dict[str, str]:
    """Return the colour of every cell: the same with equal units and with equal parameters."""
    labels = list(dict.fromkeys(entry["label"] for entry in result["entries"]))
    return {label: COLOURS[k % len(COLOURS)] for k, label in enumerate(labels)}


def names(result: Mapping[str, Any]) -> list[str]:
    """Return what each entry is called: its cell, with its units where the study has several sizes of it."""
    labels = [entry["label"] for entry in result["entries"]]
    several = len({entry["hidden"] for entry in result["entries"]}) > 1
    return [
        f"{label} ({e['hidden']})" if several else label for label, e in zip(labels, result["entries"], strict=True)
    ]


def curves(result: Mapping[str, Any], axes: Axes | None = None) -> Axes:
    """Draw the error on new sequences over the steps, a line for each seed, and return the axes.

    Dashed: the sizes that have equal parameters and not equal units. A dot is where a run solved its task and ended.
    """
    axes = _axes(axes)
    task, chosen = result["task"], colours(result)
    for name, entry in zip(names(result), result["entries"], strict=True):
        style = "-" if "units" in entry["equal"] or len(result["entries"]) == 1 else "--"
        colour = chosen[entry["label"]]
        for k, seed in enumerate(entry["seeds"]):
            steps = [record["step"] for record in seed["history"]]
            errors = [record["error"] for record in seed["history"]]
            axes.plot(steps, errors, style, lw=1.4, alpha=0.85, color=colour, label=None if k else name)
            if seed["solved_at"] is not None and steps[-1] == seed["solved_at"]:
                axes.plot(steps[-1], errors[-1], "o", color=colour, ms=5)
    error = result["baseline"]["error"]
    said: dict[str, Any] = {"textcoords": "offset points", "ha": "right", "fontsize": 8}
    axes.axhline(error, color="#777777", lw=1, ls=":")
    axes.annotate(f"without memory: {error:.3g}", (1, error), (-2, 3), ("axes fraction", "data"), **said)
    if task["solved"] is not None:
        axes.axhline(task["solved"], color="#777777", lw=1, ls=":")
    axes.set_yscale("log" if task["measure"] == "mean squared error" else "linear")
    axes.set(xlabel="step", ylabel=task["measure"], xlim=(0, None))
    _plain(axes)
    axes.legend(frameon=False, fontsize=8)
    return axes


def thresholds(result: Mapping[str, Any], axes: Axes | None = None) -> Axes:
    """Draw the steps to the threshold, a dot for each seed and a bar at the mean, and return the axes.

    A hollow triangle at the last step stands for a seed that did not get there.
    """
    axes = _axes(axes)
    limit, chosen = result["settings"]["steps"], colours(result)
    for row, entry in enumerate(result["entries"]):
        colour = chosen[entry["label"]]
        for k, seed in enumerate(entry["seeds"]):
            at, aside = seed["solved_at"], 0.14 * (k - (len(entry["seeds"]) - 1) / 2)
            marker, fill = (">", "none") if at is None else ("o", "full")
            axes.plot(
                limit if at is None else at, row + aside, marker, fillstyle=fill, color=colour, ms=7, clip_on=False
            )
        if entry["steps"] is not None:
            axes.plot([entry["steps"][0]] * 2, [row - 0.3, row + 0.3], color=colour, lw=2)
    axes.set_yticks(range(len(result["entries"])), names(result), fontsize=9)
    axes.set(ylim=(len(result["entries"]) - 0.5, -0.5), xlim=(0, limit * 1.02))
    axes.set_xlabel(f"steps to below {result['task']['solved']:g}   (▷ not in {limit:,})")
    _plain(axes)
    axes.grid(axis="x", color="#e6e6e6")
    axes.set_axisbelow(True)
    return axes


def draw(result: Mapping[str, Any], path: Path) -> None:
    """Write both pictures side by side, as SVG or PNG by the name of the file; the same whenever it is drawn."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    rows = len(result["entries"])
    with mpl.rc_context({"font.size": 9.5}):
        figure = Figure(figsize=(WIDTH, 2.6 + 0.16 * rows), layout="constrained")
        if result["task"]["solved"] is None:
            curves(result, figure.subplots())
        else:
            left, right = figure.subplots(1, 2, width_ratios=(1.25, 1))
            curves(result, left)
            thresholds(result, right)
        save(figure, path)


def _axes(axes: Axes | None) -> Axes:
    if axes is not None:
        return axes
    from matplotlib.figure import Figure

    return Figure(figsize=(WIDTH / 2, 3.2), layout="constrained").subplots()


def _plain(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
