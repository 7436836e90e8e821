"""The CUDA C++ of a fused kernel, and the names in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import DTypeLike

from rnncore.kernels.program import Kernel, Program
from rnncore.kernels.symbols import FUNCTIONS, Apply, Block, Column, Operand, Product

#: What stands above every kernel. T is the type of all numbers; tanh, exp and so on are overloaded for it.
PREAMBLE = "typedef {type} T;\n"
#: The bits of the bfloat16 that is nearest to a float32, ties to even; NaN stays NaN.
NARROWED = """\
static __device__ __forceinline__ unsigned short narrowed(const float x)
{
    const unsigned bits = __float_as_uint(x);
    return (unsigned short)((x != x ? bits | 0x400000u : bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
}
"""
#: A matrix, row by row, in bfloat16.
COPY = (
    NARROWED
    + """\
extern "C" __global__ void copied(const int rows, const int columns, const float* __restrict__ source,
    const int source_ld, unsigned short* __restrict__ copy, const int copy_ld)
{
    const long long size = (long long)rows * columns;
    const long long stride = (long long)gridDim.x * blockDim.x;
    for (long long k = (long long)blockIdx.x * blockDim.x + threadIdx.x; k < size; k += stride) {
        const long long row = k / columns, column = k - row * columns;
        copy[row * copy_ld + column] = narrowed(source[row * source_ld + column]);
    }
}
"""
)
TYPES = {np.dtype(np.float32): "float", np.dtype(np.float64): "double"}


def identifier(name: str) -> str:
    """Return a buffer's name as C++ takes it."""
    return name.replace(" ", "_")


def preamble(dtype: DTypeLike) -> str:
    """Return what stands above the kernels of one precision."""
    return PREAMBLE.format(type=TYPES[np.dtype(dtype)])


def kernel_source(kernel: Kernel, name: str, copied: Sequence[Block] = ()) -> str:
    """Return a kernel named `name` whose arguments are H and b, each buffer and its leading size, and each column.

    Of the blocks `copied` it makes copies in bfloat16, whose buffers and leading sizes are the last arguments.

    H, the rows of a block, is an argument, so that one compilation serves layers of all sizes. A block at row r of a
    buffer is (H, b) from `buffer + r * ld` on; ld is b, or more where the buffer has columns of sequences that run no
    longer. One thread computes one number of every block, and reads and writes it once.
    """
    buffers = [identifier(buffer) for buffer in kernel.buffers]
    arguments = ["const int rows", "const int b"]
    arguments += [f"T* __restrict__ {buffer}, const int {buffer}_ld" for buffer in buffers]
    arguments += [f"const T* __restrict__ p_{column}" for column in kernel.columns]
    copies = dict.fromkeys(identifier(block.name) for block in copied)
    arguments += [f"unsigned short* __restrict__ {n}_copy, const int {n}_copy_ld" for n in copies]
    lines = [f"{_place(block, '_copy')} = narrowed({variable(block)});" for block in copied]
    return f"""\
extern "C" __global__ void {name}({", ".join(arguments)})
{{
    const long long size = (long long)rows * b;
    const long long stride = (long long)gridDim.x * blockDim.x;
    for (long long k = (long long)blockIdx.x * blockDim.x + threadIdx.x; k < size; k += stride) {{
        const long long u = k / b, s = k - u * b;
{body(kernel, "        ", more=lines)}
    }}
}}
"""


def body(kernel: Kernel, indent: str, product: Product | None = None, hidden: int = 0, more: Sequence[str] = ()) -> str:
    """Return loads, statements and stores for the unit `u` of the sequence `s`, and `more` lines after them.

    What `product` made is not loaded but taken from `sum`, one number a gate.
    """
    sums: dict[Block, str] = {}
    if product is not None:
        for gate in range(product.out.rows // hidden):
            block = Block(product.out.name, product.out.start + gate * hidden, hidden)
            sums[block] = f"sum[{gate}]" + (f" + {_place(block)}" if product.adds else "")
    lines = [f"T {variable(block)} = {sums.get(block) or _place(block)};" for block in kernel.loads]
    known = set(kernel.loads)
    for statement in kernel.statements:
        lines.append(("" if statement.out in known else "T ") + expression(statement))
        known.add(statement.out)
    lines += [f"{_place(block)} = {variable(block)};" for block in kernel.stores]
    return "\n".join(indent + line for line in (*lines, *more))


def expression(statement: Apply) -> str:
    """Return one statement in C++."""
    return f"{variable(statement.out)} = {FUNCTIONS[statement.function].format(*map(_operand, statement.operands))};"


def variable(block: Block) -> str:
    """Return the name of the register that holds a block's number."""
    return f"{identifier(block.name)}_{block.start // block.rows}"


def _place(block: Block, which: str = "") -> str:
    buffer = identifier(block.name) + which
    return f"{buffer}[{_row(block)} * {buffer}_ld + s]"


def _row(block: Block | Column) -> str:
    """Return where a block's row u stands in its buffer, as a multiple of the rows of a block where it is one."""
    blocks, rest = divmod(block.start, block.rows)
    if rest:
        return f"({block.start} + u)"
    return {0: "u", 1: "(rows + u)"}.get(blocks, f"({blocks} * rows + u)")


def _operand(x: Operand) -> str:
    if isinstance(x, float):
        return f"T({x!r})"
    if isinstance(x, Column):
        return f"p_{x.name}[{_row(x)}]"
    return variable(x)


#: Between rows (N, H), or columns (H, N), one a packed row, and slabs (H, b_t), one a step. Where each packed row's
#: slab begins, how many columns it has and which of them is the row's are `start`, `width` and `column`.
LAYOUT = """\
extern "C" __global__ void rows_from_slabs(const int rows, const int units, const long long* __restrict__ start,
    const long long* __restrict__ width, const long long* __restrict__ column, const T* __restrict__ slabs,
    T* __restrict__ out)
{
    const long long size = (long long)rows * units;
    const long long stride = (long long)gridDim.x * blockDim.x;
    for (long long k = (long long)blockIdx.x * blockDim.x + threadIdx.x; k < size; k += stride) {
        const long long n = k / units, u = k - n * units;
        out[k] = slabs[start[n] * units + u * width[n] + column[n]];
    }
}

extern "C" __global__ void slabs_from_rows(const int rows, const int units, const long long* __restrict__ start,
    const long long* __restrict__ width, const long long* __restrict__ column, T* __restrict__ slabs,
    const T* __restrict__ from)
{
    const long long size = (long long)rows * units;
    const long long stride = (long long)gridDim.x * blockDim.x;
    for (long long k = (long long)blockIdx.x * blockDim.x + threadIdx.x; k < size; k += stride) {
        const long long n = k / units, u = k - n * units;
        slabs[start[n] * units + u * width[n] + column[n]] = from[k];
    }
}

extern "C" __global__ void columns_from_slabs(const int rows, const int units, const long long* __restrict__ start,
    const long long* __restrict__ width, const long long* __restrict__ column, const T* __restrict__ slabs,
    T* __restrict__ out)
{
    const long long size = (long long)rows * units;
    const long long stride = (long long)gridDim.x * blockDim.x;
    for (long long k = (long long)blockIdx.x * blockDim.x + threadIdx.x; k < size; k += stride) {
        const long long u = k / rows, n = k - u * rows;
        out[k] = slabs[start[n] * units + u * width[n] + column[n]];
    }
}
"""


def program_source(
    program: Program, name: str, dtype: DTypeLike, copied: Mapping[int, Sequence[Block]] | None = None
) -> str:
    """Return all kernels of a program, named `name_0`, `name_1` and so on.

    copied : by the place of a stage, the blocks that its kernel makes copies of in bfloat16.
    """
    places = [k for k, stage in enumerate(program.stages) if isinstance(stage, Kernel)]
    kernels = [
        kernel_source(kernel, f"{name}_{k}", (copied or {}).get(place, ()))
        for k, (kernel, place) in enumerate(zip(program.kernels, places, strict=True))
    ]
    return "\n".join([preamble(dtype), *([NARROWED] if copied else []), *kernels])
