"""What a cell does in a step, written down as a program: its own `step` and `step_backward` run once on symbols.

A `Rows` stands for rows of a buffer inside a step, a `Weight` for a parameter (`rnncore.kernels.symbols`). So there is
one definition of a cell, the one that NumPy runs, and whatever cell a user writes is recorded as ours are, as long as
its steps are made of what `rnncore.kernels.program` knows: products with parameters, and functions that work number
by number.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from rnncore.cells.base import Cell
from rnncore.kernels.symbols import CannotRecord, Matrix, Rows, Tape, Weight
from rnncore.trace import Now, sizes_of


class Kind(NamedTuple):
    """What is recorded.

    backward : `step_backward`, and not `step`.
    masked : with a mask of recurrent dropout.
    keeps : which states `Now.reached` keeps the gradients of, in the order of `Cell.state`; () is none.
    whole : with what the loop does around the step, so that it goes into the same kernel: forward the bias is added
        to W x; backward the gradient that arrives from outside, "upstream", is added to that of h if it `arrives`,
        and gradients to be kept are copied.
    """

    backward: bool = False
    masked: bool = False
    keeps: tuple[bool, ...] = ()
    whole: bool = False
    arrives: bool = False


def record(cell: Cell, shapes: Mapping[str, tuple[int, ...]], hidden: int, kind: Kind) -> Tape:
    """Return what `cell` does in a step, with parameters of these shapes.

    The buffers are named as the fields of `Now`: "a", "da", "scratch", "recalled", "mask"; and "prev h", "next h",
    "saved ..." and, for the gradients of the states, "dstate h" and "reaching h" by the names of the cell.

    Raises
    ------
    CannotRecord
        If the step does what a program cannot hold; the message says what, and what it can.
    """
    tape, size = Tape(), sizes_of(cell, hidden)

    def named(what: str, names: tuple[str, ...]) -> tuple[Rows, ...]:
        return tuple(tape.rows(f"{what} {name}", size[name]) for name in names)

    gates, dgates = [size[n] for n in cell.gates], [size[n] for n in cell.preactivations]
    a, da = tape.rows("a", sum(gates)), tape.rows("da", sum(dgates))
    prev = named("prev", cell.state)
    recalled = tape.rows("recalled", size[cell.state[0]]) if kind.masked else prev[0]
    now = Now(
        a=a,
        gates=_blocks(a, gates),
        prev=prev,
        next=named("next", cell.state),
        saved=named("saved", cell.saved),
        da=da,
        dgates=_blocks(da, dgates),
        scratch=tape.rows("scratch", sum(gates)),
        xp=np,
        recalled=recalled,
        mask=tape.rows("mask", size[cell.state[0]]) if kind.masked else None,
        reaching=tuple(
            tape.rows(f"reaching {name}", size[name]) if wanted else None
            for name, wanted in zip(cell.state, kind.keeps, strict=False)
        ),
    )
    p = {name: _weight(tape, name, shape) for name, shape in shapes.items()}
    try:
        if kind.backward:
            dstate = named("dstate", cell.state)
            _arrive(tape, now, dstate, kind)
            cell.step_backward(p, now, dstate)
        else:
            if kind.whole:
                a += p["b"][:, None]
            cell.step(p, now)
    except (CannotRecord, AttributeError, IndexError, KeyError) as error:
        what = "step_backward" if kind.backward else "step"
        raise CannotRecord(f"{type(cell).__name__}.{what} cannot be recorded: {error}") from error
    return tape


def _arrive(tape: Tape, now: Now, dstate: tuple[Rows, ...], kind: Kind) -> None:
    """What the loop does before a step backward."""
    if kind.arrives:
        tape.apply("add", (dstate[0], tape.rows("upstream", len(dstate[0]))), dstate[0])
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
