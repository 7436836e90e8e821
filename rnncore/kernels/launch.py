"""Compiling programs for the card at hand, and launching them."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np

from rnncore.array import Array, Workspace
from rnncore.kernels.blas import Blas
from rnncore.kernels.copies import Copies
from rnncore.kernels.program import Kernel, Program, columns_of
from rnncore.kernels.source import program_source
from rnncore.kernels.symbols import Matrix

THREADS = 256
#: Blocks beyond this many walk on through the array instead: more than any card runs at once.
MOST_BLOCKS = 65535


class Launcher:
    """A program, compiled for one precision, that runs on views of a step's buffers.

    copies : in bfloat16, of what the products read; without them products read float32.
    """

    def __init__(self, program: Program, name: str, dtype: np.dtype[np.floating], copies: Copies | None = None) -> None:
        self.program, self.name, self.dtype, self.copies = program, name, dtype, copies
        names = [f"{name}_{k}" for k in range(len(program.kernels))]
        source = program_source(program, name, dtype, copies.kernels if copies else None)
        functions = iter(compiled(source, *names) if names else ())
        self._stages = [(stage, next(functions) if isinstance(stage, Kernel) else None) for stage in program.stages]

    def begin(self, p: Mapping[str, Array], views: dict[str, Array], narrow: Workspace, width: int) -> None:
        """Prepare a loop over time, whose first step has these views."""
        if self.copies is not None:
            self.copies.begin(p, views, narrow, width)

    def __call__(
        self, p: Mapping[str, Array], views: dict[str, Array], blas: Blas, memory: Workspace, narrow: Workspace,
        width: int,
    ) -> None:  # fmt: skip
        """Launch every stage.

        views : the buffers of a step, (rows, b) each, by the names of `record`. narrow : memory for copies, which have
        `width` columns.
        """
        b = views["a"].shape[1]
        views |= {name: memory.take(name, rows, b) for name, rows in self.program.temporaries.items()}
        for place, (stage, function) in enumerate(self._stages):
            if isinstance(stage, Kernel):
                more = self.copies.arguments(place, views, narrow, width) if self.copies else []
                _launch(function, stage, p, views, more)
                continue
            out = views[stage.out.name][stage.out.start :][: stage.out.rows]
            if self.copies:
                name = stage.matrix.name
                A = self.copies.parameter(p[name], name, narrow)
                B = self.copies.operand(place, views, narrow, width)
            else:
                A, B = p[stage.matrix.name], views[stage.operand.name][stage.operand.start :][: stage.operand.rows]
            blas.product(_rows(A, stage.matrix), B, out, stage.matrix.transposed, stage.adds)


def _launch(function: Any, kernel: Kernel, p: Mapping[str, Array], views: Mapping[str, Array], more: list[Any]) -> None:
    arguments: list[Any] = []
    for name in kernel.buffers:
        view = views[name]
        arguments += [view, np.int32(view.strides[0] // view.itemsize)]
    b = views[kernel.buffers[0]].shape[1]
    arguments += [*columns_of(kernel, p), *more]
    function(*shape_of(kernel.rows * b), (np.int32(kernel.rows), np.int32(b), *arguments))


def _rows(A: Array, matrix: Matrix) -> Array:
    return A[matrix.start :][: matrix.rows]


def shape_of(size: int) -> tuple[tuple[int], tuple[int]]:
    """Return grid and block for as many threads, or for as many as fit."""
    return (min(max(1, -(-size // THREADS)), MOST_BLOCKS),), (THREADS,)


@cache
def compiled(source: str, *names: str, cooperative: bool = False) -> tuple[Any, ...]:
    """Compile a source for the card and return its kernels; CuPy keeps the result on disk too."""
    RawModule, options = sys.modules["cupy"].RawModule, ("-std=c++17",)
    module = RawModule(code=source, options=options, enable_cooperative_groups=cooperative)
    return tuple(module.get_function(name) for name in names)
