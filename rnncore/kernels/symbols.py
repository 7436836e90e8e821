"""Symbols for the arrays of a step: they answer NumPy's functions not with numbers but with an entry on a `Tape`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin


class CannotRecord(TypeError):
    """A cell does in its step what no program can hold."""


class Block(NamedTuple):
    """`rows` rows of the buffer `name` from row `start` on."""

    name: str
    start: int
    rows: int


class Column(NamedTuple):
    """As a `Block`, of a parameter that has one number a row: the same for every sequence."""

    name: str
    start: int
    rows: int


class Matrix(NamedTuple):
    """Rows of the parameter `name`, (rows, columns), which a product takes as they are or transposed."""

    name: str
    start: int
    rows: int
    columns: int
    transposed: bool


Operand = Block | Column | float


@dataclass(frozen=True)
class Apply:
    """`out = function(operands)`, number by number; a block may be its own result."""

    function: str
    operands: tuple[Operand, ...]
    out: Block


@dataclass(frozen=True)
class Product:
    """`out = matrix @ operand`, or `out += ...` where it `adds`."""

    matrix: Matrix
    operand: Block
    out: Block
    adds: bool = False


Statement = Apply | Product


@dataclass
class Tape:
    """Statements in the order in which a step made them, and the rows of the buffers that they name."""

    statements: list[Statement] = field(default_factory=list)
    buffers: dict[str, int] = field(default_factory=dict)
    made: int = 0

    def rows(self, name: str, count: int) -> Rows:
        """Return all rows of the buffer `name`."""
        self.buffers[name] = count
        return Rows(self, Block(name, 0, count))

    def temporary(self, count: int) -> Rows:
        """Return a buffer for a result that the cell gave no place to."""
        self.made += 1
        return self.rows(f"temporary{self.made}", count)

    def apply(self, function: str, operands: tuple[Any, ...], out: Rows | None) -> Rows:
        """Note a function of symbols and numbers."""
        taken = tuple(_operand(function, x) for x in operands)
        sizes = [x.rows for x in taken if not isinstance(x, float)]
        if out is None:
            out = self.temporary(max(sizes))
        if any(size != out.block.rows for size in sizes):
            raise CannotRecord(f"{function}: blocks of {sizes} rows and a result of {out.block.rows} do not fit")
        self.statements.append(Apply(function, taken, out.block))
        return out


def _operand(function: str, x: Any) -> Operand:
    if isinstance(x, Rows):
        return x.block
    if isinstance(x, Weight) and x.is_column:
        return Column(x.matrix.name, x.matrix.start, x.matrix.rows)
    if isinstance(x, int | float | np.floating | np.integer):
        return float(x)
    raise CannotRecord(f"{function} of {type(x).__name__}: expected arrays of the step, columns of parameters, numbers")


class _Symbol(NDArrayOperatorsMixin):
    """What the two kinds of symbols share: NumPy hands its functions over to them."""

    tape: Tape

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, out: Any = None, **options: Any) -> Any:
        name = "divide" if ufunc.__name__ == "true_divide" else ufunc.__name__
        if method != "__call__" or options:
            raise CannotRecord(f"numpy.{ufunc.__name__}.{method} with {sorted(options)} is no function by numbers")
        target = None if out is None else out[0]
        if ufunc is np.matmul:
            return self._product(inputs[0], inputs[1], target)
        if name not in FUNCTIONS:
            raise CannotRecord(f"numpy.{name} is not among {', '.join(FUNCTIONS)}")
        return self.tape.apply(name, inputs, target)

    def __array_function__(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        if func is np.copyto and len(args) == 2 and not kwargs:
            args[0][...] = args[1]
            return None
        raise CannotRecord(f"numpy.{func.__name__} is not among {', '.join(FUNCTIONS)}")

    def __array__(self, *args: Any, **kwargs: Any) -> Any:
        raise CannotRecord("a step looks at the numbers in its arrays; a program only has their places")

    def _product(self, matrix: Any, operand: Any, out: Rows | None) -> Rows:
        if not isinstance(matrix, Weight) or not isinstance(operand, Rows):
            raise CannotRecord("a product: expected a parameter from the left and an array of the step from the right")
        rows, columns = matrix.shape
        if columns != operand.block.rows:
            raise CannotRecord(f"a product of {matrix.shape} with {operand.block.rows} rows does not fit")
        out = self.tape.temporary(rows) if out is None else out
        self.tape.statements.append(Product(matrix.matrix, operand.block, out.block))
        return out


class Rows(_Symbol):
    """Rows of a buffer, one column a sequence that is running: (rows, b)."""

    def __init__(self, tape: Tape, block: Block) -> None:
        self.tape, self.block = tape, block

    def __len__(self) -> int:
        return self.block.rows

    def __getitem__(self, index: Any) -> Rows:
        if index is Ellipsis:
            return self
        start, stop = _range(index, self.block.rows)
        return Rows(self.tape, Block(self.block.name, self.block.start + start, stop - start))

    def __setitem__(self, index: Any, value: Any) -> None:
        target = self[index]
        if not (isinstance(value, Rows) and value.block == target.block):  # as `x[...] += y` hands x back
            self.tape.apply("copy", (value,), target)


class Weight(_Symbol):
    """Rows of a parameter; a vector's become a column by `[:, None]`."""

    def __init__(self, tape: Tape, matrix: Matrix, is_vector: bool, is_column: bool = False) -> None:
        self.tape, self.matrix, self.is_vector, self.is_column = tape, matrix, is_vector, is_column

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape as the cell sees it."""
        rows, columns = self.matrix.rows, self.matrix.columns
        if self.is_vector and not self.is_column:
            return (rows,)
        return (columns, rows) if self.matrix.transposed else (rows, columns)

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def T(self) -> Weight:
        """The transposed matrix."""
        flipped = self.matrix._replace(transposed=not self.matrix.transposed)
        return Weight(self.tape, flipped, self.is_vector, self.is_column)

    def __getitem__(self, index: Any) -> Weight:
        index, column = (index[0], True) if isinstance(index, tuple) and index[1:] == (None,) else (index, False)
        if self.matrix.transposed or self.is_column or column != (column and self.is_vector):
            raise CannotRecord("of a parameter, expected rows p[a:b], and of a vector the column p[a:b, None]")
        start, stop = _range(index, self.matrix.rows)
        part = self.matrix._replace(start=self.matrix.start + start, rows=stop - start)
        return Weight(self.tape, part, self.is_vector, column)


def _range(index: Any, rows: int) -> tuple[int, int]:
    if not isinstance(index, slice) or index.step not in (None, 1):
        raise CannotRecord(f"an index {index!r}: expected a range of rows")
    start, stop, _ = index.indices(rows)
    return start, stop


#: What a program can compute number by number, as CUDA and C++ write it; `{0}` is the first operand.
FUNCTIONS: dict[str, str] = {
    "copy": "{0}",
    "add": "{0} + {1}",
    "subtract": "{0} - {1}",
    "multiply": "{0} * {1}",
    "divide": "{0} / {1}",
    "negative": "-{0}",
    "square": "{0} * {0}",
    "reciprocal": "T(1) / {0}",
    **{name: f"{name}({{0}})" for name in ("tanh", "exp", "log", "sqrt")},
    "absolute": "fabs({0})",
    "maximum": "({0} >= {1} || {0} != {0} ? {0} : {1})",  # NaN stays NaN, as in NumPy
    "minimum": "({0} <= {1} || {0} != {0} ? {0} : {1})",
}
