"""What the report's rows say: ratios to the LSTM, exponents, shares, and the sentence about three quarters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from benchmarks.numbers import Spread, exponent, interval, pair_ratios

Row = Mapping[str, Any]
AXES = ("T", "B", "D", "H")
#: The ratio of what a GRU computes to what an LSTM computes, and how near a measured one counts as the same.
CLAIM, NEAR = 0.75, 0.05


class Share(NamedTuple):
    """Of a training step: the products alone, the calls of T steps alone, and what is left, the element work."""

    products: float
    elements: float
    calls: float


class Ratio(NamedTuple):
    """Time of a cell / time of the LSTM at one shape, with its 95 % interval."""

    shape: tuple[int, ...]
    median: float
    low: float
    high: float

    @property
    def kind(self) -> str:
        """Whether the claim holds here: 'holds', 'cheaper' or 'dearer'."""
        if abs(self.median - CLAIM) <= NEAR:
            return "holds"
        return "cheaper" if self.median < CLAIM else "dearer"


def median(row: Row, name: str = "ours") -> float:
    """Return the median seconds of a row."""
    return Spread.of(row["seconds"][name]).median


def select(rows: Sequence[Row], work: str, cell: str | None = None) -> list[Row]:
    """Return the rows of one kind of work, of one cell if it is named."""
    return [row for row in rows if row["work"] == work and cell in (None, row["cell"])]


def along(rows: Sequence[Row], axis: str, base: Sequence[int]) -> list[Row]:
    """Return the rows in which only one of T, B and H (with D) differs from `base`, (T, B, H), in rising order."""
    places = {"T": (1, 3), "B": (0, 3), "H": (0, 1)}[axis]
    wanted = (base[0], base[1], base[2], base[2])
    found = [row for row in rows if all(row["shape"][k] == wanted[k] for k in places)]
    return sorted(found, key=lambda row: row["shape"][AXES.index(axis)])


def size(row: Row, axis: str) -> int:
    """Return T, B or H of a row."""
    found: int = row["shape"][AXES.index(axis)]
    return found


def fitted(rows: Sequence[Row], axis: str) -> float:
    """Return p of seconds = c · size^p over rows along an axis."""
    return exponent([size(row, axis) for row in rows], [median(row) for row in rows])


def to_lstm(row: Row) -> Ratio:
    """Return the ratio to the LSTM of the same rounds."""
    ratios = pair_ratios(row["seconds"]["ours"], row["seconds"]["LSTM"])
    return Ratio(tuple(row["shape"]), Spread.of(ratios).median, *interval(ratios))


def share(row: Row, calls: Row) -> Share:
    """Return what a training step's time goes into; `calls` is the cell's row of that work, for as many steps or not.

    The parts are measured apart, and each may be overestimated where they overlap; what they exceed is cut off the
    calls, which hide behind waiting for memory.
    """
    whole = median(row)
    products = min(1.0, median(row, "products") / whole)
    called = min(1 - products, median(calls) * size(row, "T") / size(calls, "T") / whole)
    return Share(products, 1 - products - called, called)


def claim(rows: Sequence[Row], cell: str) -> str:
    """Return the paragraph about 'a GRU costs 3/4 of an LSTM' for one of its forms, from the rows alone."""
    found = [to_lstm(row) for row in select(rows, "training", cell)]
    kinds = {kind: [r for r in found if r.kind == kind] for kind in ("holds", "cheaper", "dearer")}
    low, high = min(found, key=lambda r: r.median), max(found, key=lambda r: r.median)
    told = [
        f"{cell}: over {len(found)} shapes a training step takes from {low.median:.2f} (at {_said(low)}) to "
        f"{high.median:.2f} (at {_said(high)}) of the LSTM's time."
    ]
    words = {
        "holds": f"Within {NEAR} of 3/4 it is at",
        "cheaper": "It is cheaper than that at",
        "dearer": "It is dearer at",
    }
    told += [f"{words[kind]} {_listed(group)}." for kind, group in kinds.items() if group]
    return " ".join(told)


def _said(ratio: Ratio) -> str:
    T, B, _, H = ratio.shape
    return f"T={T}, B={B}, H={H}"


def _listed(ratios: Sequence[Ratio]) -> str:
    return "; ".join(f"{_said(r)} ({r.median:.2f})" for r in ratios)
