"""What a figure was measured on: processor, memory, versions and thread limits; no names, no paths."""

import importlib.metadata
import platform
from typing import Any

from rnncore.machine import blas, cpu_model, gpu_names, memory_gib, usable_cores, variables

PACKAGES = ("numpy", "onnxruntime", "pillow", "cupy-cuda13x", "cupy-cuda12x", "torch")


def describe_machine() -> dict[str, Any]:
    """The machine and the software under a measurement, as JSON values.

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


def versions(*packages: str) -> dict[str, str]:
    """Return the versions of those packages that are installed."""
    found = {}
    for name in packages:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
