"""From what a cell does in a step to as few launches as it takes: products, and one fused kernel between them.

A `Tape` (`rnncore.kernels.record`) has one statement for each call of an array function. Here statements over several
gates are taken apart, what nobody reads is left out, sums of products go into the product itself, and all statements
between two products become one `Kernel`, in which every number lives in a register from its first use to its last.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import groupby, pairwise

from rnncore.array import Array
from rnncore.kernels.blocks import blocks_read, cut, is_working, read, written
from rnncore.kernels.sums import join_products, join_sums, without_adding
from rnncore.kernels.symbols import Apply, Block, CannotRecord, Column, Product, Statement, Tape


@dataclass(frozen=True)
class Kernel:
    """Statements over blocks of the same number of rows, computed number by number in one launch.

    loads : blocks that are read before they are written. stores : those whose last value somebody reads later.
    """

    rows: int
    statements: tuple[Apply, ...]
    stores: tuple[Block, ...]

    @cached_property
    def loads(self) -> tuple[Block, ...]:
        """The blocks that are read before they are written."""
        found: dict[Block, None] = {}
        written: set[Block] = set()
        for statement in self.statements:
            found |= dict.fromkeys(b for b in blocks_read(statement) if b not in written)
            written.add(statement.out)
        return tuple(found)

    @property
    def is_blockwise(self) -> bool:
        """Whether every block begins at a multiple of its rows."""
        columns = [x for s in self.statements for x in s.operands if isinstance(x, Column)]
        starts = [(x.start, x.rows) for x in (*self.loads, *self.stores)] + [(x.start, x.rows) for x in columns]
        return all(start % rows == 0 for start, rows in starts)

    @cached_property
    def buffers(self) -> tuple[str, ...]:
        """The buffers that it touches, in the order of its arguments."""
        return tuple(dict.fromkeys(block.name for block in (*self.loads, *self.stores)))

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """The parameters that it reads one number a row of, in the order of its arguments."""
        found = [x.name for s in self.statements for x in s.operands if isinstance(x, Column)]
        return tuple(dict.fromkeys(found))


def columns_of(kernel: Kernel, p: Mapping[str, Array]) -> list[Array]:
    """Return the parameters that a kernel reads one number a row of; it takes them for vectors without gaps."""
    found = [p[name] for name in kernel.columns]
    for name, a in zip(kernel.columns, found, strict=True):
        if not a.flags.c_contiguous:
            raise ValueError(
                f"{name}: expected a vector without gaps, got strides of {a.strides} bytes; hand over a copy"
            )
    return found


Stage = Kernel | Product


@dataclass(frozen=True)
class Program:
    """What a step launches, in order; `temporaries` are the buffers, by rows, that it needs beside those of a step."""

    stages: tuple[Stage, ...]
    temporaries: dict[str, int]

    @cached_property
    def kernels(self) -> tuple[Kernel, ...]:
        """The fused kernels among the stages."""
        return tuple(stage for stage in self.stages if isinstance(stage, Kernel))

    @cached_property
    def products(self) -> tuple[Product, ...]:
        """The products among the stages."""
        return tuple(stage for stage in self.stages if isinstance(stage, Product))


def compose(tape: Tape, hidden: int, adds: bool = True, keeps: bool = True) -> Program:
    """Return the program of a tape.

    adds : whether products may add to what is there; if not, the sums are part of the kernels behind them.
    keeps : whether gates and saved values are wanted after the step.

    Raises
    ------
    CannotRecord
        If blocks of a buffer overlap without being the same.
    """
    statements = [part for s in tape.statements for part in _take_apart(s, hidden)]
    statements = join_products(join_sums(statements, hidden), tape, hidden)
    statements = statements if adds else [part for s in statements for part in without_adding(s, tape, hidden)]
    statements = _before_products(_behind_products(statements, hidden), hidden)
    _refuse_overlaps(statements, hidden)
    wanted = {block for s in statements for block in written(s, hidden) if not is_working(block.name)}
    wanted = wanted if keeps else {block for block in wanted if block.name.partition(" ")[0] not in ("a", "saved")}
    kept = _without_the_unread(statements, wanted, hidden)
    stages = tuple(_stages(kept, wanted, hidden))
    used = {name for stage in stages for name in _names(stage)}
    temporaries = {n: rows for n, rows in tape.buffers.items() if n.startswith("temporary") and n in used}
    return Program(stages, temporaries)


def _names(stage: Stage) -> tuple[str, ...]:
    return stage.buffers if isinstance(stage, Kernel) else (stage.operand.name, stage.out.name)


def _take_apart(statement: Statement, hidden: int) -> Iterator[Statement]:
    """Yield one statement for each block of H rows; a product stays as it is."""
    if isinstance(statement, Product):
        yield statement
        return
    for k, out in enumerate(cut(statement.out, hidden)):
        operands = tuple(
            x if isinstance(x, float) else x._replace(start=x.start + k * out.rows, rows=out.rows)
            for x in statement.operands
        )
        yield replace(statement, operands=operands, out=out)


def _behind_products(statements: list[Statement], hidden: int) -> list[Statement]:
    """Move what stands before a product and has nothing to do with it behind it, if it so joins the next kernel.

    The bias is such a thing: `a += b` and a product that adds to a may change places. Only all that stands before a
    product is moved: a part would make one kernel more.
    """
    out: list[Statement] = []
    before: list[Statement] = []
    for k, statement in enumerate(statements):
        if isinstance(statement, Apply):
            before.append(statement)
        elif k + 1 < len(statements) and all(_may_swap(each, statement, hidden) for each in before):
            out.append(statement)
        else:
            out += [*before, statement]
            before = []
    return out + before


def _before_products(statements: list[Statement], hidden: int) -> list[Statement]:
    """Move what stands behind products and has nothing to do with them before them, to join the kernel there.

    As above only all that stands between two products is moved. What zoneout holds back of c is such a thing.
    """
    out: list[Statement] = []
    for is_product, group in groupby(statements, key=lambda s: isinstance(s, Product)):
        run, place = list(group), len(out)
        if not is_product:
            while place and all(_may_swap(each, out[place - 1], hidden) for each in run):
                place -= 1
            if not place or isinstance(out[place - 1], Product):
                place = len(out)  # there is no kernel to join
        out[place:place] = run
    return out


def _may_swap(first: Statement, product: Statement, hidden: int) -> bool:
    if not isinstance(first, Apply) or not isinstance(product, Product):
        return False
    made, read = written(product, hidden), set(cut(product.operand, hidden))
    touched = {first.out, *blocks_read(first)}
    if first.out in read:
        return False
    both_add = product.adds and first.function == "add" and first.operands[0] == first.out
    return not touched & made or (both_add and not {*first.operands[1:]} & made)


def _refuse_overlaps(statements: list[Statement], hidden: int) -> None:
    """Blocks are what liveness is reckoned in, so two of a buffer must be the same or apart."""
    blocks = sorted({b for s in statements for b in read(s, hidden) | written(s, hidden)})
    for one, other in pairwise(blocks):
        end = one.start + one.rows
        if one.name == other.name and end > other.start:
            raise CannotRecord(f"{one.name}: rows {one.start} to {end} overlap those from {other.start} on")


def _without_the_unread(statements: list[Statement], wanted: set[Block], hidden: int) -> list[Statement]:
    """Leave out what is overwritten, or forgotten after the step, before anyone reads it."""
    kept: list[Statement] = []
    live = set(wanted)
    for statement in reversed(statements):
        made = written(statement, hidden)
        if not made & live:
            continue
        live = (live - made) | read(statement, hidden)
        kept.append(statement)
    return kept[::-1]


def _stages(statements: list[Statement], wanted: set[Block], hidden: int) -> Iterator[Stage]:
    k = 0
    while k < len(statements):
        statement = statements[k]
        if isinstance(statement, Product):
            yield statement
            k += 1
            continue
        run: list[Apply] = []
        while k < len(statements) and isinstance(each := statements[k], Apply):
            run.append(each)
            k += 1
        yield from _kernels(run, statements[k:], wanted, hidden)


def _kernels(run: list[Apply], later: list[Statement], wanted: set[Block], hidden: int) -> Iterator[Kernel]:
    """Yield a kernel for each number of rows; blocks of different sizes have nothing to do with one another."""
    for rows in dict.fromkeys(s.out.rows for s in run):
        own = tuple(s for s in run if s.out.rows == rows)
        stores = tuple(b for b in dict.fromkeys(s.out for s in own) if _is_read_later(b, later, wanted, hidden))
        yield Kernel(rows, own, stores)


def _is_read_later(block: Block, later: list[Statement], wanted: set[Block], hidden: int) -> bool:
    for statement in later:
        if block in read(statement, hidden):
            return True
        if block in written(statement, hidden):
            return False
    return block in wanted
