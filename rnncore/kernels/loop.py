"""The loop over time on the GPU, for `rnncore.kernels.Fused`: it fills the same Trace as the loop of the engine.

What the engine does around each step is part of the step's kernel here, or of one launch for all steps: the bias is
added and the gradient from outside taken up by the fused kernel, gradients of pre-activations are written to their
place in `trace.da`, and outputs become rows in one launch at the end.
"""

from __future__ import annotations

import sys
from collections.abc import Hashable, Iterator, Mapping
from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np

from rnncore.array import Array, is_on_gpu
from rnncore.kernels import persistent
from rnncore.kernels.copies import aligned
from rnncore.kernels.launch import layout_kernels, shape_of
from rnncore.kernels.record import Kind
from rnncore.packing import Packing
from rnncore.trace import Trace

if TYPE_CHECKING:
    from rnncore.kernels.fused import Fused


def forward_loop(cell: Fused, p: Mapping[str, Array], trace: Trace) -> None:
    """Fill `trace` from `trace.x` and the initial states."""
    from rnncore.kernels.fused import kind_of_noise, step_views

    memory = cell.workspace(trace.dtype)
    x = memory.take("x", *trace.x.shape)
    x[...] = trace.x  # a graph reads from an address that does not change
    kind, width = Kind(whole=True, **kind_of_noise(cell, trace.noise)), aligned(trace.packing.batch)
    first = step_views(cell, trace.now[0], (), trace.noise)

    def launch() -> None:
        _input_products(cell, p["W"], x, trace)
        if cell.persistent:
            persistent.run(cell, p, trace, cell.program(p, trace.now[0], kind))
        else:
            cell.begin(p, trace.now[0], kind, first, width)
            for t, now in enumerate(trace.now):
                cell.launch(p, now, kind, step_views(cell, now, (), trace.noise, t), width)
        _rows_from_slabs(trace.packing, trace.now[0].next[0], trace.state_rows[trace.packing.batch :])

    _run(cell, launch, ("forward", kind, *_fixed(p, trace), x.data.ptr), graph=not cell.persistent)


def backward_loop(
    cell: Fused,
    p: Mapping[str, Array],
    trace: Trace,
    rows: Array | None,
    dstate: tuple[Array, ...],
    reaching: list[list[Array]] | None,
) -> None:
    """Fill `trace.da`, and turn `dstate` into the gradients of the initial states.

    rows : (N, H) the gradient of the outputs from outside, or None. reaching : for every state where its gradient at
        each step is kept, or None.
    """
    from rnncore.kernels.fused import kind_of_noise, step_views

    memory, packing = cell.workspace(trace.dtype), trace.packing
    upstream = None
    if rows is not None:
        upstream = memory.take("upstream", rows.size)
        _slabs_from_rows(packing, upstream, rows)
    working = tuple(memory.take(f"dstate {k}", *d.shape) for k, d in enumerate(dstate))
    for mine, d in zip(working, dstate, strict=True):
        mine[...] = d
    kept, noise = (True,) * len(reaching or ()), kind_of_noise(cell, trace.noise)
    kind = Kind(True, keeps=kept, whole=True, arrives=rows is not None, **noise)

    width = aligned(packing.batch)

    def launch() -> None:
        cell.begin(p, trace.now[0], kind, {}, width)
        for t in reversed(range(len(trace.now))):
            now, here = trace.now[t], slice(packing.offsets[t], packing.offsets[t + 1])
            now = now._replace(da=trace.da[:, here], reaching=tuple(slabs[t] for slabs in reaching or ()))
            b = packing.batch_sizes[t]
            views = step_views(cell, now, tuple(d[:, :b] for d in working), trace.noise, t)
            if upstream is not None:
                size = len(working[0])
                views["upstream"] = upstream[here.start * size : here.stop * size].reshape(size, b)
            cell.launch(p, now, kind, views, width)

    first = [slabs[0] for slabs in reaching or ()]
    addresses = [None if a is None else a.data.ptr for a in (upstream, trace.da, *working, *first)]
    _run(cell, launch, ("backward", kind, *_fixed(p, trace), *addresses), graph=True)
    for mine, d in zip(working, dstate, strict=True):
        d[...] = mine


def _run(cell: Fused, launch: Any, key: tuple[Hashable, ...], graph: bool) -> None:
    """Launch the loop, as a graph if that is wanted; a persistent kernel is one launch as it is."""
    if cell.graph and graph:
        cell.graphs.run(key, launch, cell.memory.values())
    else:
        launch()


def _fixed(p: Mapping[str, Array], trace: Trace) -> Iterator[Hashable]:
    """Yield the sizes of a pass, and the address of all that it reads and writes."""
    first = trace.now[0]
    yield from (trace.hidden, trace.dtype, trace.packing.batch_sizes)
    yield from (a.data.ptr for a in (*p.values(), first.a, first.scratch, *first.prev, *first.next, *first.saved))
    yield trace.state_rows.data.ptr
    if trace.noise is not None:
        steps = [*trace.noise.zones.values(), *trace.noise.proposed.values(), trace.noise.mask, trace.noise.recalled]
        yield from (each[0].data.ptr for each in steps if each and is_on_gpu(each[0]))


def _input_products(cell: Fused, W: Array, x: Array, trace: Trace) -> None:
    """Set `a` at every step to W x_t: one product for all successive steps at which as many sequences run."""
    blas, offsets = cell.blas(x), trace.packing.offsets
    for b, steps in groupby(range(len(trace.now)), key=lambda t: trace.packing.batch_sizes[t]):
        first, *rest = steps
        count = 1 + len(rest)
        begin, end = offsets[first], offsets[first + count]
        blas.input_products(W, x[begin:end].reshape(count, b, x.shape[1]), trace.now[first].a)


def _rows_from_slabs(packing: Packing, slabs: Array, rows: Array) -> None:
    """Fill rows (N, H) from the slabs that lie end to end from the first on."""
    to_rows, _ = layout_kernels(rows.dtype)
    to_rows(*shape_of(rows.size), (*_arguments(packing, rows), slabs, rows))


def _slabs_from_rows(packing: Packing, slabs: Array, rows: Array) -> None:
    _, to_slabs = layout_kernels(rows.dtype)
    rows = sys.modules["cupy"].ascontiguousarray(rows)
    to_slabs(*shape_of(rows.size), (*_arguments(packing, rows), slabs, rows))


def _arguments(packing: Packing, rows: Array) -> tuple[Any, ...]:
    places = (packing.index(name, rows) for name in ("slab_of_row", "width_of_row", "column_of_row"))
    return (np.int32(len(rows)), np.int32(rows.shape[1]), *places)
