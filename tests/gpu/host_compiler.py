"""CUDA kernels run on the processor: the same source, compiled as C++ under a header that says what CUDA's words mean.

Threads run one after another; where a source has `__syncthreads`, each is a thread of the processor, all at once.
"""

from __future__ import annotations

import ctypes
import hashlib
import re
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

HEADER = r"""
#include <cmath>
#include <cstdint>
#include <cstring>
template <typename R> static R min(R a, R b) { return b < a ? b : a; }
template <typename R> static R max(R a, R b) { return a < b ? b : a; }
using std::tanh; using std::exp; using std::log; using std::sqrt; using std::fabs;
struct Dim { unsigned x, y, z; };
static thread_local Dim threadIdx, blockIdx;
static Dim blockDim, gridDim;
static unsigned __float_as_uint(float x) { unsigned bits; std::memcpy(&bits, &x, 4); return bits; }
#define __global__
#define __device__
#define __forceinline__ inline
#define __launch_bounds__(...)
"""

#: Further words of a source whose threads meet at barriers.
THREADED = r"""
#include <atomic>
#include <barrier>
#include <thread>
#include <vector>
static std::vector<std::vector<double>> shared_of_block;
static std::vector<std::barrier<>*> barrier_of_block;
#define SHARED(type, name) type* name = (type*)shared_of_block[blockIdx.x].data()
#define WAIT std::this_thread::yield()
static void __syncthreads() { barrier_of_block[blockIdx.x]->arrive_and_wait(); }
static void __threadfence() { std::atomic_thread_fence(std::memory_order_seq_cst); }
static unsigned atomicAdd(unsigned* p, unsigned n) { return std::atomic_ref<unsigned>(*p).fetch_add(n); }
template <typename R> static R __ldcg(const R* p) { return *p; }
"""

DRIVER = """
extern "C" void host_{name}(unsigned grid, unsigned block, unsigned shared, void** p)
{{
    gridDim = {{grid, 1, 1}}; blockDim = {{block, 1, 1}};
    for (unsigned b = 0; b < grid; ++b) for (unsigned t = 0; t < block; ++t) {{
        blockIdx = {{b, 0, 0}}; threadIdx = {{t, 0, 0}};
        {name}({arguments});
    }}
}}
"""

TOGETHER = """
extern "C" void host_{name}(unsigned grid, unsigned block, unsigned shared, void** p)
{{
    gridDim = {{grid, 1, 1}}; blockDim = {{block, 1, 1}};
    shared_of_block.assign(grid, std::vector<double>(shared / 8 + 1, NAN));
    std::vector<std::barrier<>*>& barriers = barrier_of_block;
    barriers.clear();
    for (unsigned b = 0; b < grid; ++b) barriers.push_back(new std::barrier<>(block));
    std::vector<std::thread> threads;
    for (unsigned b = 0; b < grid; ++b) for (unsigned t = 0; t < block; ++t) threads.emplace_back([=] {{
        blockIdx = {{b, 0, 0}}; threadIdx = {{t, 0, 0}};
        {name}({arguments});
    }});
    for (auto& thread : threads) thread.join();
    for (auto* barrier : barriers) delete barrier;
}}
"""

KERNEL = re.compile(r'extern "C" __global__ void (?:__launch_bounds__\([^)]*\) )?(\w+)\(([^)]*)\)')
FOLDER = Path(tempfile.mkdtemp(prefix="kernels-on-host-"))


def compiler() -> str | None:
    """The C++ compiler, or None."""
    return shutil.which("g++") or shutil.which("c++")


def parameters(declared: str) -> list[str]:
    """The types of a kernel's parameters, without names and qualifiers."""
    plain = declared.replace("__restrict__", "").replace("const ", "")
    return [" ".join(p.split()[:-1]).replace(" *", "*") for p in plain.split(",")]


def drivers(source: str) -> str:
    """For every kernel a function that runs all of its threads."""
    out = []
    for name, declared in KERNEL.findall(source):
        types = parameters(declared)
        arguments = [f"({t})p[{k}]" if t.endswith("*") else f"*({t}*)p[{k}]" for k, t in enumerate(types)]
        driver = TOGETHER if "__syncthreads" in source else DRIVER
        out.append(driver.format(name=name, arguments=", ".join(arguments)))
    return "".join(out)


@cache
def compiled(source: str, header: str = HEADER, make: Any = drivers) -> ctypes.CDLL:
    """Compile a source, and return its library with a `host_` function for every kernel."""
    header += THREADED if "__syncthreads" in source else ""
    stem = FOLDER / hashlib.sha256((header + source).encode()).hexdigest()[:16]
    stem.with_suffix(".cpp").write_text(header + source + make(source), "utf-8")
    command = [str(compiler()), "-std=c++20", "-O0", "-pthread", "-fPIC", "-shared", "-Wall", "-Wno-unused"]
    command += ["-ffp-contract=off", "-o", f"{stem}.so", f"{stem}.cpp"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode or "warning" in done.stderr:
        raise RuntimeError(done.stderr)
    return ctypes.CDLL(f"{stem}.so")


def pointers(arguments: tuple[Any, ...]) -> tuple[Any, list[Any]]:
    """Kernel arguments as addresses: arrays by their data, numbers by where they stand; and what must stay alive."""
    kept: list[Any] = []
    out = (ctypes.c_void_p * len(arguments))()
    for k, argument in enumerate(arguments):
        if hasattr(argument, "data") and hasattr(argument.data, "ptr"):
            out[k] = argument.data.ptr
        else:
            box = {4: ctypes.c_int, 8: ctypes.c_longlong}[argument.itemsize](int(argument))
            kept.append(box)
            out[k] = ctypes.addressof(box)
    return out, kept
