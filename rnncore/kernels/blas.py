"""Matrix products on the GPU that may be part of a CUDA graph: cuBLAS with a handle and a workspace of our own.

CuPy refuses its own products while a graph is captured, and would copy an operand or a result whose rows lie apart.
So we call the cuBLAS that CuPy has loaded, by `ctypes`. Arrays are row-major here and column-major there: what is
asked for is the product of the transposed matrices, in the other order.
"""

from __future__ import annotations

import ctypes
import sys
from ctypes import POINTER, byref, c_int, c_longlong, c_size_t, c_void_p
from functools import cache
from threading import get_ident
from typing import Any

import numpy as np

from rnncore.array import Array

#: How products may round their operands: the compute types of `cublas_api.h`. Sums are kept in float32 by all three.
COMPUTE = {"float32": 68, "tf32": 77, "bf16": 75}
_COMPUTE_64F, _REAL_32F, _REAL_64F, _REAL_16BF, _DEFAULT_ALGORITHM = 70, 0, 1, 14, -1
#: What NVIDIA recommends for Hopper; a graph needs a workspace that does not move.
WORKSPACE = 32 << 20


class BlasError(RuntimeError):
    """cuBLAS refused a call."""


class Blas:
    """Products of one precision.

    products : 'float32' as it is; 'tf32' and 'bf16' round the operands of float32 products to 10 and 7 bits behind
        the point, on the way into the tensor cores. Parameters and sums stay float32. float64 is never rounded.
    """

    def __init__(self, products: str = "float32") -> None:
        if products not in COMPUTE:
            raise ValueError(f"products: expected one of {', '.join(COMPUTE)}, got {products!r}")
        self.products = products
        self._cupy: Any = sys.modules["cupy"]
        self._workspace = self._cupy.empty(WORKSPACE, np.uint8)

    def product(self, A: Array, B: Array, out: Array, transposed: bool = False, adds: bool = False) -> None:
        """Set `out` (M, b), or add to it, A (M, K), or the transposed of A (K, M), times B (K, b).

        A and B lie row by row or column by column, `out` row by row, and these may lie apart. A and B may both be the
        bits of bfloat16, as uint16, where `out` is float32.
        """
        M, b = out.shape
        (by_columns, leading), (other_by_columns, other_leading) = stored(A), stored(B)
        self._call(
            *(int(other_by_columns), int(transposed != by_columns)), *(b, M, len(B)),
            *(B, other_leading, 0), *(A, leading, 0), float(adds), *(out, _leading(out), 0), 1, out.dtype,
        )  # fmt: skip

    def matmul(self, A: Array, B: Array, out: Array | None = None) -> Array:
        """Return A (M, K) times B (K, N), as `cupy.matmul` does, in the precision of these products.

        Products of other than two matrices are CuPy's, and so are those of nothing.
        """
        if A.ndim != 2 or B.ndim != 2 or 0 in (A.size, B.size):
            return self._cupy.matmul(A, B, out=out)
        out = self._cupy.empty((A.shape[0], B.shape[1]), A.dtype) if out is None else out
        self.product(_without_gaps(A), _without_gaps(B), out)
        return out

    def input_products(self, W: Array, x: Array, out: Array) -> None:
        """Set T slabs (M, b) to W (M, K) times every x_t transposed; x is (T, b, K).

        out : the first of the slabs, which lie end to end.
        """
        steps, b, K = x.shape
        by_columns, leading = stored(W)
        self._call(
            *(1, int(by_columns)), *(b, len(W), K), *(x, K, b * K), *(W, leading, 0),
            0.0, *(out, b, len(W) * b), steps, out.dtype,
        )  # fmt: skip

    def _call(
        self, op_a: int, op_b: int, m: int, n: int, k: int, a: Array, lda: int, stride_a: int,
        b: Array, ldb: int, stride_b: int, beta: float, c: Array, ldc: int, stride_c: int, count: int, dtype: Any,
    ) -> None:  # fmt: skip
        """One call of cuBLAS, in its terms: c (m, n) = a (m, k) b (k, n) + beta c, column by column, `count` times."""
        cublas = handle(self._cupy.cuda.Device().id, get_ident())
        cublas.take(self._cupy.cuda.get_current_stream(), self._workspace.data.ptr)
        if dtype == np.float32:
            kind, compute = _REAL_32F, COMPUTE[self.products]
        else:
            kind, compute = _REAL_64F, _COMPUTE_64F
        read = kind
        if a.dtype == np.uint16:  # rounded already
            read, compute = _REAL_16BF, COMPUTE["float32"]
        one, keep = (_number(dtype, value) for value in (1.0, beta))
        cublas.call(
            "cublasGemmStridedBatchedEx", op_a, op_b, m, n, k,
            byref(one), a.data.ptr, read, lda, stride_a, b.data.ptr, read, ldb, stride_b,
            byref(keep), c.data.ptr, kind, ldc, stride_c, count, compute, _DEFAULT_ALGORITHM,
        )  # fmt: skip


class Handle:
    """What cuBLAS keeps for a device, in one thread: the stream and the workspace that the next call uses."""

    def __init__(self) -> None:
        self._library, self._value = library(), c_void_p()
        self._stream: Any = None  # kept, not only its address: no other stream can have that as long as it is there
        self._workspace = 0
        self._check("cublasCreate_v2", byref(self._value))

    def take(self, stream: Any, workspace: int) -> None:
        """Work on a stream, with the workspace at an address; a new stream resets the workspace, so both are given."""
        if self._stream is not None and (self._stream.ptr, self._workspace) == (stream.ptr, workspace):
            return
        self.call("cublasSetStream_v2", stream.ptr)
        self.call("cublasSetWorkspace_v2", workspace, WORKSPACE)
        self._stream, self._workspace = stream, workspace

    def call(self, name: str, *arguments: Any) -> None:
        """Call a function of the library."""
        self._check(name, self._value, *arguments)

    def _check(self, name: str, *arguments: Any) -> None:
        status = getattr(self._library, name)(*arguments)
        if status:
            raise BlasError(f"{name} returned the status {status}; see cublasStatus_t in cuBLAS' documentation")


@cache
def handle(device: int, thread: int) -> Handle:
    """Return the handle of a device and a thread; it stays, since destroying one waits for the card.

    A thread has its own, as CuPy gives it, since no other may set stream and workspace between `take` and `call`.
    """
    return Handle()


_GEMM = [c_void_p, c_int, c_int, c_int, c_int, c_int]
_GEMM += [c_void_p, c_void_p, c_int, c_int, c_longlong, c_void_p, c_int, c_int, c_longlong]
_GEMM += [c_void_p, c_void_p, c_int, c_int, c_longlong, c_int, c_int, c_int]
SIGNATURES: dict[str, list[Any]] = {
    "cublasCreate_v2": [POINTER(c_void_p)],
    "cublasSetStream_v2": [c_void_p, c_void_p],
    "cublasSetWorkspace_v2": [c_void_p, c_void_p, c_size_t],
    "cublasGemmStridedBatchedEx": _GEMM,
}


@cache
def library() -> Any:
    """Return the cuBLAS that CuPy has loaded, its functions declared.

    It is found through CuPy's own extension, which is linked to it: other packages may have loaded another one.
    """
    from cupy_backends.cuda.libs import cublas

    return declare(ctypes.CDLL(cublas.__file__))


def declare(found: Any) -> Any:
    """Give the functions of a library their types, and return it."""
    for name, arguments in SIGNATURES.items():
        function = getattr(found, name)
        function.argtypes, function.restype = arguments, c_int
    return found


def _number(dtype: Any, value: float) -> Any:
    return ctypes.c_float(value) if dtype == np.float32 else ctypes.c_double(value)


def _without_gaps(A: Array) -> Array:
    """Return the matrix, or a copy of it that cuBLAS can read."""
    return A if int(A.itemsize) in map(int, A.strides) else sys.modules["cupy"].ascontiguousarray(A)


def stored(A: Array) -> tuple[bool, int]:
    """Return whether the matrix lies column by column, and how far apart its rows or columns begin."""
    if int(A.strides[1]) == int(A.itemsize):
        return False, _leading(A)
    if int(A.strides[0]) == int(A.itemsize):
        return True, _leading(A.T)
    raise ValueError(f"a matrix of strides {A.strides}: expected one whose rows or columns have no gaps; copy it")


def _leading(x: Array) -> int:
    """How far apart rows of x begin."""
    return max(int(x.strides[0]) // int(x.itemsize), int(x.shape[1]), 1)
