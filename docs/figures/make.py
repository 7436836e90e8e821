"""Draw the figures of the site, docs/figures/*.svg: python docs/figures/make.py. They are committed, not built.

The curves are measured here, by the library.
"""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
import numpy as np

mpl.use("svg")
import matplotlib.pyplot as plt

from rnncore import GRU, LSTM, RNN, Packing, Recurrent

HERE = Path(__file__).resolve().parent
COLOURS = ("#2a6f97", "#e07a5f", "#588157", "#8d6a9f")


def save(figure: plt.Figure, name: str) -> None:
    """Write an SVG that is the same whenever it is drawn."""
    figure.savefig(HERE / f"{name}.svg", metadata={"Date": None}, facecolor="white", bbox_inches="tight")
    plt.close(figure)


def packed_rows() -> None:
    """Three sequences, padded as the caller has them, and packed as the engine works on them."""
    packing = Packing([3, 5, 2])
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 1.9), width_ratios=(1, 1.65))
    for b, length in enumerate(packing.lengths):
        for t in range(packing.steps):
            _square(left, t, b, COLOURS[b] if t < length else "none", f"{'abc'[b]}{t}" if t < length else "")
    left.set_title("as the caller has them: (T, B), padded", fontsize=10)
    for row, b in enumerate(packing.sequence_of_row):
        t = int(np.searchsorted(packing.offsets, row, side="right")) - 1
        _square(right, row, 1, COLOURS[b], f"{'abc'[b]}{t}")
    for t, (start, size) in enumerate(zip(packing.offsets, packing.batch_sizes, strict=False)):
        right.text(start + size / 2 - 0.5, 1.95, f"t = {t}\n{size} run", ha="center", va="center", fontsize=8.5)
        right.plot([start - 0.5] * 2, [0.35, 2.4], color="black", lw=0.8)
    right.set_title("as the engine has them: N = 10 rows", fontsize=10)
    for axes, width in ((left, packing.steps), (right, packing.rows)):
        axes.set(xlim=(-0.6, width - 0.4), ylim=(2.6, -0.6), aspect="equal")
        axes.axis("off")
    save(figure, "packed-rows")


def _square(axes: plt.Axes, x: float, y: float, colour: str, text: str) -> None:
    edge = "#bbbbbb" if colour == "none" else "white"
    axes.add_patch(plt.Rectangle((x - 0.46, y - 0.46), 0.92, 0.92, facecolor=colour, edgecolor=edge, lw=0.8))
    axes.text(x, y, text, ha="center", va="center", color="white", fontsize=9)


def gradient_flow() -> None:
    """How much of a gradient that enters at the last step reaches the pre-activations of each step before."""
    T, B, D, H = 60, 16, 8, 32
    x = np.random.default_rng(0).normal(size=(T, B, D))
    layers: list[tuple[str, Recurrent]] = [
        ("RNN", RNN(D, H, dtype="float64")),
        ("LSTM, forget bias 0", LSTM(D, H, forget_bias=0.0, dtype="float64")),
        ("LSTM, forget bias 1", LSTM(D, H, dtype="float64")),
        ("GRU", GRU(D, H, dtype="float64")),
    ]
    figure, axes = plt.subplots(figsize=(7.4, 3.1))
    for (name, layer), colour in zip(layers, COLOURS, strict=True):
        (last, *_) = layer(x)[1]
        layer.backward(dstate=(np.ones_like(last), *[None] * (len(layer.cell.state) - 1)))
        gate = layer.cell.gates[-1]
        norm = np.linalg.norm(layer.trace.gradient(gate), axis=2).mean(axis=1)
        axes.semilogy(np.arange(T) - T + 1, norm / norm[-1], color=colour, label=name)
    axes.set(xlabel="step, seen from the end", ylabel="gradient, relative to the last step")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=9)
    save(figure, "gradient-flow")


if __name__ == "__main__":
    with mpl.rc_context({"svg.hashsalt": "rnncore", "svg.fonttype": "path", "font.size": 10}):
        packed_rows()
        gradient_flow()
