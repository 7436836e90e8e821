"""What a figure was measured on: processor, memory, versions and thread limits; no names, no paths."""

import importlib.metadata
import math
import os
import platform
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np

# Variables that hold the arithmetic back (or let it loose), so a timing means nothing without them.
THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "OPENBLAS_CORETYPE",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "CUDA_VISIBLE_DEVICES",
)
PACKAGES = ("numpy", "onnxruntime", "pillow", "cupy-cuda13x", "cupy-cuda12x", "torch")
CPU_QUOTA = Path("/sys/fs/cgroup/cpu.max")


def describe_machine() -> dict[str, Any]:
    """The machine and the software under a measurement, as JSON values.

    What cannot be found is None (or left out of ``packages``); nothing here raises. Memory is in GiB.
    """
    return {
        "cpu": _cpu_model(),
        "cores": usable_cores(),
        "memory_gib": _memory_gib(),
        "os": f"{platform.system()} {'.'.join(platform.release().split('.')[:2])}",
        "python": platform.python_version(),
        "packages": _versions(),
        "blas": _blas(),
        "environment": {name: os.environ[name] for name in THREAD_VARIABLES if name in os.environ},
        "gpu": _gpu_names(),
    }


def usable_cores(quota: Path = CPU_QUOTA) -> int:
    """Cores that this process may use: its affinity, cut by the container's quota where there is one."""
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    try:
        share, period = quota.read_text().split()
        return max(1, min(cores, math.ceil(int(share) / int(period))))
    except (OSError, ValueError):  # no such file, or "max": no quota
        return cores


def _cpu_model() -> str | None:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return _ask("sysctl", "-n", "machdep.cpu.brand_string") or platform.processor() or platform.machine() or None


def _memory_gib() -> float | None:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    except (AttributeError, OSError, ValueError):
        return None


def _versions() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _blas() -> dict[str, Any]:
    """The library under NumPy's matrix product; the kernel and its threads where threadpoolctl can tell."""
    try:
        from threadpoolctl import threadpool_info
    except ImportError:
        built = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
        return {"name": built.get("name"), "version": built.get("version"), "kernel": None, "threads": None}
    for library in threadpool_info():
        if library["user_api"] == "blas":
            return {
                "name": library["internal_api"],
                "version": library["version"],
                "kernel": library.get("architecture"),
                "threads": library["num_threads"],
            }
    return {"name": None, "version": None, "kernel": None, "threads": None}


def _gpu_names() -> list[str] | None:
    names = _ask("nvidia-smi", "--query-gpu=name", "--format=csv,noheader")
    return names.splitlines() if names else None


def _ask(*command: str) -> str | None:
    """The output of a program, or None where it is not there or fails."""
    if shutil.which(command[0]) is None:
        return None
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None
