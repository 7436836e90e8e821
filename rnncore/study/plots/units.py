"""Pictures of units, and of the weights that make them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from rnncore.study.influence import spectrum
from rnncore.study.measures import half_life, saturation
from rnncore.study.plots.style import GREY, as_list, colour_of, new_axes, scale_of, tidy
from rnncore.study.run import Run

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def histogram(run: Run, names: Sequence[str] | None = None, bins: int = 50, axes: Axes | None = None) -> Axes:
    """Draw how often each gate takes which values, over all units and real steps."""
    axes = tidy(new_axes(axes))
    chosen = list(run.cell.gates if names is None else names)
    values = [run.rows(name).ravel() for name in chosen]
    low = min(-1.0 if v.min(initial=0) < 0 else 0.0 for v in values)
    high = max(1.0, *(float(v.max(initial=0)) for v in values))
    edges = np.linspace(min(low, *(float(v.min(initial=0)) for v in values)), high, bins + 1)
    for k, (name, value) in enumerate(zip(chosen, values, strict=True)):
        heights = np.histogram(value, edges)[0] / max(len(value), 1)
        axes.stairs(heights, edges, color=colour_of(name, k), lw=1.8, label=name)
        axes.stairs(heights, edges, color=colour_of(name, k), fill=True, alpha=0.12)
    axes.set(xlabel="value", ylabel="share of steps and units", title=run.name, xlim=(edges[0], edges[-1]))
    axes.legend(frameon=False)
    return axes


def saturation_scatter(run: Run | Sequence[Run], gates: Sequence[str] | None = None, axes: Axes | None = None) -> Axes:
    """Draw each unit where its share of steps closed (across) meets its share of steps open (up).

    On the diagonal a unit is always at one end or the other; at the origin it never is. As figure 2 of Karpathy,
    Johnson & Fei-Fei 2015. gates : those that lie between 0 and 1 when None.
    """
    axes = tidy(new_axes(axes, 4.6, 4.4))
    runs = as_list(run)
    axes.plot([0, 1], [1, 0], color=GREY, lw=0.8, ls="--")
    k = 0
    for each in runs:
        for gate in gates or [g for g in each.cell.gates if each.rows(g).min(initial=0) >= 0]:
            found = saturation(each, gate)
            label, colour = f"{each.name} {gate}".strip(), colour_of(gate if len(runs) == 1 else "", k)
            axes.scatter(found.left, found.right, s=18, color=colour, alpha=0.6, linewidths=0, label=label)
            k += 1
    axes.set(xlabel="share of steps closed, below 0.1", ylabel="share of steps open, above 0.9")
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")
    axes.legend(frameon=False, loc="upper right")
    return axes


def half_lives(run: Run | Sequence[Run], axes: Axes | None = None, longest: float = 1e3) -> Axes:
    """Draw the half-life of every unit, sorted, one line a run; those that last longer than `longest` at its height."""
    axes = tidy(new_axes(axes))
    for k, each in enumerate(as_list(run)):
        tau = np.sort(np.minimum(half_life(each), longest))
        label = f"{each.name}, median {np.median(tau):.1f} steps".lstrip(", ")
        axes.semilogy(np.linspace(0, 1, len(tau)), np.maximum(tau, 1e-2), color=colour_of("", k), lw=2, label=label)
    axes.set(xlabel="share of units, from the shortest memory", ylabel="half-life, steps", xlim=(0, 1))
    axes.legend(frameon=False)
    return axes


def weights(run: Run, name: str = "U") -> np.ndarray[Any, Any]:
    """Draw a parameter as maps, one a gate, on one scale of colours, and return their axes."""
    import matplotlib.pyplot as plt

    W, H = run.weights[name], run.hidden
    gates = [g for k, g in enumerate(run.cell.gates) if (k + 1) * H <= len(W)]
    size = (1.0 + 2.3 * len(gates), 2.9)
    figure, row = plt.subplots(1, len(gates), figsize=size, squeeze=False, layout="constrained")
    end = float(np.quantile(np.abs(W), 0.995)) or 1.0  # a few large weights would leave all others pale
    for k, (gate, axes) in enumerate(zip(gates, row[0], strict=True)):
        block = W[k * H : (k + 1) * H].reshape(H, -1)
        image = axes.imshow(block, aspect="auto", interpolation="nearest", **scale_of(np.array([end]), signed=True))
        axes.set(title=gate, xlabel="from" if name == "U" else "input", xticks=[], yticks=[])
    row[0, 0].set_ylabel("to unit")
    figure.colorbar(image, ax=row[0].tolist(), pad=0.015, fraction=0.03).outline.set_visible(False)
    figure.suptitle(f"{run.name}: {name}" if run.name else name, fontsize=11)
    return np.asarray(row[0])


def eigenvalues(run: Run, axes: Axes | None = None) -> Axes:
    """Draw the eigenvalues of every gate's block of U in the complex plane, with the unit circle."""
    axes = tidy(new_axes(axes, 4.6, 4.4))
    turn = np.linspace(0, 2 * np.pi, 200)
    axes.plot(np.cos(turn), np.sin(turn), color=GREY, lw=0.8)
    for k, (gate, values) in enumerate(spectrum(run).items()):
        axes.scatter(values.real, values.imag, s=14, color=colour_of(gate, k), alpha=0.75, linewidths=0, label=gate)
    axes.set(xlabel="real", ylabel="imaginary", aspect="equal", title=f"{run.name}: eigenvalues of U".lstrip(": "))
    axes.legend(frameon=False, fontsize=8.5)
    return axes
