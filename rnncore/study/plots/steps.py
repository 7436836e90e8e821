"""Pictures over the steps of one sequence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from rnncore.study.plots.style import GREY, as_list, colour_of, label_steps, new_axes, scale_of, tidy
from rnncore.study.run import Floats, Run

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# More units than this in one heat map are lines too thin to see.
_UNITS = 40


def heat(run: Run, name: str, sequence: int = 0, units: Sequence[int] | None = None, axes: Axes | None = None) -> Axes:
    """Draw a gate or a state as a map: a row a unit, a column a step, its tokens below.

    units : which, from the top; when None the forty that change most over the sequence, by their mean.
    """
    values = run[name][: int(run.lengths[sequence]), sequence]
    chosen = _liveliest(values) if units is None else list(units)
    axes = new_axes(axes, 1.6 + 0.42 * len(values), 4.2)
    scale = scale_of(values[:, chosen], signed=bool(values.min(initial=0) < 0))
    image = axes.imshow(values[:, chosen].T, aspect="auto", interpolation="nearest", **scale)
    axes.set(title=f"{run.name}: {name}" if run.name else name, ylabel="unit")
    if len(chosen) <= 12:
        axes.set_yticks(range(len(chosen)), [str(k) for k in chosen])
    else:
        axes.set_yticks([])
        axes.set_ylabel(f"{len(chosen)} of {values.shape[1]} units")
    label_steps(axes, run, sequence)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.figure.colorbar(image, ax=axes, pad=0.02, fraction=0.05).outline.set_visible(False)
    return axes


def _liveliest(values: Floats) -> list[int]:
    """Units that change most, ordered by their mean."""
    chosen = np.argsort(-values.std(0), kind="stable")[:_UNITS]
    return [int(k) for k in chosen[np.argsort(-values[:, chosen].mean(0), kind="stable")]]


def side_by_side(
    runs: Sequence[Run], names: Sequence[Sequence[str]] | None = None, sequence: int = 0
) -> np.ndarray[Any, Any]:
    """Draw heat maps of several runs beside one another, a column a run, and return all axes.

    A row is the same unit in all maps of a run: the forty whose state changes most, by its mean.

    names : for each run what to show, from the top; its gates and the state that remembers when None.
    """
    import matplotlib.pyplot as plt

    from rnncore.study.gates import carried_state

    shown = [[*run.cell.gates, carried_state(run.cell)] for run in runs] if names is None else names
    rows, steps = max(len(s) for s in shown), max(int(run.lengths[sequence]) for run in runs)
    size = (len(runs) * (1.3 + 0.36 * steps), 0.9 + 1.75 * rows)
    figure, grid = plt.subplots(rows, len(runs), figsize=size, squeeze=False, layout="constrained")
    for column, (run, wanted) in enumerate(zip(runs, shown, strict=True)):
        units = _liveliest(run[carried_state(run.cell)][: int(run.lengths[sequence]), sequence])
        for row, axes in enumerate(grid[:, column]):
            if row >= len(wanted):
                axes.axis("off")
                continue
            heat(run, wanted[row], sequence, units, axes)
            if row + 1 < len(wanted):
                axes.set_xticks([])
    figure.align_ylabels()
    return grid


def lines(run: Run, unit: int, sequence: int = 0, names: Sequence[str] | None = None, axes: Axes | None = None) -> Axes:
    """Draw every gate and state of one unit over the steps, its tokens below."""
    axes = tidy(new_axes(axes, 1.6 + 0.42 * int(run.lengths[sequence]), 3.2))
    steps = np.arange(int(run.lengths[sequence]))
    for k, name in enumerate([*run.cell.gates, *run.cell.state] if names is None else names):
        style = {"lw": 2.4} if name in run.cell.state else {"lw": 1.4, "marker": "o", "ms": 3.5}
        axes.plot(steps, run[name][steps, sequence, unit], color=colour_of(name, k), label=name, **style)
    axes.axhline(0, color=GREY, lw=0.6)
    axes.set(title=f"{run.name}, unit {unit}".lstrip(", "))
    label_steps(axes, run, sequence)
    axes.legend(frameon=False, fontsize=8.5, loc="center left", bbox_to_anchor=(1, 0.5))
    return axes


def trajectory(
    run: Run | Sequence[Run],
    name: str = "h",
    sequences: Sequence[int] = (0,),
    axes: Axes | None = None,
) -> Axes:
    """Draw the path of a state in the plane in which it varies most: its first two principal components.

    The components are those of all the given sequences of all runs together; runs must have as many units.
    """
    runs = as_list(run)
    axes = tidy(new_axes(axes, 5.4, 4.4))
    paths = [(r, b, r[name][: int(r.lengths[b]), b].astype(np.float64)) for r in runs for b in sequences]
    middle = np.concatenate([path for _, _, path in paths]).mean(0)
    _, sizes, directions = np.linalg.svd(np.concatenate([p - middle for _, _, p in paths]), full_matrices=False)
    plane = directions[: min(2, len(directions))].T
    for k, (r, b, path) in enumerate(paths):
        at = (path - middle) @ plane
        at = at if at.shape[1] == 2 else np.pad(at, ((0, 0), (0, 2 - at.shape[1])))
        colour = colour_of("", k)
        axes.plot(*at.T, "-", color=colour, lw=1.2, alpha=0.75, label=f"{r.name} {b}" if len(sequences) > 1 else r.name)
        axes.scatter(at[:, 0], at[:, 1], color=colour, s=np.linspace(12, 42, len(at)), zorder=3, linewidths=0)
        for label, point in zip(r.labels(b), at, strict=True):
            axes.annotate(label, point, xytext=(5, 4), textcoords="offset points", fontsize=8.5, color=colour)
    share = sizes**2 / (sizes**2).sum()
    axes.set(xlabel=f"component 1 ({share[0]:.0%})", title=f"path of {name}")
    axes.set_ylabel(f"component 2 ({share[1]:.0%})" if len(share) > 1 else "")
    if len(paths) > 1:
        axes.legend(frameon=False, fontsize=8.5)
    return axes
