"""The rest of the stand-in for CuPy: kernels from source, streams, graphs, and cuBLAS, all on the processor.

Kernels are the real ones (`host_compiler`); cuBLAS is a textbook product behind the signatures of the library, called
through `ctypes` as it is. While a stream is being captured nothing runs, and a graph runs what was noted.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any
from weakref import WeakValueDictionary, ref

from rnncore.kernels import blas
from tests.gpu import host_compiler
from tests.gpu.stand_in import counts, freed

#: What the stream that is being captured has noted, and the addresses that it reads and writes; or None.
captured: list[tuple[Callable[[], None], list[int]]] | None = None


def launch(run: Callable[[], None], kind: str, addresses: list[int]) -> None:
    """Run now, or when the graph is launched."""
    if captured is not None:
        captured.append((run, addresses))
        return
    counts.update({"launches": 1, kind: 1})
    run()


class RawModule:
    def __init__(self, code: str, options: tuple[str, ...] = (), enable_cooperative_groups: bool = False) -> None:
        self._library = host_compiler.compiled(code)

    def get_function(self, name: str) -> Any:
        host = getattr(self._library, f"host_{name}")

        def kernel(grid: tuple[int], block: tuple[int], arguments: tuple[Any, ...], shared_mem: int = 0) -> None:
            if not 1 <= block[0] <= 1024 or not 1 <= grid[0] < 2**31:
                raise ValueError(f"no launch of {grid} blocks of {block} threads")
            (addresses, kept), count = host_compiler.pointers(arguments), len(arguments)

            def run() -> None:
                assert len(kept) <= count  # the numbers among the arguments are still there; arrays need not be
                host(ctypes.c_uint(grid[0]), ctypes.c_uint(block[0]), ctypes.c_uint(shared_mem), addresses)

            if shared_mem > kernel.max_dynamic_shared_size_bytes:  # type: ignore[attr-defined]
                raise ValueError("a kernel has 48 KiB of shared memory unless more is asked for")
            launch(run, "kernels", [a.data.ptr for a in arguments if hasattr(a, "data") and hasattr(a.data, "ptr")])

        kernel.max_dynamic_shared_size_bytes = 48 << 10  # type: ignore[attr-defined]
        kernel.kernel = SimpleNamespace(ptr=1)  # type: ignore[attr-defined]
        return kernel


class Graph:
    """What was noted; unlike the closures here, a graph on a card keeps no array alive, so that is looked for."""

    def __init__(self, noted: list[tuple[Callable[[], None], list[int]]]) -> None:
        self.noted = noted

    def launch(self) -> None:
        counts.update({"graphs": 1, "launches": 1})
        assert not freed(sorted({a for _, addresses in self.noted for a in addresses})), "a graph uses freed memory"
        for run, _ in self.noted:
            run()


class Stream:
    """A stream at the address of one that is gone, where there is one, as the driver may give it."""

    there: WeakValueDictionary[int, Stream] = WeakValueDictionary()

    def __init__(self, non_blocking: bool = False) -> None:
        self.ptr = next(k for k in range(2, 1000) if k not in Stream.there)
        Stream.there[self.ptr] = self

    def __enter__(self) -> None:
        self._before = current.stream
        current.stream = self

    def __exit__(self, *error: Any) -> None:
        current.stream = self._before

    def begin_capture(self) -> None:
        global captured
        captured = []

    def end_capture(self) -> Graph:
        global captured
        assert captured is not None
        noted, captured = captured, None
        return Graph(noted)

    def synchronize(self) -> None: ...


current = SimpleNamespace(stream=Stream())

#: What `Device().attributes` says, and how many blocks a multiprocessor runs at once; tests may change it.
CARD = {"MultiProcessorCount": 3, "MaxSharedMemoryPerBlockOptin": 227 << 10, "resident": 1}

GEMM = r"""
template <typename R> static R rounded(R x, int compute)
{
    if (sizeof(R) != 4 || compute == 68) return x;
    std::uint32_t bits; std::memcpy(&bits, &x, 4);
    const int drop = compute == 77 ? 13 : 16;
    bits += (1u << (drop - 1)) - 1 + ((bits >> drop) & 1);
    bits &= ~((1u << drop) - 1);
    std::memcpy(&x, &bits, 4);
    return x;
}

static float rounded(unsigned short x, int compute)
{
    const std::uint32_t bits = (std::uint32_t)x << 16;
    float out; std::memcpy(&out, &bits, 4);
    return out;
}

template <typename R, typename Q = R> static int gemm(int ta, int tb, int m, int n, int k, const void* alpha,
    const void* A, int lda, long long sa, const void* B, int ldb, long long sb, const void* beta, void* C, int ldc,
    long long sc, int count, int compute)
{
    if (lda < (ta ? k : m) || ldb < (tb ? n : k) || ldc < m) return 7;
    for (int batch = 0; batch < count; ++batch) {
        const Q *a = (const Q*)A + batch * sa, *b = (const Q*)B + batch * sb;
        R* c = (R*)C + batch * sc;
        for (int j = 0; j < n; ++j) for (int i = 0; i < m; ++i) {
            R sum = 0;
            for (int l = 0; l < k; ++l)
                sum += rounded(ta ? a[l + (long long)i * lda] : a[i + (long long)l * lda], compute)
                     * rounded(tb ? b[j + (long long)l * ldb] : b[l + (long long)j * ldb], compute);
            R& out = c[i + (long long)j * ldc];
            out = *(const R*)alpha * sum + (*(const R*)beta == 0 ? R(0) : *(const R*)beta * out);
        }
    }
    return 0;
}

extern "C" int cublasCreate_v2(void** handle) { *handle = (void*)1; return 0; }
extern "C" int cublasSetStream_v2(void* handle, void* stream) { return 0; }
extern "C" int cublasSetWorkspace_v2(void* handle, void* workspace, std::size_t size) { return workspace ? 0 : 7; }
extern "C" int cublasGemmStridedBatchedEx(void* handle, int ta, int tb, int m, int n, int k,
    const void* alpha, const void* A, int at, int lda, long long sa, const void* B, int bt, int ldb, long long sb,
    const void* beta, void* C, int ct, int ldc, long long sc, int count, int compute, int algorithm)
{
    if (!handle || at != bt || (at != ct && at != 14) || algorithm != -1) return 7;
    if (at == 14 && ct == 0 && compute == 68)
        return gemm<float, unsigned short>(ta, tb, m, n, k, alpha, A, lda, sa, B, ldb, sb, beta, C, ldc, sc, count, 68);
    if (at == 0 && (compute == 68 || compute == 75 || compute == 77))
        return gemm<float>(ta, tb, m, n, k, alpha, A, lda, sa, B, ldb, sb, beta, C, ldc, sc, count, compute);
    if (at == 1 && compute == 70)
        return gemm<double>(ta, tb, m, n, k, alpha, A, lda, sa, B, ldb, sb, beta, C, ldc, sc, count, compute);
    return 15;
}
"""


class Cublas:
    """The library, whose products are noted while a stream is captured; their factors are read when they are called.

    It is asked for once a handle. A product on a stream that is not the current one, be it one that is gone, or
    without a workspace of the caller's, is an error: cuBLAS would take it.
    """

    def __init__(self) -> None:
        self._real = blas.declare(host_compiler.compiled(GEMM, host_compiler.HEADER, lambda source: ""))
        self._stream: Callable[[], Stream | None] = lambda: None
        self._workspace = 0

    def cublasCreate_v2(self, handle: Any) -> int:
        counts["handles"] += 1
        return int(self._real.cublasCreate_v2(handle))

    def cublasSetStream_v2(self, handle: Any, stream: int) -> int:
        self._stream, self._workspace = ref(Stream.there[stream]), 0
        return int(self._real.cublasSetStream_v2(handle, stream))

    def cublasSetWorkspace_v2(self, handle: Any, workspace: int, size: int) -> int:
        self._workspace = workspace
        return int(self._real.cublasSetWorkspace_v2(handle, workspace, size))

    def cublasGemmStridedBatchedEx(self, *arguments: Any) -> int:
        assert self._stream() is current.stream, "cuBLAS works on another stream"
        assert self._workspace, "cuBLAS takes a workspace of its own, which no graph keeps"
        status: list[int] = [0]
        kept = list(arguments)
        for k in (6, 15):
            boxed = arguments[k]._obj
            kept[k] = ctypes.pointer(type(boxed)(boxed.value))

        def run() -> None:
            status[0] = self._real.cublasGemmStridedBatchedEx(*kept)

        launch(run, "products", [*(int(arguments[k]) for k in (7, 11, 16)), self._workspace])
        return status[0]
