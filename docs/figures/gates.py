"""Draw the figures of docs/gates.md. They are committed, not built.

python docs/figures/gates.py                        from docs/results/gates-flickr8k-*.json alone
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

from captioning.study.seeds import over_seeds

HERE = Path(__file__).resolve().parent
RESULTS = HERE.parent / "results"
COLOURS = {"LSTM": "#0072B2", "GRU": "#D55E00", "GRU, init": "#009E73"}
GATES = {"input": "#0072B2", "forget": "#D55E00", "output": "#009E73", "reset": "#0072B2", "update": "#D55E00"}
CAPTION = "a brown dog is running in the snow"
Models = dict[str, dict[str, Any]]


def measured() -> dict[str, Models]:
    """What `captioning study --json` found of every seed of each captioner, by the captioner."""
    found: dict[str, Models] = {}
    for file in sorted(RESULTS.glob("gates-flickr8k-*.json")):
        for name, model in json.loads(file.read_text("utf-8"))["models"].items():
            recipe = model["recipe"]
            captioner = recipe["model"]["cell"] + (", init" if recipe["model"]["picture"] == "init" else "")
            found.setdefault(captioner, {})[f"{file.stem} {name}"] = model
    return {name: found[name] for name in COLOURS if name in found}


def save(figure: plt.Figure, name: str) -> None:
    """Write an SVG that is the same whenever it is drawn."""
    figure.savefig(HERE / f"{name}.svg", metadata={"Date": None}, facecolor="white", bbox_inches="tight")
    plt.close(figure)


def tidy(axes: plt.Axes) -> None:
    """A light frame and grid."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#e8e6e1", lw=0.7)
    axes.set_axisbelow(True)


def prices(captioners: dict[str, Models]) -> None:
    """What each intervention adds to the loss, and what it leaves of the picture's information: mean and deviation."""
    width = 1.5 + 3.2 * len(captioners)
    figure, row = plt.subplots(1, len(captioners), figsize=(width, 3.3), squeeze=False, layout="constrained")
    for axes, (name, models) in zip(row[0], captioners.items(), strict=True):
        (group,) = over_seeds(models).values()
        mean, deviation = (group[key]["prices"] for key in ("mean", "deviation"))
        asked = [what for what in mean if what.endswith(("frozen", "removed", "silenced"))]
        at, own = np.arange(len(asked))[::-1], mean["as trained"]["picture"]
        more = [mean[what]["more"] for what in asked]
        lost = [own - mean[what]["picture"] for what in asked]
        look = {"height": 0.36, "error_kw": {"lw": 0.9}}
        axes.barh(
            at + 0.19,
            more,
            xerr=[deviation[w]["more"] for w in asked],
            color=COLOURS[name],
            label="added to the loss",
            **look,
        )
        axes.barh(
            at - 0.19,
            lost,
            xerr=[deviation[w]["picture"] for w in asked],
            color="#b9bcc4",
            label="lost of the picture",
            **look,
        )
        axes.set_yticks(at, asked)
        axes.set(title=f"{name}: loss {group['mean']['loss']:.2f}, {len(models)} seeds", xlabel="nats a word")
        tidy(axes)
    row[0, -1].legend(frameon=False, fontsize=8.5, loc="center left", bbox_to_anchor=(1, 0.5))
    save(figure, "gates-prices")


def memory(captioners: dict[str, Models]) -> None:
    """Half-lives of units; how far a gradient and a displacement reach. A line a seed."""
    figure, (lives, gradient, moved) = plt.subplots(1, 3, figsize=(11, 3), layout="constrained")
    for name, models in captioners.items():
        for k, found in enumerate(models.values()):
            look = {"color": COLOURS[name], "lw": 1.5, "label": None if k else name}
            tau = np.sort(found["half_life"])
            lives.semilogy(np.linspace(0, 1, len(tau)), np.maximum(tau, 1e-2), **look)
            gradient.semilogy(found["gradient_by_lag"]["median"], **look)
            moved.semilogy(found["perturbation"]["median"], **look)
    lives.set(xlabel="share of units", ylabel="half-life, steps", title="memory by the gate alone")
    gradient.set(xlabel="steps back", title="gradient that is left")
    moved.set(xlabel="steps later", title="small change that is left")
    for axes in (lives, gradient, moved):
        tidy(axes)
    lives.legend(frameon=False, fontsize=8.5)
    save(figure, "gates-memory")


def saturation(captioners: dict[str, Models]) -> None:
    """Each unit of the first seed where its share of steps closed meets its share of steps open."""
    width = 0.6 + 3.4 * len(captioners)
    figure, row = plt.subplots(1, len(captioners), figsize=(width, 3.6), squeeze=False, layout="constrained")
    for axes, (name, models) in zip(row[0], captioners.items(), strict=True):
        axes.plot([0, 1], [1, 0], color="#5F6570", lw=0.8, ls="--")
        for gate, sides in next(iter(models.values()))["saturation"].items():
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
