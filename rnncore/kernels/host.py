"""The steps of a pass on the processor, for `rnncore.kernels.Fused`: products of NumPy, and compiled kernels between.

What a step calls, and with which arrays and addresses, is prepared once for a layout of the Trace: a step is then two
to four calls. It fills the same Trace as the cell's own functions, in the engine's loop.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import repeat
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from rnncore.array import Array, swap_axes
from rnncore.cells.base import Weights
from rnncore.kernels.program import Kernel, Program, columns_of
from rnncore.kernels.record import Kind
from rnncore.kernels.symbols import Product
from rnncore.steps import InputProducts
from rnncore.trace import Trace
from rnncore.views import Run, Slabs, address

if TYPE_CHECKING:
    from rnncore.kernels.fused import Fused

#: A function and its arguments.
Call = tuple[Callable[..., Any], tuple[Any, ...]]


class Forward:
    """As `rnncore.steps.Forward`."""

    def __init__(self, cell: Fused, p: Weights, trace: Trace, noise: dict[str, Any]) -> None:
        self.cell, self.p, self.trace, self.noise = cell, p, trace, noise
        self.inputs = InputProducts(p["W"], trace)
        self.calls: list[tuple[Call, ...]] = []
        self.single: list[tuple[Call, ...]] = []

    def __call__(self, run: Run, output: Array) -> None:
        """Run the steps of `run`."""
        self.inputs.compute(run)
        if not self.calls:  # the products' memory is where it will be
            self.calls = self._prepared(apart=True)
        for t in run.steps:
            for function, arguments in self.calls[t]:
                function(*arguments)
        swap_axes(run.output[:, :, : run.batch], output)

    def step(self, t: int) -> None:
        """Run step t, whose `a` holds W x + b already."""
        if not self.single:
            self.single = self._prepared(apart=False)
        for function, arguments in self.single[t]:
            function(*arguments)

    def _prepared(self, apart: bool) -> list[tuple[Call, ...]]:
        buffers = Buffers(self.cell, self.trace, input=self.inputs if apart else None)
        return prepared(self.cell, self.p, self.trace, Kind(whole=apart, apart=apart, **self.noise), buffers)


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
        self.units = trace.sizes[cell.state[0]]
        longest = max((run.rows.stop - run.rows.start for run in trace.runs), default=0)
        self.upstream = trace.take("upstream", self.units * longest) if arrives else None
        buffers = Buffers(cell, trace, dstate, self.upstream, reaching)
        self.calls = prepared(cell, p, trace, kind, buffers)

    def __call__(self, run: Run, upstream: Array | None) -> None:
        """Run the steps of `run`."""
        if upstream is not None and self.upstream is not None:
            k, b = upstream.shape[:2]
            swap_axes(upstream, self.upstream[: k * b * self.units].reshape(k, self.units, b))
        for t in reversed(run.steps):
            for function, arguments in self.calls[t]:
                function(*arguments)


class Places(NamedTuple):
    """Where a buffer is at every step: addresses, leading sizes, and the arrays themselves, (rows, w) each."""

    addresses: Sequence[int]
    leading: Sequence[int]
    arrays: Sequence[Array]


class Buffers:
    """The buffers of a step by the names of `rnncore.kernels.record`."""

    def __init__(
        self,
        cell: Fused,
        trace: Trace,
        dstate: tuple[Array, ...] = (),
        upstream: Array | None = None,
        reaching: list[Slabs] | None = None,
        input: InputProducts | None = None,
    ) -> None:
        self.cell, self.trace, self.widths = cell, trace, trace.widths
        self.dstate, self.upstream, self.reaching, self.input = dstate, upstream, reaching, input
        self.temporaries: dict[str, Array] = {}
        self.backward = bool(dstate)
        self.size = trace.dtype.itemsize

    @property
    def columns(self) -> Sequence[int]:
        """How many columns a kernel works on at every step.

        Backward none of nobody's, since `da` has the next step's there. What products make of those is finite, and
        goes into columns of states that are set before anyone reads them.
        """
        return self.trace.packing.batch_sizes if self.backward else self.widths

    def addresses(self) -> tuple[int, ...]:
        """Return where those are that may lie elsewhere in another pass of the same layout."""
        found = [*self.dstate, *self.temporaries.values()]
        found += [] if self.upstream is None else [self.upstream]
        found += [self.trace.gradient_of_step(0)] if self.backward else []
        found += [] if self.input is None else [self.input.buffer(self.input.chunks[0])]
        return tuple(address(a) for a in (*found, *(slabs[0] for slabs in self.reaching or ())))

    def take(self, program: Program) -> None:
        """Take memory for what a program needs beside the buffers of a step."""
        most = max(self.widths, default=0)
        for name, rows in program.temporaries.items():
            self.temporaries[name] = self.trace.take(name, rows * most)

    def __getitem__(self, name: str) -> Places:
        what, _, which = name.partition(" ")
        if name in self.temporaries:
            return self._again(self.temporaries[name])
        found: Places = getattr(self, f"_{what}")(which or name)
        return found

    def _a(self, name: str) -> Places:
        slabs = self.trace.where(name)
        return Places(slabs.addresses, slabs.columns, slabs)

    def _saved(self, name: str) -> Places:
        return self._a(name)

    def _prev(self, name: str) -> Places:
        slabs = self.trace.where(name)
        return Places(slabs.addresses, slabs.columns, [s[:, :w] for s, w in zip(slabs, self.widths, strict=False)])

    def _next(self, name: str) -> Places:
        slabs = self.trace.where(name)
        return Places(slabs.addresses[1:], slabs.columns[1:], slabs[1:])

    def _scratch(self, name: str) -> Places:
        return self._again(self.trace.now[0].scratch.reshape(-1), [now.scratch for now in self.trace.now])

    def _again(self, memory: Array, arrays: Sequence[Array] | None = None) -> Places:
        """Of memory that every step uses again, as wide as the step."""
        if arrays is None:
            rows = len(memory) // max(self.widths)
            arrays = [memory[: rows * w].reshape(rows, w) for w in self.widths]
        return Places([address(memory)] * len(self.widths), self.widths, arrays)

    def _input(self, name: str) -> Places:
        assert self.input is not None
        addresses: list[int] = []
        leading: list[int] = []
        offsets, steps = self.trace.packing.offsets, iter(range(len(self.widths)))
        for chunk in self.input.chunks:
            buffer = self.input.buffer(chunk)
            first, ld = address(buffer) - self._column(buffer) * chunk.start, self._leading(buffer)
            for t in steps:
                addresses.append(first + self._column(buffer) * offsets[t])
                leading.append(ld)
                if offsets[t + 1] == chunk.stop:
                    break
        return Places(addresses, leading, ())

    def _da(self, name: str) -> Places:
        views = [self.trace.gradient_of_step(t) for t in range(len(self.widths))]
        first, step, offsets = address(views[0]), self._column(views[0]), self.trace.packing.offsets
        return Places([first + step * n for n in offsets[:-1]], [self._leading(views[0])] * len(views), views)

    def _column(self, a: Array) -> int:
        """How far its columns lie apart, in bytes."""
        step: int = a.strides[1]
        return step

    def _leading(self, a: Array) -> int:
        """How far its rows lie apart, in numbers."""
        rows: int = a.strides[0] // self.size
        return rows

    def _upstream(self, name: str) -> Places:
        assert self.upstream is not None
        first, units = address(self.upstream), self.trace.sizes[name]
        addresses = [
            first + self.size * units * run.batch * k for run in self.trace.runs for k in range(len(run.steps))
        ]
        return Places(addresses, self.trace.packing.batch_sizes, ())

    def _dstate(self, name: str) -> Places:
        d = self.dstate[self.cell.state.index(name)]
        views = {w: d[:, :w] for w in set(self.widths)}
        return Places([address(d)] * len(self.widths), [d.shape[1]] * len(self.widths), [views[w] for w in self.widths])

    def _reaching(self, name: str) -> Places:
        assert self.reaching is not None
        slabs = self.reaching[self.cell.state.index(name)]
        return Places(slabs.addresses, slabs.columns, slabs)

    def _recalled(self, name: str) -> Places:
        return self._listed(self.trace.noise.recalled)  # type: ignore[union-attr]

    def _mask(self, name: str) -> Places:
        return self._listed(self.trace.noise.mask)  # type: ignore[union-attr, arg-type]

    def _zones(self, name: str) -> Places:
        return self._listed(self.trace.noise.zones[self.cell.state.index(name)])  # type: ignore[union-attr]

    def _proposed(self, name: str) -> Places:
        return self._listed(self.trace.noise.proposed[self.cell.state.index(name)])  # type: ignore[union-attr]

    def _listed(self, arrays: Sequence[Array]) -> Places:
        return Places([address(a) for a in arrays], [self._leading(a) for a in arrays], arrays)


def prepared(cell: Fused, p: Weights, trace: Trace, kind: Kind, buffers: Buffers) -> list[tuple[Call, ...]]:
    """Return the calls of every step, which are those of the pass before where all lies where it lay then."""
    if not trace.now:
        return []
    program = cell.program(p, trace.now[0], kind, trace.kept)
    buffers.take(program)
    key = (id(program), *((address(a), a.strides) for a in p.values()), *buffers.addresses())
    compiled = cell.functions(program, kind, trace.dtype)
    found: _Calls = trace.prepare(key, lambda: _Calls(program, compiled, p, buffers))
    return found.steps


class _Calls:
    """The calls of every step, and the tables of arguments that they point into."""

    def __init__(
        self, program: Program, functions: Sequence[Callable[[int], None]], p: Weights, buffers: Buffers
    ) -> None:
        self.p, self.buffers, self.count = p, buffers, len(buffers.widths)
        self.tables: list[Array] = []
        self.places: dict[str, Places] = {}
        stages, kernels = [], iter(functions)
        for stage in program.stages:
            for name in stage.buffers if isinstance(stage, Kernel) else (stage.operand.name, stage.out.name):
                self.places[name] = self.places.get(name) or buffers[name]
            stages.append(self._kernel(stage, next(kernels)) if isinstance(stage, Kernel) else self._product(stage))
        self.steps: list[tuple[Call, ...]] = list(zip(*stages, strict=True))

    def _product(self, product: Product) -> list[Call]:
        m, operand, out = product.matrix, product.operand, product.out
        A = self.p[m.name][m.start : m.start + m.rows]
        A = A.T if m.transposed else A
        read, written = (slice(x.start, x.start + x.rows) for x in (operand, out))
        pairs = zip(self.places[operand.name].arrays, self.places[out.name].arrays, strict=False)
        return [_product_call(A, B[read], C[written]) for B, C in pairs]

    def _kernel(self, kernel: Kernel, function: Callable[[int], None]) -> list[Call]:
        behind = 3 + 2 * len(kernel.buffers)
        table = np.empty((self.count, behind + len(kernel.columns)), np.int64)
        table[:, 0], table[:, 1] = kernel.rows, self.buffers.columns
        for k, name in enumerate(kernel.buffers):
            table[:, 3 + 2 * k] = self.places[name].addresses[: self.count]
            table[:, 4 + 2 * k] = self.places[name].leading[: self.count]
        for k, column in enumerate(columns_of(kernel, self.p)):
            table[:, behind + k] = address(column)
        b = table[:, 1]
        whole = (table[:, 4:behind:2] == b[:, None]).all(axis=1) & kernel.is_blockwise
        whole &= (b == 1) | (not kernel.columns)
        table[:, 2] = whole
        table[whole, 0] *= b[whole]
        self.tables.append(table)
        first, step = address(table), table.strides[0]
        return list(zip(repeat(function), ((first + step * t,) for t in range(self.count)), strict=False))


def _product_call(A: Array, B: Array, out: Array) -> Call:
    """Return the quicker call of NumPy's two: `dot` starts sooner, and copies what does not lie on end."""
    on_end = all(a.flags.forc for a in (A, B)) and out.flags.c_contiguous
    return (np.dot if on_end else np.matmul, (A, B, out))
