"""Between the packed rows of a batch and the slabs that a loop works on, for loops that are captured.

Lengths differ from batch to batch, and a graph has all sizes and addresses fixed. So either the slabs of step t have
b_t columns, and a graph serves batches of equal lengths; or every step has B columns, *padded*, and one graph serves
all lengths of a T and B. Then nothing that is padding reaches a number that is not: its inputs are zero, and so is
every gradient that arrives there. What is here is launched around the loop, and never part of a graph.
"""

from __future__ import annotations

import sys
from itertools import accumulate
from typing import Any

import numpy as np

from rnncore.array import Array, Workspace
from rnncore.kernels.launch import compiled, shape_of
from rnncore.kernels.source import LAYOUT, preamble
from rnncore.trace import Trace


def is_padded(trace: Trace) -> bool:
    """Whether every step has a column for every sequence, though some have ended."""
    return trace.widths != trace.packing.batch_sizes


def columns_before(trace: Trace) -> list[int]:
    """Return how many columns lie before each step's slab, and in all."""
    return [0, *accumulate(trace.widths)]


def input_rows(trace: Trace, memory: Workspace) -> Array:
    """Return a copy of `trace.x`, at a place that does not change, with a row for every column of every slab."""
    x = memory.take("x", sum(trace.widths), trace.x.shape[1])
    if is_padded(trace):
        x[...] = 0
        x[trace.packing.index("padded_row", x)] = trace.x
    else:
        x[...] = trace.x
    return x


def rows_from_slabs(trace: Trace, slabs: Array, rows: Array) -> None:
    """Fill rows (N, H) from the slabs (H, w_t) that lie end to end from the first on."""
    _launch("rows_from_slabs", trace, slabs, rows)


def columns_from_slabs(trace: Trace, slabs: Array, out: Array) -> None:
    """Fill columns (K, N), one a packed row, from the slabs (K, w_t) that lie end to end from the first on."""
    _launch("columns_from_slabs", trace, slabs, out)


def gradient_slabs(trace: Trace, memory: Workspace, k: int, rows: Array | None, last: Array | None) -> Array:
    """Return what arrives at state k from outside, as slabs end to end, at a place that does not change.

    rows : (N, H) at every step, or None. last : (H, B) at every sequence's own last step, for padded slabs, or None.
    """
    name = trace.cell.state[k]
    size = trace.sizes[name]
    slabs = memory.take(f"upstream {name}", sum(trace.widths) * size)
    if is_padded(trace):
        slabs[...] = 0
    if rows is not None:
        _launch("slabs_from_rows", trace, slabs, sys.modules["cupy"].ascontiguousarray(rows))
    if last is not None:
        whole = slabs.reshape(len(trace.now), size, trace.packing.batch)
        step, column = (trace.packing.index(which, slabs) for which in ("last_step", "last_column"))
        whole[step, :, column] += last[:, : len(step)].T
    return slabs


def _launch(kernel: str, trace: Trace, slabs: Array, rows: Array) -> None:
    """Launch a kernel between slabs and rows (N, K), or columns (K, N)."""
    names = ("rows_from_slabs", "slabs_from_rows", "columns_from_slabs")
    functions = dict(zip(names, compiled(preamble(rows.dtype) + LAYOUT, *names), strict=True))
    which = ("padded_slab_of_row", "padded_width_of_row") if is_padded(trace) else ("slab_of_row", "width_of_row")
    places: list[Any] = [trace.packing.index(name, rows) for name in (*which, "column_of_row")]
    count, units = rows.shape[::-1] if kernel == "columns_from_slabs" else rows.shape
    functions[kernel](*shape_of(rows.size), (np.int32(count), np.int32(units), *places, slabs, rows))
