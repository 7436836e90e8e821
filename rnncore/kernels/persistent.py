"""The whole loop forward as one kernel: U stays on the chip, each block of threads keeps the rows of its own units.

A product a step reads all of U from memory each time, and a step costs a launch. Here the grid stays: block k owns the
units from `k * units` on, holds their rows of U for all gates in shared memory, and computes their part of U h, their
gates and their states at every step. Between steps all blocks meet at a barrier, after which they read the h of all.
Sums are made in an order that depends on the sizes alone, so equal inputs give equal results.

It takes cells whose step is one product with the whole of U and one kernel after it (LSTM, GRU, RNN, peepholes and
most variants; not a GRU with reset before the product), up to 64 sequences, and as many units as fit: see `Limits`.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from rnncore.array import Array
from rnncore.kernels.launch import compiled
from rnncore.kernels.program import Kernel, Program, columns_of
from rnncore.kernels.source import body, identifier, preamble
from rnncore.kernels.symbols import CannotRecord, Product
from rnncore.trace import Trace

if TYPE_CHECKING:
    from rnncore.kernels.fused import Fused

THREADS, TILE, MOST_SEQUENCES = 512, 32, 64

SOURCE = """\
#ifndef SHARED
#define SHARED(type, name) extern __shared__ __align__(16) type name[]
#define WAIT
#endif

/* All blocks of the grid wait for one another; all of them must be running, which a cooperative launch sees to. */
static __device__ __forceinline__ void grid_barrier(unsigned* arrived, const unsigned blocks)
{{
    __syncthreads();
    if (threadIdx.x == 0) {{
        __threadfence();
        const unsigned target = (atomicAdd(arrived, 1u) / blocks + 1u) * blocks;
        while (*(volatile unsigned*)arrived < target) WAIT;
        __threadfence();
    }}
    __syncthreads();
}}

/* rows: H. units: of a block. sizes, offsets (steps): running sequences at a step, and the rows before it.
   batch: columns of the initial states. arrived: 0 at the start. Buffers of all steps, slab after slab. */
extern "C" __global__ void __launch_bounds__({threads}) {name}(const int rows, const int units, const int steps,
    const int batch, const long long* sizes, const long long* offsets, unsigned* arrived, const T* U{arguments})
{{
    SHARED(T, shared);
    T* const own = shared;                                       /* {gates} gates x units rows of U */
    T* const tile = own + {gates} * units * rows;              /* some rows of h */
    T* const partial = tile + {tile} * batch;                    /* sums of other parts of a product */
    const int threads = (int)blockDim.x, thread = (int)threadIdx.x;
    const int first = (int)blockIdx.x * units, mine = min(units, rows - first);
    for (int i = thread; i < {gates} * mine * rows; i += threads) {{
        const int row = i / rows, gate = row / mine, unit = row - gate * mine;
        own[(gate * units + unit) * rows + i - row * rows] =
            U[((long long)gate * rows + first + unit) * rows + i - row * rows];
    }}
    long long slab = 0;
    for (int t = 0, width = batch; t < steps; ++t) {{
        const int b = (int)sizes[t];
        const long long offset = offsets[t], next_slab = slab + width;
{views}
        const int pairs = mine * b, parts = max(1, threads / pairs), slots = threads / parts;
        const int slot = thread % slots, part = thread / slots;
        for (int round = 0; round < pairs; round += slots) {{
            const int pair = round + slot, unit = pair / b, s = pair - unit * b;
            const bool works = part < parts && pair < pairs;
            T sum[{gates}] = {{}};
            for (int from = 0; from < rows; from += {tile}) {{
                const int count = min({tile}, rows - from);
                __syncthreads();
                for (int i = thread; i < count * b; i += threads) {{
                    const int k = i / b;
                    tile[i] = __ldcg(&recalled[(long long)(from + k) * recalled_ld + i - k * b]);
                }}
                __syncthreads();
                if (works)
                    for (int k = part; k < count; k += parts) {{
                        const T x = tile[k * b + s];
                        for (int gate = 0; gate < {gates}; ++gate)
                            sum[gate] += own[(gate * units + unit) * rows + from + k] * x;
                    }}
            }}
            if (parts > 1) {{
                for (int gate = 0; gate < {gates}; ++gate) partial[gate * threads + thread] = sum[gate];
                __syncthreads();
                if (works && part == 0)
                    for (int other = 1; other < parts; ++other)
                        for (int gate = 0; gate < {gates}; ++gate)
                            sum[gate] += partial[gate * threads + other * slots + slot];
            }}
            if (works && part == 0) {{
                const long long u = first + unit;
{body}
            }}
        }}
        grid_barrier(arrived, gridDim.x);
        slab = next_slab;
        width = b;
    }}
}}
"""


@dataclass(frozen=True)
class Limits:
    """What a card has: `processors`, and bytes of `shared` memory that a block may use."""

    processors: int
    shared: int

    def units(self, hidden: int) -> int:
        """Return how many units each block gets when every processor gets one."""
        return -(-hidden // min(self.processors, hidden))

    def blocks(self, hidden: int) -> int:
        """Return how many blocks there are."""
        return -(-hidden // self.units(hidden))

    def needed(self, hidden: int, batch: int, gates: int, itemsize: int) -> int:
        """Return the bytes of shared memory of a block."""
        return itemsize * (gates * self.units(hidden) * hidden + TILE * batch + gates * THREADS)


def parts_of(program: Program, hidden: int) -> tuple[Product, Kernel]:
    """Return product and kernel of a step, if these are all that it is.

    Raises
    ------
    CannotRecord
        If the step is anything else.
    """
    product, kernel = program.stages if len(program.stages) == 2 else (None, None)
    if not isinstance(product, Product) or not isinstance(kernel, Kernel) or product.matrix.name != "U":
        raise CannotRecord("a persistent kernel takes a step that is one product with U and one kernel after it")
    if product.matrix.start or product.matrix.columns != hidden or kernel.rows != hidden:
        raise CannotRecord("a persistent kernel takes a product with the whole of U, and states of H rows")
    return product, kernel


def source(product: Product, kernel: Kernel, name: str, hidden: int, dtype: np.dtype[np.floating]) -> str:
    """Return the kernel of a whole loop forward; its buffers are those of `buffers`, in that order."""
    names = buffers(kernel, product)
    arguments = [f"T* {identifier(name)}_all, const int {identifier(name)}_rows" for name in names]
    arguments += [f"const T* p_{column}" for column in kernel.columns]
    views = [view for buffer in names for view in _view(buffer)]
    h = identifier(product.operand.name)
    views += [f"const T* const recalled = {h}; const int recalled_ld = {h}_ld;"]
    return preamble(dtype) + SOURCE.format(
        threads=THREADS,
        name=name,
        gates=product.matrix.rows // hidden,
        tile=TILE,
        arguments="".join(f",\n    {a}" for a in arguments),
        views="\n".join(" " * 8 + line for line in views),
        body=body(kernel, " " * 16, product, hidden),
    )


def buffers(kernel: Kernel, product: Product) -> tuple[str, ...]:
    """Return the buffers in memory that the kernel touches; working memory is a register here."""
    names = dict.fromkeys((product.operand.name, *kernel.buffers))
    return tuple(name for name in names if name != "scratch")


def _view(buffer: str) -> list[str]:
    """Return what a buffer is at a step: where its slab begins, and its leading size."""
    name, what = identifier(buffer), buffer.partition(" ")[0]
    start, leading = {"prev": ("slab", "width"), "next": ("next_slab", "b")}.get(what, ("offset", "b"))
    return [f"T* const {name} = {name}_all + {start} * {name}_rows; const int {name}_ld = {leading};"]


def run(cell: Fused, p: Mapping[str, Array], trace: Trace, program: Program) -> None:
    """Fill `trace` from `a`, which holds W x at every step, and the initial states.

    Raises
    ------
    ValueError
        If there are too many sequences, or the units do not fit on the chip; the message says how many would.
    """
    if trace.noise is not None:
        raise ValueError("a persistent kernel takes neither zoneout nor recurrent dropout; leave persistent out")
    hidden, dtype, batch, packing = trace.hidden, trace.dtype, trace.packing.batch, trace.packing
    product, kernel = parts_of(program, hidden)
    if not p["U"].flags.c_contiguous:
        raise ValueError("U: a persistent kernel expects it row by row without gaps; copy it")
    limits, gates = limits_of_card(), product.matrix.rows // hidden
    blocks, needed = limits.blocks(hidden), limits.needed(hidden, batch, gates, dtype.itemsize)
    _check_fits(limits, hidden, batch, needed)
    name = f"{type(cell.cell).__name__.lower()}_persistent"
    function = prepared(product, kernel, name, hidden, dtype, blocks, needed, sys.modules["cupy"].cuda.Device().id)

    first, sizes = trace.now[0], trace.sizes
    views = {"a": (first.a, len(first.a))}
    for what, arrays, names in (
        ("prev", first.prev, cell.state), ("next", first.prev, cell.state), ("saved", first.saved, cell.saved),
    ):  # fmt: skip
        views |= {f"{what} {each}": (a, sizes[each]) for each, a in zip(names, arrays, strict=True)}
    arguments: list[Any] = []
    for buffer in buffers(kernel, product):
        view, rows = views[buffer]
        arguments += [view, np.int32(rows)]
    arrived = sys.modules["cupy"].zeros(1, np.uint32)
    steps = (packing.index(which, first.a) for which in ("size_of_step", "offset_of_step"))
    whole = (np.int32(hidden), np.int32(limits.units(hidden)), np.int32(len(trace.now)), np.int32(batch))
    columns = columns_of(kernel, p)
    function((blocks,), (THREADS,), (*whole, *steps, arrived, p["U"], *arguments, *columns), shared_mem=needed)


def _check_fits(limits: Limits, hidden: int, batch: int, needed: int) -> None:
    if batch > MOST_SEQUENCES:
        raise ValueError(f"a persistent kernel takes up to {MOST_SEQUENCES} sequences, got {batch}; leave it out")
    if needed > limits.shared:
        raise ValueError(
            f"a persistent kernel of H={hidden} needs {needed:,} bytes of shared memory on each of "
            f"{limits.processors} multiprocessors, and there are {limits.shared:,}; leave it out, or take fewer units"
        )


@cache
def prepared(
    product: Product, kernel: Kernel, name: str, hidden: int, dtype: np.dtype[np.floating], blocks: int, shared: int,
    device: int,
) -> Any:  # fmt: skip
    """Return the kernel, compiled, allowed so many bytes of shared memory on the device, which runs all blocks at once.

    A grid that does not run as a whole would wait for itself for ever; CuPy would make it smaller with a warning.
    """
    (function,) = compiled(source(product, kernel, name, hidden, dtype), name, cooperative=True)
    function.max_dynamic_shared_size_bytes = max(shared, function.max_dynamic_shared_size_bytes)
    occupancy = sys.modules["cupy"].cuda.driver.occupancyMaxActiveBlocksPerMultiprocessor
    resident = occupancy(function.kernel.ptr, THREADS, shared) * limits_of_card().processors
    if resident < blocks:
        raise RuntimeError(f"a persistent kernel needs {blocks} blocks at once; this card runs {resident}")
    return function


def limits_of_card() -> Limits:
    """Return the limits of CuPy's current device."""
    attributes = sys.modules["cupy"].cuda.Device().attributes
    return Limits(attributes["MultiProcessorCount"], attributes["MaxSharedMemoryPerBlockOptin"])
