"""Two records of the same part: what became better, what worse, and what is noise.

    python -m benchmarks.compare before.json after.json

Times of two days cannot be compared, but ratios can that were measured in turns within each run: every row is held to
the same peer as before, and its ratio to that peer, ours / theirs, to the one before; so is ours with fused kernels
where both records have it. Where a record has no peer (the cost report), the LSTM of the same run is the yardstick.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer
from rich.console import Console
from rich.table import Table

from benchmarks.numbers import MARGIN, Change, compare, pair_ratios
from benchmarks.record import load
from benchmarks.rows import SIDES, key, reference, what

STYLE = {"better": "green", "worse": "red", "noise": "dim"}


class Compared(NamedTuple):
    """A row of both records, and which side of ours it is about."""

    what: str
    cell: str
    side: str
    peer: str
    change: Change


def changes(before: Mapping[str, Any], after: Mapping[str, Any], margin: float = MARGIN) -> Iterator[Compared]:
    """Yield every row that both records have with a peer in common, once for each side of ours that both have.

    Raises
    ------
    ValueError
        If they are records of different parts, or of different machines, or have no row in common.
    """
    for name in ("part", "machine"):
        mine, theirs = (_what_must_agree(record, name) for record in (before, after))
        if mine != theirs:
            raise ValueError(f"the records differ in their {name}: {mine} and {theirs}; such figures do not compare")
    earlier, found = {key(row): row for row in before["rows"]}, False
    for row in after["rows"]:
        old = earlier.get(key(row))
        peer = None if old is None else peer_of(old, row)
        if old is not None and peer is not None:
            found = True
            for side in (s for s in SIDES if all(s in each["seconds"] for each in (old, row))):
                ratios = (pair_ratios(each["seconds"][side], each["seconds"][peer]) for each in (old, row))
                change = compare(*ratios, margin=margin)
                yield Compared(f"{row['work']}, {what(row)}", row["cell"], SIDES[side], peer, change)
    if not found:
        raise ValueError("the records have no row with the same peer in common")


def peer_of(before: Mapping[str, Any], after: Mapping[str, Any]) -> str | None:
    """Return the peer that both are held to: the best of the later one if the earlier one has it too."""
    name, _ = reference(after)
    return name if name != "ours" and name in before["seconds"] else None


def main(
    before: Annotated[Path, typer.Argument(help="The earlier record.")],
    after: Annotated[Path, typer.Argument(help="The later one.")],
    margin: Annotated[float, typer.Option(min=0, help="What counts as a change; two runs differ by so much.")] = MARGIN,
) -> None:
    """Say of every row whether it became better or worse, or whether that is noise; exit code 1 if any is worse."""
    out = Console(highlight=False)
    table = Table("work", "cell", "side", "peer", "later / earlier", "95 %", "verdict")
    try:
        found = list(changes(load(before), load(after), margin))
    except (OSError, ValueError) as error:
        raise typer.BadParameter(str(error)) from error
    for row in found:
        ratio, low, high, verdict = row.change
        style = STYLE[verdict]
        cells = (f"{ratio:.3f}", f"{low:.3f} to {high:.3f}", f"[{style}]{verdict}[/]")
        table.add_row(row.what, row.cell, row.side, row.peer, *cells)
    out.print(table)
    raise typer.Exit(int(any(row.change.verdict == "worse" for row in found)))


def _what_must_agree(record: Mapping[str, Any], name: str) -> Any:
    machine = record["machine"]
    return record.get("part") if name == "part" else (machine["cpu"], machine["cores"], machine["blas"]["kernel"])


if __name__ == "__main__":
    typer.run(main)
