"""What the array libraries of this machine really do, what holds them back and what that costs: `python -m rnncore`.

>>> from rnncore.doctor import examine, report
>>> facts = examine(seconds=0.01)                      # JSON values
>>> report(facts).splitlines()[0].startswith("rnncore")
True
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from rnncore import machine
from rnncore.array import module_for

#: The captioner's recurrent product: U (4·256, 256) times h (256, 64).
RECURRENT = (1024, 256, 64)
LARGE = (2048, 2048, 2048)
#: Variables whose removal is tried; which GPU is visible costs no arithmetic.
REMOVABLE = tuple(name for name in machine.VARIABLES if name != "CUDA_VISIBLE_DEVICES")
#: Rates of two processes on one machine differ by less than this even when others use it too.
NOTEWORTHY = 1.15
#: OpenBLAS's kernels that use AVX-512; of its others on x86-64 the best use AVX2.
_WIDE_KERNELS = ("SkylakeX", "Cooperlake", "Sapphirerapids")


def best_seconds(work: Callable[[], object], seconds: float) -> float:
    """Return the shortest time of a call of `work`, called for `seconds` and at least three times."""
    best, calls, end = float("inf"), 0, time.perf_counter() + seconds
    while calls < 3 or time.perf_counter() < end:
        started = time.perf_counter()
        work()
        best, calls = min(best, time.perf_counter() - started), calls + 1
    return best


def product_rate(sizes: tuple[int, int, int], seconds: float = 0.3, dtype: DTypeLike = np.float32) -> float:
    """Return the rate of the product (m, k)·(k, n) in GFLOP/s, an addition and a multiplication being two."""
    m, k, n = sizes
    a, b, out = np.ones((m, k), dtype), np.ones((k, n), dtype), np.empty((m, n), dtype)
    return 2e-9 * m * k * n / best_seconds(lambda: np.matmul(a, b, out=out), seconds)


def bandwidth(seconds: float = 0.3, mib: int = 128) -> float:
    """Return how fast one thread copies an array far larger than the caches, reading and writing, in GB/s."""
    a = np.ones(mib << 18, np.float32)
    b = np.empty_like(a)
    b[...] = a  # the first writing of all also fetches the pages
    return 2e-9 * a.nbytes / best_seconds(lambda: np.copyto(b, a), seconds)


def rates(seconds: float = 1.0) -> dict[str, float]:
    """Measure products of both precisions (GFLOP/s) and the memory (GB/s), in about `seconds` in all."""
    each = seconds / 4
    found = {
        "float32": product_rate(LARGE, each),
        "float64": product_rate(LARGE, each, np.float64),
        "recurrent": product_rate(RECURRENT, each),
        "memory": bandwidth(each),
    }
    return {name: round(rate, 1) for name, rate in found.items()}


def examine(seconds: float = 1.0) -> dict[str, Any]:
    """Return what is found, as JSON values.

    ``rates`` are measured here; ``rates_without`` in a second process without the variables of `REMOVABLE` that are
    set here, None if there are none, or if that process failed.
    """
    removable = [name for name in machine.variables() if name in REMOVABLE]
    return {
        "rnncore": _version("rnncore"),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "cpu": machine.cpu_model(),
        "cores": machine.usable_cores(),
        "memory_gib": machine.memory_gib(),
        "blas": machine.blas(),
        "simd": machine.simd(),
        "variables": machine.variables(),
        "gpu": _gpu(),
        "fused": fused_kernels(),
        "load": _load(),
        "rates": rates(seconds),
        "rates_without": _rates_without(removable, seconds) if removable else None,
    }


def fused_kernels() -> dict[str, Any]:
    """Return which C compiler makes fused kernels here and on how many ``threads`` they run, or ``why`` there are none.

    It is put to work on a cell of one unit: that a compiler is there does not say that it has all it needs.
    """
    from rnncore import LSTM
    from rnncore.kernels import NoCompiler, processor
    from rnncore.kernels.cores import is_shared, threads

    try:
        LSTM(1, 1, fused=True)(np.zeros((1, 1, 1), np.float32))
        said = machine.ask(processor.compiler(), "--version")
    except NoCompiler as error:
        return {"compiler": None, "threads": None, "shared": False, "why": str(error)}
    compiler = said.partition("\n")[0] if said else Path(processor.compiler()).name
    return {"compiler": compiler, "threads": threads(), "shared": is_shared(), "why": None}


def remedies(facts: Mapping[str, Any]) -> list[str]:
    """Return what is amiss and how to mend it, a sentence or two each; nothing where all is well."""
    blas, cores, set_here = facts["blas"], facts["cores"], facts["variables"]
    found = []
    if facts["load"] is not None and facts["load"] > cores / 2:
        found.append(
            f"other programs keep the {cores} cores busy (load {facts['load']:.1f}), so that every rate here is too "
            "low, and wanders: measure again when they are done"
        )
    if facts["rates_without"] is not None:
        found += _cost_of_variables(facts)
    if blas["kernel"] is None:
        found.append("which BLAS kernels are in use is not known: pip install threadpoolctl")
    elif _is_narrow(facts) and "OPENBLAS_CORETYPE" not in set_here:
        found.append(
            f"OpenBLAS uses its {blas['kernel']} kernels (AVX2) on a processor with AVX-512: a newer NumPy may know it"
        )
    if blas["threads"] is not None and blas["threads"] < cores and not any("THREADS" in name for name in set_here):
        found.append(f"{blas['name']} uses {blas['threads']} of {cores} cores, and no variable asks it to")
    if facts["gpu"]["driver"] and not facts["gpu"]["usable"]:
        found.append(
            f"there is an NVIDIA GPU ({', '.join(facts['gpu']['driver'])}) that CuPy cannot use: {facts['gpu']['why']}"
        )
    return found


def report(facts: Mapping[str, Any], more: Mapping[str, str] | None = None) -> str:
    """Return what `python -m rnncore` prints: a line a fact, `more` of them if given, then what is amiss.

    What is amiss comes with its remedy.
    """
    blas, measured, simd, fused = facts["blas"], facts["rates"], facts["simd"], facts["fused"]
    kernel = "kernels unknown" if blas["kernel"] is None else f"{blas['kernel']} kernels"
    threads = "threads unknown" if blas["threads"] is None else f"{blas['threads']} threads"
    memory = "" if facts["memory_gib"] is None else f", {facts['memory_gib']} GiB"
    gpu = ", ".join(facts["gpu"]["usable"]) if facts["gpu"]["usable"] else f"not used: {facts['gpu']['why']}"
    set_here = " ".join(f"{name}={value}" for name, value in facts["variables"].items()) or "none that matters"
    lines = {
        "processor": f"{facts['cpu']}, {facts['cores']} cores to use{memory}",
        "BLAS": f"{blas['name']} {blas['version']}, {kernel}, {threads}",
        "SIMD": f"NumPy's own loops use {simd['widest'] or 'no vector instructions known here'}",
        "variables": set_here,
        "products": f"{measured['float32']:.0f} GFLOP/s in float32, {measured['float64']:.0f} in float64 "
        f"(2048 x 2048); {measured['recurrent']:.0f} at a captioner's U h, (1024, 256)·(256, 64)",
        "memory": f"{measured['memory']:.1f} GB/s, one thread copying",
        "fused": _fused(fused),
        "GPU": gpu,
        **(more or {}),
    }
    head = f"rnncore {facts['rnncore']}, Python {facts['python']}, NumPy {facts['numpy']}"
    told = [f"{name:10} {said.replace(chr(10), chr(10) + ' ' * 11)}" for name, said in lines.items()]
    amiss = [f"! {each}" for each in remedies(facts)] or ["nothing holds it back"]
    return "\n".join([head, *told, *amiss])


def _cost_of_variables(facts: Mapping[str, Any]) -> list[str]:
    """What the variables cost, as measured; a sentence even where they cost nothing, so that nobody wonders."""
    names = [name for name in facts["variables"] if name in REMOVABLE]
    kinds = ("float32", "recurrent", "memory")
    gains = {kind: facts["rates_without"][kind] / facts["rates"][kind] for kind in kinds}
    said = " and ".join(f"{name}={facts['variables'][name]}" for name in names)
    if max(gains["float32"], gains["recurrent"]) < NOTEWORTHY:
        return []
    unset = " ".join(f"-u {name}" for name in names)
    few = " (keep a limit of threads where several processes share the machine)" if "THREADS" in said else ""
    slow = "slows" if len(names) == 1 else "slow"
    # On a busy machine one of the two may come out slower without: noise, of which nothing is said.
    gained = [
        f"{what} {facts['rates_without'][kind]:.0f} GFLOP/s in place of {facts['rates'][kind]:.0f}, "
        f"{gains[kind]:.1f} times as fast"
        for kind, what in (("float32", "large ones"), ("recurrent", "recurrent ones"))
        if gains[kind] >= NOTEWORTHY
    ]
    return [f"{said} {slow} products down: without, {'; '.join(gained)}. Unset: env {unset} python ...{few}"]


def _is_narrow(facts: Mapping[str, Any]) -> bool:
    """Whether OpenBLAS uses AVX2 where NumPy found AVX-512."""
    blas = facts["blas"]
    return blas["name"] == "openblas" and facts["simd"]["widest"] == "AVX-512" and blas["kernel"] not in _WIDE_KERNELS


def _rates_without(names: list[str], seconds: float) -> dict[str, float] | None:
    """Measure in a process of its own, since libraries read the variables once, when they are loaded."""
    environment = {name: value for name, value in os.environ.items() if name not in names}
    command = [sys.executable, "-m", "rnncore", "--rates", "--seconds", str(seconds)]
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=60)
        return dict(json.loads(done.stdout))
    except (OSError, subprocess.SubprocessError, ValueError):
        return None


def _load() -> float | None:
    """Return how many programs wanted to run during the last minute, on average, where the system tells."""
    try:
        return round(os.getloadavg()[0], 1)
    except (AttributeError, OSError):
        return None


def _gpu() -> dict[str, Any]:
    """Return the GPUs that the driver shows, those that CuPy can use, and why not if it cannot."""
    driver = machine.gpu_names()
    try:
        cupy = module_for("cuda")
        runtime = cupy.cuda.runtime
        usable = [runtime.getDeviceProperties(k)["name"].decode() for k in range(runtime.getDeviceCount())]
    except Exception as error:  # CuPy's own errors are known only once it is imported
        return {"driver": driver, "usable": [], "why": str(error)}
    return {"driver": driver, "usable": usable, "why": None}


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "(not installed)"


def _fused(fused: Mapping[str, Any]) -> str:
    if not fused["compiler"]:
        return f"none: {fused['why']}"
    whose = "which do OpenBLAS's work too" if fused["shared"] else "beside those of NumPy's products"
    return f"kernels compiled by {fused['compiler']}, on {fused['threads']} threads, {whose}"
