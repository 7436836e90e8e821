"""bfloat16 copies of what the products of a loop read: U costs half its bytes at every step.

cuBLAS rounds float32 operands itself (`rnncore.kernels.blas`), but reads them whole first. Here parameters are copied
once a pass, and an operand that changes at every step is copied by the kernel that makes it, beside the float32 number
that the Trace shows. Sums, parameters, states and gradients stay float32; the products are the same, number for number.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from rnncore.array import Array, Workspace
from rnncore.kernels.blas import stored
from rnncore.kernels.blocks import cut
from rnncore.kernels.program import Kernel, Program
from rnncore.kernels.source import COPY, preamble
from rnncore.kernels.symbols import Block, Product

#: Columns of a copy are rounded up to this many, so that tensor cores read whole vectors of 16 bytes.
ALIGNED = 8


class Copies:
    """Which numbers of a program are copied, and where the copies are.

    kernels : by the place of a stage, the blocks that it stores and copies.
    """

    def __init__(self, program: Program, hidden: int) -> None:
        self.program, self.hidden = program, hidden
        self.kernels: dict[int, list[Block]] = {}
        self._made: dict[int, str] = {}
        for k, stage in enumerate(program.stages):
            if isinstance(stage, Product):
                self._plan(k, stage)

    def _plan(self, place: int, product: Product) -> None:
        """Note who makes the operand: kernels before this product, or of the step before if it is a state of then."""
        name, stages = product.operand.name, self.program.stages
        carried = name.startswith("prev ")
        if carried:
            name = name.replace("prev", "next")
        writers: dict[Block, int | None] = {}
        for k, stage in enumerate(stages if carried else stages[:place]):
            for block in stage.stores if isinstance(stage, Kernel) else cut(stage.out, self.hidden):
                writers[block] = k if isinstance(stage, Kernel) else None
        blocks = cut(product.operand._replace(name=name), self.hidden)
        makers = [writers.get(block) for block in blocks]
        if None in makers:
            return  # a product made it: it is copied where it is read
        self._made[place] = name
        for maker, block in zip(makers, blocks, strict=True):
            assert maker is not None
            copied = self.kernels.setdefault(maker, [])
            if block not in copied:
                copied.append(block)

    def begin(self, p: Mapping[str, Array], views: Mapping[str, Array], memory: Workspace, width: int) -> None:
        """Copy the parameters, and the states of before the first step."""
        products = [stage for stage in self.program.stages if isinstance(stage, Product)]
        for name in dict.fromkeys(product.matrix.name for product in products):
            _copy(p[name], self.parameter(p[name], name, memory))
        for place, name in self._made.items():
            stage = self.program.stages[place]
            assert isinstance(stage, Product)
            if name != stage.operand.name:
                state = views[stage.operand.name]
                _copy(state, self._buffer(name, state, memory, width))

    def parameter(self, value: Array, name: str, memory: Workspace) -> Array:
        """Return the copy of a parameter, which lies as the parameter does."""
        by_columns, _ = stored(value)
        return memory.take(name, *value.shape[::-1]).T if by_columns else memory.take(name, *value.shape)

    def operand(self, place: int, views: Mapping[str, Array], memory: Workspace, width: int) -> Array:
        """Return the copy of what the product at a place reads, made now if no kernel has made it."""
        stage = self.program.stages[place]
        assert isinstance(stage, Product)
        block, source = stage.operand, views[stage.operand.name]
        name = self._made.get(place)
        copy = self._buffer(name or block.name, source, memory, width)
        rows = slice(block.start, block.start + block.rows)
        if name is None:
            _copy(source[rows], copy[rows])
        return copy[rows]

    def arguments(self, place: int, views: Mapping[str, Array], memory: Workspace, width: int) -> list[Any]:
        """Return what a kernel takes besides: each copy and its leading size."""
        names = dict.fromkeys(block.name for block in self.kernels.get(place, ()))
        return [a for n in names for a in (self._buffer(n, views[n], memory, width), np.int32(width))]

    def _buffer(self, name: str, like: Array, memory: Workspace, width: int) -> Array:
        rows, b = like.shape
        return memory.take(f"copy of {name}", rows, width)[:, :b]


def aligned(columns: int) -> int:
    """Return how many columns a copy has."""
    return -(-columns // ALIGNED) * ALIGNED


def _copy(source: Array, copy: Array) -> None:
    """Launch a copy of a matrix whose rows, or columns, lie without gaps."""
    from rnncore.kernels.launch import compiled, shape_of

    if stored(source)[0]:
        source, copy = source.T, copy.T
    (function,) = compiled(preamble(source.dtype) + COPY, "copied")
    leading = (np.int32(x.strides[0] // x.itemsize) for x in (source, copy))
    sizes = (np.int32(source.shape[0]), np.int32(source.shape[1]))
    function(*shape_of(source.size), (*sizes, source, next(leading), copy, next(leading)))
