"""The card that is measured on: its name, its libraries, its memory, and when it has finished.

Everything takes the name of a device, 'cuda' or 'cpu': with the latter the whole benchmark runs where there is no card.
"""

from __future__ import annotations

import gc
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from rnncore.array import module_for, reserved_bytes


def describe(torch: bool) -> dict[str, Any]:
    """Return the card's name, and the versions of driver and libraries."""
    cupy = module_for("cuda")
    runtime = cupy.cuda.runtime
    properties = runtime.getDeviceProperties(cupy.cuda.Device().id)
    found = {
        "card": properties["name"].decode(),
        "memory": properties["totalGlobalMem"],
        "driver": driver(),
        "driver_cuda": runtime.driverGetVersion(),
        "runtime": runtime.runtimeGetVersion(),
        "cupy": cupy.__version__,
    }
    if torch:
        import torch as library

        found |= {"torch": library.__version__, "cudnn": library.backends.cudnn.version()}
    return found


def driver() -> str:
    """Return the version of the card's driver, as Linux tells it."""
    path = Path("/proc/driver/nvidia/version")
    found = re.search(r"\d+\.\d+[.\d]*", path.read_text("utf-8")) if path.is_file() else None
    return found[0] if found else "unknown"


def finish(device: str) -> None:
    """Wait until the card has done everything that we gave it."""
    if device == "cuda":
        module_for(device).cuda.get_current_stream().synchronize()


def finish_torch(device: str) -> None:
    """Wait until the card has done everything that PyTorch gave it."""
    if device == "cuda":
        import torch

        torch.cuda.synchronize()


def peak_bytes(device: str, work: Callable[[], Any]) -> int:
    """Return how much of the card's memory CuPy has taken once `work` is done; 0 on the host."""
    xp = module_for(device)
    if xp is not np:
        gc.collect()
        xp.get_default_memory_pool().free_all_blocks()
    work()
    return reserved_bytes(xp)


def peak_bytes_torch(device: str, work: Callable[[], Any]) -> int:
    """Return how much of the card's memory PyTorch has taken at most during `work`; 0 on the host."""
    if device != "cuda":
        work()
        return 0
    import torch

    gc.collect()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    work()
    return int(torch.cuda.max_memory_reserved())


def round_products(products: str) -> None:
    """Let PyTorch's products of float32 round their operands only where that is what is measured."""
    import torch

    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = products == "tf32"
