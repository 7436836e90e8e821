"""The interactive page: one HTML file that opens from the file system and asks nobody for anything.

A network of a cell that the page knows (`LIVE`) is computed in the page itself, so that its input can be drawn and its
gates held; of any other the page shows the values that a `Run` holds.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

import numpy as np

from rnncore.interop.files import write_whole
from rnncore.study.gates import squash_of
from rnncore.study.run import Floats, Run

#: The cells that `cells.js` computes, by the name of their class.
LIVE = ("LSTM", "GRU", "GRUBefore", "RNN")
_SCRIPTS = ("cells.js", "charts.js", "diagram.js", "equations.js", "page.js")


def live_system(
    run: Run,
    inputs: Sequence[str] | None = None,
    readout: tuple[Floats, float] | None = None,
    wanted: bool = False,
    sequence: int = 0,
) -> dict[str, Any]:
    """Return a network that the page computes: weights and first input; the start is at zero states.

    inputs : names of the D numbers that are read. readout : w (H,) and b of what the network says, w·h + b.
    wanted : whether the page shows what a latch should say, see `rnncore.study.latch`.

    Raises
    ------
    ValueError
        If the page does not know the cell.
    """
    kind = type(run.cell).__name__
    if kind not in LIVE:
        raise ValueError(f"the page computes {', '.join(LIVE)}, not {kind}; use shown_system, which shows its values")
    x = run.x[: int(run.lengths[sequence]), sequence]
    names = list(inputs or (f"x{d}" for d in range(x.shape[1])))
    out = _about(run) | {"x": x.tolist(), "inputs": names, "wanted": wanted}
    out["weights"] = {name: array.tolist() for name, array in run.weights.items()}
    if readout is not None:
        out["readout"] = {"w": np.asarray(readout[0]).tolist(), "b": float(readout[1])}
    return out


def shown_system(
    run: Run, sequence: int = 0, following: Sequence[Sequence[tuple[str, float]]] | None = None
) -> dict[str, Any]:
    """Return the values of one sequence of a run, for the page to show, in float32.

    following : at each step what is likeliest to come next, with its probability.
    """
    length = int(run.lengths[sequence])
    arrays = {**run.values, **{f"d {name}": array for name, array in run.gradients.items() if name in run.cell.gates}}
    arrays |= {f"before {name}": run.before(name) for name in run.cell.state}
    out = _about(run) | {"values": {name: _packed(a[:length, sequence]) for name, a in arrays.items()}}
    if run.tokens is not None:
        out["tokens"] = list(run.tokens[sequence])
    if following is not None:
        out["next"] = [[[word, float(p)] for word, p in step] for step in following]
    return out


def _about(run: Run) -> dict[str, Any]:
    cell = run.cell
    while hasattr(cell, "cell"):  # one whose gates are held is drawn as what it is within
        cell = cell.cell
    return {
        "name": run.name,
        "cell": type(cell).__name__,
        "gates": list(cell.gates),
        "state": list(cell.state),
        "hidden": run.hidden,
        "squash": {gate: _squash(run, gate) for gate in cell.gates},
    }


def _squash(run: Run, gate: str) -> str:
    """What the page colours by; of a normalised pre-activation it is told from the values."""
    cell = getattr(run.cell, "cell", run.cell)
    try:
        return squash_of(cell, gate)
    except ValueError:
        return "tanh" if run[gate].min(initial=0) < 0 else "sigmoid"


def _packed(array: Floats) -> dict[str, Any]:
    little = np.ascontiguousarray(array, "<f4")
    return {"shape": list(array.shape), "data": base64.b64encode(little.tobytes()).decode()}


def page(
    systems: Sequence[Mapping[str, Any]],
    title: str = "What every gate does",
    lead: str = "",
    about: str = "",
    alone: str = "",
    **more: Any,
) -> str:
    """Return the page as HTML.

    systems : of `live_system` and `shown_system`, one a tab. alone : what stands above the words where no server is.
    more : further data for the script, such as `server=True`, `words`, `pictures` and `image`.

    Raises
    ------
    ValueError
        If there is nothing to show, or a number is not finite.
    """
    if not systems:
        raise ValueError("systems: expected at least one network to show")
    folder = files("rnncore.study.page")
    read = {name: folder.joinpath(name).read_text(encoding="utf-8") for name in ("page.html", "style.css", *_SCRIPTS)}
    try:
        data = json.dumps({"systems": list(systems), **more}, allow_nan=False)
    except ValueError as error:
        raise ValueError("the networks hold NaN or infinity, which the page cannot show") from error
    return Template(read["page.html"]).substitute(
        title=escape(title),
        lead=escape(lead),
        about=escape(about),
        alone=escape(alone),
        style=read["style.css"],
        data=data.replace("<", "\\u003c"),  # no word may end the script element
        script="\n".join(read[name] for name in _SCRIPTS),
    )


def write_page(path: str | Path, systems: Sequence[Mapping[str, Any]], **words: Any) -> None:
    """Write `page` to a file, whole or not at all."""
    write_whole(Path(path), page(systems, **words).encode())
