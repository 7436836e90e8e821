"""Pictures of what reaches how far: gradients, memory, and gates over a training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from rnncore.study.influence import gradient_by_lag, perturbation
from rnncore.study.measures import Usage
from rnncore.study.plots.style import GREY, as_list, colour_of, new_axes, tidy
from rnncore.study.run import Floats, Run

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def gradient_flow(run: Run | Sequence[Run], axes: Axes | None = None) -> Axes:
    """Draw how much of a gradient is left so many steps before it entered: the median over sequences, and quartiles."""
    axes = new_axes(axes)
    for k, each in enumerate(as_list(run)):
        _band(axes, gradient_by_lag(each), each.name, k)
    axes.set(xlabel="steps back", ylabel="gradient, of that at the end")
    return axes


def memory(run: Run | Sequence[Run], axes: Axes | None = None) -> Axes:
    """Draw how much of a small change of a state is left so many steps later: the median over sequences, quartiles."""
    axes = new_axes(axes)
    for k, each in enumerate(as_list(run)):
        _band(axes, perturbation(each), each.name, k)
    axes.set(xlabel="steps later", ylabel="displacement, of the first")
    return axes


def _band(axes: Axes, curve: Floats, name: str, k: int) -> None:
    """A line by lag on a logarithmic scale, with what lies between the quartiles; as far as three sequences reach."""
    tidy(axes)
    known = (~np.isnan(curve)).sum(1) >= min(3, curve.shape[1])
    lags = np.flatnonzero(known)
    low, middle, high = np.nanquantile(curve[known], [0.25, 0.5, 0.75], axis=1)
    axes.semilogy(lags, middle, color=colour_of("", k), lw=2, label=name)
    axes.fill_between(lags, low, high, color=colour_of("", k), alpha=0.15, lw=0)
    axes.legend(frameon=False)


def usage_over_epochs(
    usages: Sequence[dict[str, Usage]], epochs: Sequence[float] | None = None, axes: Axes | None = None
) -> Axes:
    """Draw each gate's mean over a training, with a band of one deviation; `usages` has one `usage(run)` an epoch."""
    axes, at = _over_epochs(axes, usages, epochs)
    for k, gate in enumerate(usages[0]):
        mean = np.array([used[gate].mean for used in usages])
        spread = np.array([used[gate].deviation for used in usages])
        axes.plot(at, mean, color=colour_of(gate, k), lw=2, marker="o", ms=3.5, label=gate)
        axes.fill_between(at, mean - spread, mean + spread, color=colour_of(gate, k), alpha=0.12, lw=0)
    axes.axhline(0, color=GREY, lw=0.6)
    axes.set(xlabel="epoch", ylabel="mean of the gate, ± deviation")
    axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    return axes


def _over_epochs(
    axes: Axes | None, usages: Sequence[dict[str, Usage]], epochs: Sequence[float] | None
) -> tuple[Axes, Floats]:
    """Axes with whole numbers below, and where each usage stands on them."""
    from matplotlib.ticker import MaxNLocator

    axes = tidy(new_axes(axes))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    return axes, np.asarray(range(len(usages)) if epochs is None else epochs, np.float64)


def saturation_over_epochs(
    usages: Sequence[dict[str, Usage]], epochs: Sequence[float] | None = None, axes: Axes | None = None
) -> Axes:
    """Draw how often each gate is open (solid) and closed (dashed) over a training, as of `saturation`."""
    axes, at = _over_epochs(axes, usages, epochs)
    for k, gate in enumerate(usages[0]):
        look: dict[str, Any] = {"color": colour_of(gate, k), "lw": 1.8, "marker": "o", "ms": 3.5}
        axes.plot(at, [used[gate].right for used in usages], "-", label=gate, **look)
        axes.plot(at, [used[gate].left for used in usages], "--", fillstyle="none", **look)
    axes.set(xlabel="epoch", ylabel="share of steps: open —, closed - -")
    axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    return axes
