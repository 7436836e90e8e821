"""The loop over time on the GPU, for `rnncore.kernels.Fused`: it fills the same Trace as the loop of the engine.

What the engine does around each step is part of the step's kernel here, or of one launch for all steps: the bias is
added and the gradient from outside taken up by the fused kernel, gradients of pre-activations are written to their
place in `trace.da`, and outputs become rows in one launch at the end.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from itertools import groupby
from typing import TYPE_CHECKING, Any

from rnncore.array import Array, is_on_gpu
from rnncore.kernels import layout, persistent
from rnncore.kernels.copies import aligned
from rnncore.kernels.record import Kind
from rnncore.trace import Trace
from rnncore.views import Slabs

if TYPE_CHECKING:
    from rnncore.kernels.fused import Fused


def forward_loop(cell: Fused, p: Mapping[str, Array], trace: Trace) -> None:
    """Fill `trace` from `trace.x` and the initial states."""
    from rnncore.kernels.fused import kind_of_noise, step_views

    x = layout.input_rows(trace, cell.workspace(trace.dtype))  # a graph reads from an address that does not change
    kind, width = Kind(whole=True, **kind_of_noise(cell, trace.noise)), aligned(trace.packing.batch)
    first = step_views(cell, trace.now[0], (), trace.noise)

    def launch() -> None:
        _input_products(cell, p["W"], x, trace)
        if cell.persistent:
            persistent.run(cell, p, trace, cell.program(p, trace.sizes[cell.gates[0]], kind, adds=True))
        else:
            cell.begin(p, trace.now[0], kind, first, width)
            for t, now in enumerate(trace.now):
                cell.launch(p, now, kind, step_views(cell, now, (), trace.noise, t), width)

    _run(cell, launch, ("forward", kind, *_fixed(p, trace), x.data.ptr), graph=not cell.persistent)
    layout.rows_from_slabs(trace, trace.now[0].next[0], trace.state_rows[trace.packing.batch :])


def backward_loop(
    cell: Fused,
    p: Mapping[str, Array],
    trace: Trace,
    rows: Array | None,
    dstate: tuple[Array, ...],
    reaching: list[Slabs] | None,
) -> None:
    """Fill `trace.da`, and turn `dstate` into the gradients of the initial states.

    rows : (N, H) the gradient of the outputs from outside, or None. reaching : for every state where its gradient at
        each step is kept, or None.
    """
    back = _Backward(cell, trace, rows, dstate, reaching)

    def launch() -> None:
        cell.begin(p, trace.now[0], back.kind, {}, back.width)
        for t in reversed(range(len(trace.now))):
            cell.launch(p, trace.now[t], back.kind, back.views(t), back.width)

    _run(cell, launch, ("backward", back.kind, *_fixed(p, trace), *back.addresses()), graph=True)
    back.finish(dstate)


class _Backward:
    """What the steps of a loop backward work on, each at a place that a graph may know.

    kind : of the steps. width : columns of copies in bfloat16.
    """

    def __init__(
        self,
        cell: Fused,
        trace: Trace,
        rows: Array | None,
        dstate: tuple[Array, ...],
        reaching: list[Slabs] | None,
    ) -> None:
        from rnncore.kernels.fused import kind_of_noise

        memory, self.padded = cell.workspace(trace.dtype), layout.is_padded(trace)
        self.cell, self.trace, self.reaching, self.rows = cell, trace, reaching or [], len(trace.da)
        self.before, self.width = layout.columns_before(trace), aligned(trace.packing.batch)
        self.da = memory.take("padded da", self.rows * self.before[-1]) if self.padded else trace.da
        self.dstate = tuple(memory.take(f"dstate {k}", len(d), trace.packing.batch) for k, d in enumerate(dstate))
        for mine, d in zip(self.dstate, dstate, strict=True):
            mine[...] = 0 if self.padded else d  # padded, they arrive at every sequence's own last step
        arrives = (rows is not None or self.padded, *(self.padded for _ in dstate[1:]))
        self.upstream = {
            k: layout.gradient_slabs(trace, memory, k, None if k else rows, dstate[k] if self.padded else None)
            for k, wanted in enumerate(arrives)
            if wanted
        }
        kept, noise = (True,) * len(self.reaching), kind_of_noise(cell, trace.noise)
        self.kind = Kind(True, keeps=kept, whole=True, arrives=arrives, **noise)

    def views(self, t: int) -> dict[str, Array]:
        """Return the buffers of a step by the names of `record`."""
        from rnncore.kernels.fused import step_views

        here, b = slice(self.before[t], self.before[t + 1]), self.trace.widths[t]
        da = _slab(self.da, self.rows, here) if self.padded else self.da[:, here]
        now = self.trace.now[t]._replace(da=da, reaching=tuple(slabs[t] for slabs in self.reaching))
        views = step_views(self.cell, now, tuple(d[:, :b] for d in self.dstate), self.trace.noise, t)
        for k, slabs in self.upstream.items():
            views[f"upstream {self.cell.state[k]}"] = _slab(slabs, len(self.dstate[k]), here)
        return views

    def addresses(self) -> Iterator[int]:
        """Yield where all of it is."""
        kept = (slabs[0] for slabs in self.reaching)
        yield from (a.data.ptr for a in (*self.upstream.values(), self.da, *self.dstate, *kept))

    def finish(self, dstate: tuple[Array, ...]) -> None:
        """Fill `dstate`, and `trace.da` if the loop has filled another."""
        running = self.trace.packing.batch_sizes[0]
        for mine, d in zip(self.dstate, dstate, strict=True):
            d[:, :running] = mine[:, :running]  # a sequence without steps hands on what it was given
        if self.padded:
            layout.columns_from_slabs(self.trace, self.da, self.trace.da)


def _slab(slabs: Array, rows: int, columns: slice) -> Array:
    """Return the slab (rows, w) of these columns, where slabs lie end to end."""
    flat = slabs[columns.start * rows : columns.stop * rows]
    view: Array = flat.reshape(rows, columns.stop - columns.start)
    return view


def _run(cell: Fused, launch: Any, key: tuple[Hashable, ...], graph: bool) -> None:
    """Launch the loop, as a graph if that is wanted; a persistent kernel is one launch as it is."""
    if cell.graph and graph:
        cell.graphs.run(key, launch, cell.memory.values())
    else:
        launch()


def _fixed(p: Mapping[str, Array], trace: Trace) -> Iterator[Hashable]:
    """Yield the sizes of a pass, and the address of all that it reads and writes."""
    first = trace.now[0]
    yield from (trace.hidden, trace.dtype, trace.widths)
    yield from (a.data.ptr for a in (*p.values(), first.a, first.scratch, *first.prev, *first.next, *first.saved))
    if trace.noise is not None:
        steps = [*trace.noise.zones.values(), *trace.noise.proposed.values(), trace.noise.mask, trace.noise.recalled]
        yield from (each[0].data.ptr for each in steps if each and is_on_gpu(each[0]))


def _input_products(cell: Fused, W: Array, x: Array, trace: Trace) -> None:
    """Set `a` at every step to W x_t: one product for all successive steps at which as many sequences run."""
    blas, before = cell.blas(x), layout.columns_before(trace)
    for b, steps in groupby(range(len(trace.now)), key=lambda t: trace.widths[t]):
        first, *rest = steps
        count = 1 + len(rest)
        begin, end = before[first], before[first + count]
        blas.input_products(W, x[begin:end].reshape(count, b, x.shape[1]), trace.now[first].a)
