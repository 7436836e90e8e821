"""The steps of a pass on the processor, for `rnncore.kernels.Fused`: compiled kernels and products, on all cores.

Where everything lies at every step is found out once for a layout of the Trace, and holds for all passes with the same
parameters: a run of steps is then one call. It fills the same Trace as the cell's own functions, in the engine's loop.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from rnncore.array import Array, by_columns
from rnncore.cells.base import Weights
from rnncore.kernels.cores import Parts, Plan, Stage, product_of, threads, transpose_of
from rnncore.kernels.places import Buffers
from rnncore.kernels.processor import HEAD
from rnncore.kernels.program import Kernel, columns_of
from rnncore.kernels.record import Kind
from rnncore.kernels.symbols import Product
from rnncore.steps import InputProducts
from rnncore.trace import Trace
from rnncore.views import FEW, Run, Slabs, address

if TYPE_CHECKING:
    from rnncore.kernels.fused import Fused


#: Of a product's arguments, where B is and how far its columns lie apart; and the matrix that inputs are multiplied by.
OPERAND, AROUND, INPUT = 5, 9, ("W", False)

#: Of a transposition's arguments, where X is and how far its rows lie apart.
TURNED, APART = 2, 3


class Forward:
    """As `rnncore.steps.Forward`."""

    def __init__(self, cell: Fused, p: Weights, trace: Trace, noise: dict[str, Any]) -> None:
        self.cell, self.p, self.trace, self.noise = cell, p, trace, noise

    @cached_property
    def inputs(self) -> InputProducts:
        """What arrives at the steps of a pass."""
        return InputProducts(self.p["W"], self.trace)

    def __call__(self, run: Run) -> None:
        """Run the steps of `run`."""
        self.inputs.compute(run)
        self.together.plan.run(run.steps)

    def step(self, t: int, x: Array) -> None:
        """Run step t alone."""
        self.alone.copy_weights()  # which may have changed
        x = np.ascontiguousarray(x)
        self.alone.plan.stages[0].rows[:, t, OPERAND] = address(x)
        if self.trace.packing.batch > FEW:
            self.alone.plan.narrow(len(x), self.trace.widths[t])
        self.alone.plan.run(range(t, t + 1))

    @cached_property
    def together(self) -> Prepared:
        """The steps of a pass."""
        return self._prepared(alone=False)

    @cached_property
    def alone(self) -> Prepared:
        """Steps that come alone."""
        return self._prepared(alone=True)

    def _prepared(self, alone: bool) -> Prepared:
        buffers = Buffers(self.cell, self.trace, input=self.inputs, alone=alone)
        return prepared(self.p, Kind(whole=True, apart=True, **self.noise), buffers)


class Backward:
    """As `rnncore.steps.Backward`."""

    def __init__(
        self,
        cell: Fused,
        p: Weights,
        trace: Trace,
        dstate: tuple[Array, ...],
        arrives: bool,
        reaching: list[Slabs] | None,
        noise: dict[str, Any],
    ) -> None:
        kept = () if reaching is None else (True,) * len(reaching)
        kind = Kind(True, keeps=kept, whole=True, arrives=(arrives,), **noise)
        upstream = trace.take("upstream", trace.sizes[cell.state[0]], trace.packing.batch) if arrives else None
        buffers = Buffers(cell, trace, dstate, upstream, reaching)
        self.steps = prepared(p, kind, buffers) if trace.widths else None

    def __call__(self, run: Run, upstream: Array | None) -> None:
        """Run the steps of `run`."""
        assert self.steps is not None
        if upstream is not None:
            if upstream.strides[2] != upstream.itemsize or upstream.strides[1] % upstream.itemsize:
                upstream = np.ascontiguousarray(upstream)
            first = self.steps.plan.stages[0].rows[:, run.steps.start : run.steps.stop]
            first[..., TURNED] = address(upstream) + upstream.strides[0] * np.arange(len(upstream))
            first[..., APART] = upstream.strides[1] // upstream.itemsize
        self.steps.plan.run(run.steps[::-1])


class Prepared(NamedTuple):
    """The plan of all steps of a layout with the same parameters, and of what it takes copies: (A, where it goes)."""

    plan: Plan
    copies: list[tuple[Array, Array]]

    def copy_weights(self) -> None:
        """Make the copies anew."""
        for A, out in self.copies:
            by_columns(A, out)


def prepared(p: Weights, kind: Kind, buffers: Buffers) -> Prepared:
    """Return the steps of a kind, as the pass before had them where it can."""
    key = kind, buffers.alone, threads()
    found: Prepared = buffers.trace.prepare(key, p, lambda: _made(p, kind, buffers))
    found.copy_weights()
    return found


def _made(p: Weights, kind: Kind, buffers: Buffers) -> Prepared:
    cell, trace, copies = buffers.cell, buffers.trace, []
    program = cell.program(p, trace.sizes[cell.gates[0]], kind, adds=False, keeps=trace.kept)
    buffers.take(program)
    matrices: dict[tuple[str, bool], Array] = dict.fromkeys([INPUT] if buffers.alone else [])
    matrices |= dict.fromkeys((product.matrix.name, product.matrix.transposed) for product in program.products)
    for name, transposed in matrices:
        A = p[name].T if transposed else p[name]
        if A.strides[1] != A.itemsize:  # rows whose numbers do not lie on end
            copies.append((A.T, trace.take(f"{name} {transposed}", *A.shape)))
            A = copies[-1][1]
        matrices[name, transposed] = A
    parts = Parts(sum(A.size for A in matrices.values()) * buffers.widths)
    make, kernels = _Stages(parts, p, matrices, buffers), iter(cell.functions(program, kind, trace.dtype))
    stages = [make.input()] if buffers.alone else [make.arriving()] if buffers.upstream is not None else []
    stages += [make.kernel(s, next(kernels)) if isinstance(s, Kernel) else make.product(s) for s in program.stages]
    stages += [] if kind.backward or buffers.alone else [make.output()]
    return Prepared(Plan(stages, parts), copies)


class _Stages:
    """The stages of a program as tables of arguments."""

    def __init__(self, parts: Parts, p: Weights, matrices: dict[tuple[str, bool], Array], buffers: Buffers) -> None:
        self.parts, self.p, self.matrices, self.buffers = parts, p, matrices, buffers
        self.columns, self.widths = buffers.columns, buffers.widths
        self.size, self.count = buffers.size, len(buffers.widths)
        self._places: dict[str, tuple[Array, Array]] = {}

    def input(self) -> Stage:
        """Return the product with W of inputs (B, D) that are somewhere else at every step."""
        stage = self._product(self.matrices[INPUT], (0, 1), self._place("input"))
        stage.rows[..., 1], stage.rows[..., AROUND] = self.buffers.running, stage.rows[..., 2]
        return stage._replace(wide=False)  # x has no more rows

    def output(self) -> Stage:
        """Return what turns the columns of the output into rows."""
        trace, (where, leading) = self.buffers.trace, self._place(f"next {self.buffers.cell.state[0]}")
        rows = trace.packing.batch + trace.packing.offset_of_step
        units, first, last = self._units()
        to = address(trace.state_rows) + self.size * (units * rows + first)
        x = where + self.size * first * leading
        return self._stage(transpose_of, last - first, self.buffers.running, x, leading, to, units, 0)

    def arriving(self) -> Stage:
        """Return what turns the rows that arrive from outside, at another place in every pass, into columns."""
        (where, leading), (_, first, last) = self._place(f"upstream {self.buffers.cell.state[0]}"), self._units()
        y = where + self.size * first * leading
        return self._stage(transpose_of, self.buffers.running, last - first, 0, 0, y, leading, first)

    def _units(self) -> tuple[int, Array, Array]:
        """Return H of the output, and which units each part has at every step."""
        units = self.buffers.trace.sizes[self.buffers.cell.state[0]]
        return units, *self.parts.of(np.full(self.count, units))

    def _stage(self, function_of: Callable[[np.dtype[Any]], int], *arguments: Any) -> Stage:
        """Return a function's, whose arguments are (P, T) each, or the same for all parts or steps."""
        table = np.empty((self.parts.most, self.count, len(arguments)), np.int64)
        for k, value in enumerate(arguments):
            table[..., k] = value
        return Stage(function_of(self.buffers.trace.dtype), table)

    def product(self, product: Product) -> Stage:
        """Return a product with a block of rows of a matrix."""
        m, operand, out = product.matrix, product.operand, product.out
        A, rows = self.matrices[m.name, m.transposed], slice(m.start, m.start + m.rows)
        A = A[:, rows] if m.transposed else A[rows]
        return self._product(A, self._place(operand.name, operand.start), self._place(out.name, out.start))

    def _product(self, A: Array, read: tuple[Any, Any], written: tuple[Any, Any]) -> Stage:
        lda, (to, ldc) = A.strides[0] // self.size, written
        first, last = self.parts.of(np.full(self.count, len(A)))
        rows = last - first, self.widths, A.shape[1], address(A) + first * lda * self.size, lda
        stage = self._stage(product_of, *rows, *read, to + first * ldc * self.size, ldc, 1)
        return stage._replace(wide=True)

    def kernel(self, kernel: Kernel, function: int) -> Stage:
        """Return a kernel's."""
        behind, b = HEAD + 2 * len(kernel.buffers), self.columns
        table = np.empty((self.parts.most, self.count, behind + len(kernel.columns)), np.int64)
        table[..., 0], table[..., 1] = kernel.rows, b
        for k, name in enumerate(kernel.buffers):
            table[..., HEAD + 2 * k], table[..., HEAD + 1 + 2 * k] = self._place(name)
        for k, column in enumerate(columns_of(kernel, self.p)):
            table[..., behind + k] = address(column)
        whole = (table[0, :, HEAD + 1 : behind : 2] == b[:, None]).all(axis=1) & kernel.is_blockwise
        whole &= (b == 1) | (not kernel.columns)
        whole &= not (self.buffers.alone and self.buffers.trace.packing.batch > FEW)  # which may be narrowed
        table[..., 2] = whole
        table[..., 0] *= np.where(whole, b, 1)
        table[..., 3], table[..., 4] = self.parts.of(table[0, :, 0])
        return Stage(function, table)

    def _place(self, name: str, start: int = 0) -> tuple[Array, Array]:
        """Return where rows of a buffer begin at every step from row `start` on, and the leading sizes."""
        if name not in self._places:
            found = self.buffers[name]
            self._places[name] = found.addresses[: self.count], found.leading[: self.count]
        where, leading = self._places[name]
        return where + start * self.size * leading, leading
