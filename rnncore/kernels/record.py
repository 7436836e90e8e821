"""What a cell does in a step, written down as a program: its own `step` and `step_backward` run once on symbols.

A `Rows` stands for rows of a buffer inside a step, a `Weight` for a parameter (`rnncore.kernels.symbols`). So there is
one definition of a cell, the one that NumPy runs, and whatever cell a user writes is recorded as ours are, as long as
its steps are made of what `rnncore.kernels.program` knows: products with parameters, and functions that work number
by number.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from rnncore.cells.base import Cell
from rnncore.kernels.symbols import CannotRecord, Matrix, Rows, Tape, Weight
from rnncore.regularise import Noise
from rnncore.trace import Now, sizes_of


class Kind(NamedTuple):
    """What is recorded.

    backward : `step_backward`, and not `step`.
    masked : with a mask of recurrent dropout, which the cell heeds (`Now.mask`).
    keeps : which states `Now.reached` keeps the gradients of, in the order of `Cell.state`; () is none.
    whole : with what the loop does around the step, so that it goes into the same kernel: forward the bias is added
        to W x; backward the gradients that arrive from outside, "upstream h", are added to those of the states that
        are said by `arrives`, and gradients to be kept are copied.
    apart : forward, W x does not lie in `a` but in "input".
    zones : of every state its zoneout: None is drawn, a number is the rate itself, and 0 is none. () is none at all.
    drops : with a mask of recurrent dropout, of which the step sees nothing (`rnncore.regularise.Noise`).
    """

    backward: bool = False
    masked: bool = False
    keeps: tuple[bool, ...] = ()
    whole: bool = False
    arrives: tuple[bool, ...] = ()
    apart: bool = False
    zones: tuple[float | None, ...] = ()
    drops: bool = False

    @property
    def noisy(self) -> bool:
        """Whether there is noise around the step."""
        return self.drops or any(rate != 0 for rate in self.zones)


def record(cell: Cell, shapes: Mapping[str, tuple[int, ...]], hidden: int, kind: Kind) -> Tape:
    """Return what `cell` does in a step, with parameters of these shapes.

    The buffers are named as the fields of `Now`: "a", "da", "scratch", "recalled", "mask"; and "prev h", "next h",
    "saved ..." and, for the gradients of the states, "dstate h" and "reaching h" by the names of the cell; those of
    noise are "zones h" and "proposed h".

    Raises
    ------
    CannotRecord
        If the step does what a program cannot hold; the message says what, and what it can.
    """
    tape, sizes = Tape(), sizes_of(cell, hidden)
    now = _symbols(tape, cell, sizes, kind)
    p = {name: _weight(tape, name, shape) for name, shape in shapes.items()}
    around: Any = _noise(tape, cell, sizes, kind) if kind.noisy else None
    try:
        if kind.backward:
            dstate = _named(tape, "dstate", cell.state, sizes)
            _arrive(tape, cell, now, dstate, kind)
            around.step_backward(cell, p, now, dstate, 0) if around else cell.step_backward(p, now, dstate)
        else:
            if kind.apart:
                tape.apply("add", (tape.rows("input", len(now.a)), p["b"][:, None]), now.a)
            elif kind.whole:
                now.a[...] += p["b"][:, None]
            around.step(cell, p, now, 0) if around else cell.step(p, now)
    except (CannotRecord, AttributeError, IndexError, KeyError) as error:
        what = "step_backward" if kind.backward else "step"
        raise CannotRecord(f"{type(cell).__name__}.{what} cannot be recorded: {error}") from error
    return tape


def _symbols(tape: Tape, cell: Cell, sizes: Mapping[str, int], kind: Kind) -> Now:
    """Return the views of a step, each a symbol."""
    gates, dgates = [sizes[n] for n in cell.gates], [sizes[n] for n in cell.preactivations]
    a, da = tape.rows("a", sum(gates)), tape.rows("da", sum(dgates))
    prev, output = _named(tape, "prev", cell.state, sizes), sizes[cell.state[0]]
    kept = zip(cell.state, kind.keeps, strict=False)
    return Now(
        a=a,
        gates=_blocks(a, gates),
        prev=prev,
        next=_named(tape, "next", cell.state, sizes),
        saved=_named(tape, "saved", cell.saved, sizes),
        da=da,
        dgates=_blocks(da, dgates),
        scratch=tape.rows("scratch", sum(gates)),
        xp=np,
        recalled=tape.rows("recalled", output) if kind.masked else prev[0],
        mask=tape.rows("mask", output) if kind.masked else None,
        reaching=tuple(tape.rows(f"reaching {name}", sizes[name]) if wanted else None for name, wanted in kept),
    )


def _noise(tape: Tape, cell: Cell, sizes: Mapping[str, int], kind: Kind) -> Noise:
    """Return what stands around the step, its masks symbols too."""
    noise, output = Noise(bool(getattr(cell, "carries", False))), sizes[cell.state[0]]
    if kind.drops:
        noise.mask, noise.recalled = [tape.rows("mask", output)], [tape.rows("recalled", output)]
    for k, (name, rate) in enumerate(zip(cell.state, kind.zones, strict=True)):
        if rate != 0:
            noise.zones[k] = [tape.rows(f"zones {name}", sizes[name]) if rate is None else rate]
            noise.proposed[k] = [tape.rows(f"proposed {name}", sizes[name])]
    return noise


def _named(tape: Tape, what: str, names: tuple[str, ...], sizes: Mapping[str, int]) -> tuple[Rows, ...]:
    return tuple(tape.rows(f"{what} {name}", sizes[name]) for name in names)


def _arrive(tape: Tape, cell: Cell, now: Now, dstate: tuple[Rows, ...], kind: Kind) -> None:
    """What the loop does before a step backward."""
    for name, d, arrives in zip(cell.state, dstate, kind.arrives, strict=False):
        if arrives:
            tape.apply("add", (d, tape.rows(f"upstream {name}", len(d))), d)
    for kept, d in zip(now.reaching, dstate, strict=False):
        if kind.whole and kept is not None:
            kept[...] = d


def _weight(tape: Tape, name: str, shape: tuple[int, ...]) -> Weight:
    rows, columns = (*shape, 1)[:2]
    return Weight(tape, Matrix(name, 0, rows, columns, False), is_vector=len(shape) == 1)


def _blocks(rows: Rows, sizes: list[int]) -> tuple[Rows, ...]:
    out, start = [], 0
    for size in sizes:
        out.append(rows[start : start + size])
        start += size
    return tuple(out)
