"""Draw the figures of docs/gates.md. They are committed, not built.

python docs/figures/gates.py                        from docs/results/gates-*.json alone
python docs/figures/gates.py LSTM GRU DATA FEATURES  and the heat maps of a caption, from two trained captioners
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np

mpl.use("svg")
import matplotlib.pyplot as plt

HERE = Path(__file__).resolve().parent
RESULTS = HERE.parent / "results"
COLOURS = {"LSTM": "#0072B2", "GRU": "#D55E00", "GRU, init": "#009E73"}
GATES = {"input": "#0072B2", "forget": "#D55E00", "output": "#009E73", "reset": "#0072B2", "update": "#D55E00"}
CAPTION = "a brown dog is running in the snow"


def measured() -> dict[str, dict[str, Any]]:
    """What `captioning study --json` found of each captioner."""
    begins = json.loads((RESULTS / "gates-flickr8k-init.json").read_text("utf-8"))["models"]
    merged = RESULTS / "gates-flickr8k.json"
    found = json.loads(merged.read_text("utf-8"))["models"] if merged.is_file() else {}
    return {**found, "GRU, init": begins["GRU"]}


def save(figure: plt.Figure, name: str) -> None:
    """Write an SVG that is the same whenever it is drawn."""
    figure.savefig(HERE / f"{name}.svg", metadata={"Date": None}, facecolor="white", bbox_inches="tight")
    plt.close(figure)


def tidy(axes: plt.Axes) -> None:
    """A light frame and grid."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#e8e6e1", lw=0.7)
    axes.set_axisbelow(True)


def prices(models: dict[str, dict[str, Any]]) -> None:
    """What each intervention adds to the loss, and what it leaves of the picture's information."""
    figure, row = plt.subplots(
        1, len(models), figsize=(1.5 + 3.2 * len(models), 3.1), squeeze=False, layout="constrained"
    )
    for axes, (name, found) in zip(row[0], models.items(), strict=True):
        trained = found["prices"]["as trained"]
        asked = {
            what: each for what, each in found["prices"].items() if what.endswith(("frozen", "removed", "silenced"))
        }
        at = np.arange(len(asked))[::-1]
        more = [each["loss"] - trained["loss"] for each in asked.values()]
        lost = [trained["picture"] - each["picture"] for each in asked.values()]
        axes.barh(at + 0.19, more, 0.36, color=COLOURS[name], label="added to the loss")
        axes.barh(at - 0.19, lost, 0.36, color="#b9bcc4", label="lost of the picture")
        axes.set_yticks(at, list(asked))
        axes.set(title=f"{name}: loss {trained['loss']:.2f}", xlabel="nats a word")
        tidy(axes)
    row[0, -1].legend(frameon=False, fontsize=8.5, loc="center left", bbox_to_anchor=(1, 0.5))
    save(figure, "gates-prices")


def memory(models: dict[str, dict[str, Any]]) -> None:
    """Half-lives of units; how far a gradient and a displacement reach."""
    figure, (lives, gradient, moved) = plt.subplots(1, 3, figsize=(11, 3), layout="constrained")
    for name, found in models.items():
        tau = np.sort(found["half_life"])
        lives.semilogy(np.linspace(0, 1, len(tau)), np.maximum(tau, 1e-2), color=COLOURS[name], lw=2, label=name)
        for axes, key in ((gradient, "gradient_by_lag"), (moved, "perturbation")):
            curve = found[key]
            axes.semilogy(curve["median"], color=COLOURS[name], lw=2)
            axes.fill_between(
                range(len(curve["low"])), curve["low"], curve["high"], color=COLOURS[name], alpha=0.15, lw=0
            )
    lives.set(xlabel="share of units", ylabel="half-life, steps", title="memory by the gate alone")
    gradient.set(xlabel="steps back", title="gradient that is left")
    moved.set(xlabel="steps later", title="small change that is left")
    for axes in (lives, gradient, moved):
        tidy(axes)
    lives.legend(frameon=False, fontsize=8.5)
    save(figure, "gates-memory")


def saturation(models: dict[str, dict[str, Any]]) -> None:
    """Each unit where its share of steps closed meets its share of steps open."""
    figure, row = plt.subplots(
        1, len(models), figsize=(0.6 + 3.4 * len(models), 3.6), squeeze=False, layout="constrained"
    )
    for axes, (name, found) in zip(row[0], models.items(), strict=True):
        axes.plot([0, 1], [1, 0], color="#5F6570", lw=0.8, ls="--")
        for gate, sides in found["saturation"].items():
            if gate != "candidate":
                axes.scatter(sides["left"], sides["right"], s=9, color=GATES[gate], alpha=0.5, lw=0, label=gate)
        axes.set(title=name, xlabel="share of steps closed", xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")
        tidy(axes)
        axes.legend(frameon=False, fontsize=8.5, loc="upper right")
    row[0, 0].set_ylabel("share of steps open")
    save(figure, "gates-saturation")


def caption(checkpoints: list[str], data: str, features: str) -> None:
    """Heat maps of both cells over one caption."""
    from captioning.study.command import Study
    from rnncore.study import plots

    study = Study([Path(path) for path in checkpoints], Path(data), Path(features), "test")
    runs = [each.reading(0, each.words_of(CAPTION)).run([0]) for each in study.models]
    figure = plots.side_by_side(runs)[0, 0].figure
    figure.savefig(HERE / "gates-caption.png", dpi=80, facecolor="white")
    plt.close(figure)


if __name__ == "__main__":
    with mpl.rc_context({"svg.hashsalt": "rnncore", "svg.fonttype": "path", "font.size": 9.5}):
        found = measured()
        prices(found)
        memory(found)
        saturation(found)
        if len(sys.argv) == 5:
            caption(sys.argv[1:3], *sys.argv[3:])
