"""What a figure was measured by and on: command, processor, cores, the library under NumPy's products, versions.

Facts only, as JSON values: no names of hosts or users, no paths. Nothing here raises: what cannot be found is None.
"""

from __future__ import annotations

import importlib.metadata
import math
import os
import platform
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

#: Variables that hold the arithmetic back (or let it loose), so that a timing means nothing without them.
VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "OPENBLAS_CORETYPE",
    "OPENBLAS_L2_SIZE",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NPY_DISABLE_CPU_FEATURES",
    "CUDA_VISIBLE_DEVICES",
)
#: Those whose versions a figure depends on.
PACKAGES = ("numpy", "onnxruntime", "pillow", "cupy-cuda13x", "cupy-cuda12x", "torch")
CPU_QUOTA = Path("/sys/fs/cgroup/cpu.max")
#: Instruction sets worth naming, widest first, as NumPy before and since 2.4 calls them.
_VECTORS = (
    ("AVX512_SKX", "AVX-512"),
    ("X86_V4", "AVX-512"),
    ("AVX2", "AVX2"),
    ("X86_V3", "AVX2"),
    ("SSE42", "SSE4.2"),
    ("X86_V2", "SSE4.2"),
    ("SVE", "SVE"),
    ("ASIMD", "NEON"),
)


def describe_machine() -> dict[str, Any]:
    """Return the machine and the software under a measurement, as JSON values.

    What cannot be found is None (or left out of ``packages``); nothing here raises. Memory is in GiB.
    """
    return {
        "cpu": cpu_model(),
        "cores": usable_cores(),
        "memory_gib": memory_gib(),
        "os": f"{platform.system()} {'.'.join(platform.release().split('.')[:2])}",
        "python": platform.python_version(),
        "packages": versions(*PACKAGES),
        "blas": blas(),
        "environment": variables(),
        "gpu": gpu_names(),
    }


def command_line(program: str = "captioning") -> str:
    """Return the command as a person would type it again, paths cut to their last part."""
    arguments = [Path(a).name if "/" in a else a for a in sys.argv[1:]]
    return f"{program} {shlex.join(arguments)}"


def versions(*packages: str) -> dict[str, str]:
    """Return the versions of those packages that are installed."""
    found = {}
    for name in packages:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def variables() -> dict[str, str]:
    """Return those of `VARIABLES` that are set, with their values."""
    return {name: os.environ[name] for name in VARIABLES if name in os.environ}


def usable_cores(quota: Path = CPU_QUOTA) -> int:
    """Return how many cores this process may use: its affinity, cut by the container's quota where there is one."""
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    try:
        share, period = quota.read_text().split()
        return max(1, min(cores, math.ceil(int(share) / int(period))))
    except (OSError, ValueError):  # no such file, or "max": no quota
        return cores


def cpu_model() -> str | None:
    """Return the processor's name as the system gives it."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return ask("sysctl", "-n", "machdep.cpu.brand_string") or platform.processor() or platform.machine() or None


def memory_gib() -> float | None:
    """Return the size of the memory in GiB."""
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    except (AttributeError, OSError, ValueError):
        return None


def gpu_names() -> list[str] | None:
    """Return the names of the NVIDIA GPUs that the driver shows."""
    names = ask("nvidia-smi", "--query-gpu=name", "--format=csv,noheader")
    return names.splitlines() if names else None


def blas() -> dict[str, Any]:
    """Return name and version of the library under NumPy's products, its kernels and how many threads it uses.

    Kernels and threads need threadpoolctl; without it they are None. Of several libraries in the process the first
    that NumPy has loaded counts.
    """
    built = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
    unknown = {"name": built.get("name"), "version": built.get("version"), "kernel": None, "threads": None}
    try:
        from threadpoolctl import threadpool_info
    except ImportError:
        return unknown
    found = [library for library in threadpool_info() if library["user_api"] == "blas"]
    found.sort(key=lambda library: "numpy" not in library["filepath"])
    for library in found:
        return {
            "name": library["internal_api"],
            "version": library["version"],
            "kernel": library.get("architecture"),
            "threads": library["num_threads"],
        }
    return unknown


def simd() -> dict[str, Any]:
    """Return the widest vector instructions that NumPy's own loops use, and its names for all that it found here."""
    config = np.show_config(mode="dicts")["SIMD Extensions"]
    found = [*config.get("baseline", ()), *config.get("found", ())]
    return {"widest": next((said for name, said in _VECTORS if name in found), None), "found": found}


def ask(*command: str) -> str | None:
    """Return the output of a program, or None where it is not there or fails."""
    if shutil.which(command[0]) is None:
        return None
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None
