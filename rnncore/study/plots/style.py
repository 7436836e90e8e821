"""What all pictures share: axes, colours, and how words stand below them."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rnncore.interop.files import write_whole
from rnncore.study.run import Run

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Okabe & Ito (2008): distinct for people with any kind of colour vision. Gates that play one part share a colour.
BLUE, ORANGE, GREEN, PINK, YELLOW, SKY, GREY = (
    *("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#5F6570"),
)
GATES = {
    "input": BLUE,
    "forget": ORANGE,
    "output": GREEN,
    "candidate": PINK,
    "reset": BLUE,
    "update": ORANGE,
    "hidden": GREEN,
    "h": "#222222",
    "c": YELLOW,
}
SERIES = (BLUE, ORANGE, GREEN, PINK, YELLOW, SKY)

#: Of values from 0 to 1, and of values of either sign.
SHARE_MAP, SIGNED_MAP = "cividis", "PuOr_r"


def new_axes(axes: Axes | None, width: float = 6.4, height: float = 3.4) -> Axes:
    """Return the axes given, or new ones of a figure of this size in inches."""
    if axes is not None:
        return axes
    import matplotlib.pyplot as plt

    made: Axes = plt.subplots(figsize=(width, height), layout="constrained")[1]
    return made


def tidy(axes: Axes) -> Axes:
    """Take away the frame's upper and right side, and lay a light grid behind the data."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#e8e6e1", lw=0.7)
    axes.set_axisbelow(True)
    return axes


def colour_of(name: str, k: int = 0) -> str:
    """Return the colour of a gate or a state; of others the k-th of a series."""
    return GATES.get(name, SERIES[k % len(SERIES)])


def label_steps(axes: Axes, run: Run, sequence: int) -> None:
    """Write the tokens below their steps, or the steps' numbers."""
    labels = run.labels(sequence)
    if run.tokens is None:
        axes.set_xlabel("step")
        return
    axes.set_xticks(range(len(labels)), labels, rotation=45, ha="right", rotation_mode="anchor", fontsize=9)


def as_list(runs: Run | Sequence[Run]) -> list[Run]:
    """One run is a list of one."""
    return [runs] if isinstance(runs, Run) else list(runs)


def scale_of(values: np.ndarray[Any, Any], signed: bool) -> dict[str, Any]:
    """Return the colour map and its ends: 0 to 1, or as far to both sides of 0 as the values reach."""
    if not signed:
        return {"cmap": SHARE_MAP, "vmin": 0.0, "vmax": 1.0}
    end = float(np.abs(values).max(initial=0.0)) or 1.0
    return {"cmap": SIGNED_MAP, "vmin": -end, "vmax": end}


def save(picture: Axes | Figure, path: Path | str) -> None:
    """Write a picture whole or not at all: SVG, PNG or PDF by the file's name, equal when drawn again."""
    import matplotlib as mpl

    data, kind = io.BytesIO(), Path(path).suffix.removeprefix(".").lower() or "svg"
    undated = {"svg": "Date", "pdf": "CreationDate"}.get(kind)
    figure: Any = picture if hasattr(picture, "savefig") else picture.figure
    with mpl.rc_context({"svg.hashsalt": "rnncore", "svg.fonttype": "path"}):
        figure.savefig(data, format=kind, facecolor="white", dpi=150, metadata={undated: None} if undated else None)
    write_whole(Path(path), data.getvalue())
