"""Where products and sums meet: a sum goes into the product before it, and products into one another."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from rnncore.kernels.blocks import cut, is_working, read, written
from rnncore.kernels.symbols import Apply, Block, Product, Statement, Tape


def join_sums(statements: list[Statement], hidden: int) -> list[Statement]:
    """Turn a product, and the sums right behind it that it goes into, into a product that adds."""
    out: list[Statement] = []
    k = 0
    while k < len(statements):
        statement, rest = statements[k], statements[k + 1 :]
        k += 1
        if not isinstance(statement, Product):
            out.append(statement)
            continue
        joined = _sum_of(statement, rest, hidden)
        added = [] if joined else _added_to(statement, rest, hidden)
        k += len(cut(statement.out, hidden)) if joined or added else 0
        out += [*added, joined or replace(statement, adds=statement.adds or bool(added))]
    return out


def _added_to(product: Product, rest: list[Statement], hidden: int) -> list[Statement]:
    """Return `x = y` for `x = product; x += y`, to stand before a product that adds, if that is what stands there."""
    parts = cut(product.out, hidden)
    if product.adds or len(rest) < len(parts) or {*parts} & {*cut(product.operand, hidden)}:
        return []
    found: list[Statement] = []
    for part, each in zip(parts, rest, strict=False):
        if not isinstance(each, Apply) or each.function != "add" or each.out != part or part not in each.operands:
            return []
        others = [x for x in each.operands if x != part]
        if len(others) != 1 or others[0] in parts:
            return []
        found.append(Apply("copy", (others[0],), part))
    return found


def _sum_of(product: Product, rest: list[Statement], hidden: int) -> Product | None:
    """Return `x += product` for `work = product; x += work`, if that is what stands there and work is read no more."""
    parts = cut(product.out, hidden)
    if not is_working(product.out.name) or len(rest) < len(parts):
        return None
    sums = rest[: len(parts)]
    first = sums[0].out
    for k, (part, each) in enumerate(zip(parts, sums, strict=True)):
        out = first._replace(start=first.start + k * first.rows)
        if not isinstance(each, Apply) or each.function != "add" or each.out != out or out in parts:
            return None
        if {*each.operands} != {out, part}:
            return None
    if any(_reads_before_writing(part, rest[len(parts) :], hidden) for part in parts):
        return None
    return replace(product, out=first._replace(rows=product.out.rows), adds=True)


def join_products(statements: list[Statement], tape: Tape, hidden: int) -> list[Statement]:
    """Turn products with rows of a parameter that follow one another, added up in one place, into one product.

    Their operands are copied beside one another, which the kernel that makes them does in passing.
    """
    out: list[Statement] = []
    for statement in statements:
        before = out[-1] if out else None
        if not isinstance(statement, Product) or not isinstance(before, Product) or not _follows(statement, before):
            out.append(statement)
            continue
        matrix = before.matrix._replace(rows=before.matrix.rows + statement.matrix.rows)
        operand = tape.temporary(matrix.rows).block
        parts = [part for x in (before.operand, statement.operand) for part in cut(x, hidden)]
        out[-1:] = [Apply("copy", (x,), place) for x, place in zip(parts, cut(operand, hidden), strict=False)]
        out.append(replace(before, matrix=matrix, operand=operand))
    return out


def _follows(product: Product, before: Product) -> bool:
    """Whether two products are one of twice as many rows of a transposed parameter."""
    end = before.matrix.start + before.matrix.rows
    here, there = product.matrix, before.matrix
    same = (here.name, here.transposed, here.columns) == (there.name, True, there.columns)
    apart = product.out.name not in (product.operand.name, before.operand.name)
    return same and here.start == end and product.out == before.out and product.adds and apart


def without_adding(statement: Statement, tape: Tape, hidden: int) -> Iterator[Statement]:
    """Yield `work = product; x += work` for a product that adds to x."""
    if not isinstance(statement, Product) or not statement.adds:
        yield statement
        return
    work = tape.temporary(statement.out.rows).block
    yield replace(statement, out=work, adds=False)
    for x, part in zip(cut(statement.out, hidden), cut(work, hidden), strict=True):
        yield Apply("add", (x, part), x)


def _reads_before_writing(block: Block, statements: Sequence[Statement], hidden: int) -> bool:
    for statement in statements:
        if block in read(statement, hidden):
            return True
        if block in written(statement, hidden):
            return False
    return False
