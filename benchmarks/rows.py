"""What one row of a record says: who took part, the ratios of ours to the others, the bar, and times in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.numbers import Spread, interval, pair_ratios

Row = Mapping[str, Any]
#: Ours in two ways, the cell's own functions and `fused=True`, and what heads their columns.
FUSED = "ours fused"
SIDES = {"ours": "ours", FUSED: "fused"}
#: What is no fair peer, and shown only beside those that are.
UNTUNED = "torch untuned"
WHOLE_BEAMS = "torch whole beams"
CALLS = {"ours": "calls", FUSED: "calls fused"}
OTHERS = ("jax", "onnxruntime", "torch cell", UNTUNED, WHOLE_BEAMS, *CALLS.values())


def reference(row: Row) -> tuple[str, str]:
    """Return the competitor that ours is held to, PyTorch's best form where there are several, and its name in words.

    Where there is no peer, it is 'ours'.
    """
    seconds = row["seconds"]
    torch = [name for name in seconds if name.startswith("torch") and name not in OTHERS]
    if torch:
        return min(torch, key=lambda name: Spread.of(seconds[name]).median), "PyTorch"
    for name in ("keras", "bare session", "LSTM", "products"):
        if name in seconds:
            return name, name
    return "ours", "nobody"


def form(name: str) -> str:
    """Return which form of PyTorch it was, if there are two."""
    return f" {name.removeprefix('torch ')}" if name.startswith("torch ") else ""


def ratio_head(side: str) -> str:
    """Return what heads the column of one of our sides' ratios."""
    return "ratio" if side == "ours" else f"{SIDES[side]} ratio"


def ratio(row: Row | None, side: str) -> str:
    """Return the median ratio of one of our sides to the reference with its interval; nothing where there is none."""
    if row is None or side not in row["seconds"] or reference(row)[0] == "ours":
        return ""
    ratios = pair_ratios(row["seconds"][side], row["seconds"][reference(row)[0]])
    low, high = interval(ratios)
    return f"**{Spread.of(ratios).median:.2f}** ({low:.2f} to {high:.2f})"


def ratios_to(row: Row, other: str, sides: Sequence[str]) -> str:
    """Return the median ratios of our sides to another library that is there, in brackets."""
    seconds = row["seconds"]
    if other not in seconds or other in CALLS.values():
        return ""
    medians = (Spread.of(pair_ratios(seconds[side], seconds[other])).median for side in sides if side in seconds)
    return f" ({', '.join(f'{median:.2f}' for median in medians)})"


def bar(row: Row) -> str:
    """Return the bar, and which of our sides are under it by their median."""
    name, _ = reference(row)
    if "bar" not in row or name == "ours":
        return ""
    seconds, sides = row["seconds"], [side for side in SIDES if side in row["seconds"]]
    under = [s for s in sides if Spread.of(pair_ratios(seconds[s], seconds[name])).median <= row["bar"]]
    who = "both" if len(under) > 1 else "".join(SIDES[side] for side in under)
    said = f"met by {who}" if len(sides) > 1 else "met"
    return f"≤ {row['bar']:.2f} {said if under else 'missed'}"


def what(row: Row) -> str:
    """Return what a row is about."""
    if "shape" in row:
        return f"({', '.join(map(str, row['shape']))})"
    if "captions" in row:
        return f"{row['captions']} captions a batch"
    if "beam" in row:
        search = "greedy" if row["beam"] == 1 else f"beam {row['beam']}"
        return f"{search}, " + ("one alone" if row["pictures"] == 1 else f"{row['pictures']} together")
    return f"{row['pictures']} pictures, {row['batch']} a batch"


def key(row: Row) -> tuple[str, str, str]:
    """Return what makes two rows of different records the same."""
    return row["work"], row["cell"], what(row)


def milliseconds(seconds: Sequence[float] | None) -> str:
    """Return the median in ms, three digits; nothing for one that is not there."""
    return "" if seconds is None else digits(1e3 * Spread.of(seconds).median)


def digits(value: float) -> str:
    """Return a positive number with three significant digits and no exponent."""
    return f"{value:.0f}" if value >= 100 else f"{value:#.3g}"
