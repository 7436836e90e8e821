"""Blocks of H rows: what a statement of a step reads and writes."""

from __future__ import annotations

from rnncore.kernels.symbols import Apply, Block, Statement


def is_working(name: str) -> bool:
    """Whether a buffer's content is of no interest after the step."""
    return name in ("scratch", "recalled") or name.startswith("temporary")


def cut(block: Block, hidden: int) -> list[Block]:
    """Return the blocks of H rows of a block, which is what gates are, or itself where it is no multiple of them."""
    if block.start % hidden or block.rows % hidden:
        return [block]
    return [block._replace(start=block.start + k, rows=hidden) for k in range(0, block.rows, hidden)]


def blocks_read(statement: Apply) -> list[Block]:
    """Return the blocks among the operands."""
    return [x for x in statement.operands if isinstance(x, Block)]


def read(statement: Statement, hidden: int) -> set[Block]:
    """Return the blocks that a statement reads."""
    if isinstance(statement, Apply):
        return set(blocks_read(statement))
    return {*cut(statement.operand, hidden), *(cut(statement.out, hidden) if statement.adds else ())}


def written(statement: Statement, hidden: int) -> set[Block]:
    """Return the blocks that a statement writes."""
    return {statement.out} if isinstance(statement, Apply) else set(cut(statement.out, hidden))
