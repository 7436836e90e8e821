"""A function of single numbers over whole arrays, as one compiled loop: what an optimiser does to every parameter."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np

from rnncore.array import Array
from rnncore.kernels.cores import run, shares
from rnncore.kernels.processor import HEAD, functions
from rnncore.kernels.program import compose
from rnncore.kernels.symbols import Matrix, Rows, Tape, Weight
from rnncore.views import address

#: Takes an array module, arrays of one size, one more to work in, and numbers; changes the arrays in place.
Change = Callable[..., None]


class Numbers:
    """`change(numpy, *arrays, scratch, *numbers)` as one pass, in which each number is read and written once.

    The loop is generated from the function, run once on symbols, as a cell's step is (`rnncore.kernels.record`).

    arrays : the names of the first. numbers : how many there are.

    Raises
    ------
    NoCompiler, CannotRecord
        If there is no C compiler, or the function is none number by number.
    """

    def __init__(self, change: Change, arrays: Sequence[str], numbers: int, dtype: Any) -> None:
        self.dtype, self.order = np.dtype(dtype), tuple(arrays)
        self.kernel, self.function = _compiled(change, self.order, numbers, self.dtype)

    def __call__(self, arrays: Sequence[Array], numbers: Sequence[float]) -> None:
        """Change the arrays, (N,) each, on end and of the precision that this was made for."""
        given, values = dict(zip(self.order, arrays, strict=True)), np.array(numbers, self.dtype)
        size = len(arrays[0])
        for name, a in given.items():
            if a.shape != (size,) or a.dtype != self.dtype or not a.flags.c_contiguous:
                got = f"{a.shape} of {a.dtype}"
                raise ValueError(f"{name}: expected {size} numbers of {self.dtype} that lie on end, got {got}")
        (first, last), behind = shares(size, size), HEAD + 2 * len(self.kernel.buffers)
        table = np.empty((len(first), behind + len(self.kernel.columns)), np.int64)
        table[:, :HEAD] = 1, size, 0, 0, 1
        table[:, 1:2] = last - first
        for k, name in enumerate(self.kernel.buffers):
            table[:, HEAD + 2 * k : HEAD + 2 * k + 1] = address(given[name]) + self.dtype.itemsize * first
            table[:, HEAD + 2 * k + 1] = size
        table[:, behind:] = address(values)
        run(self.function, table)


@cache
def _compiled(change: Change, arrays: tuple[str, ...], numbers: int, dtype: np.dtype[Any]) -> Any:
    tape = Tape()
    rows: list[Rows] = [tape.rows(name, 1) for name in (*arrays, "scratch")]
    values = [Weight(tape, Matrix("numbers", k, 1, 1, False), True, True) for k in range(numbers)]
    change(np, *rows, *values)
    program = compose(tape, 1)
    (kernel,), (function,) = program.kernels, functions(program, change.__name__.strip("_"), dtype)
    return kernel, function
