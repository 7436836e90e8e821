"""What every suite says of itself: shapes, operations, bytes, parameters, and the kernels that it ran on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from benchmarks.count import cost
from benchmarks.record import warn_if_held_back
from rnncore import machine

Describe = Callable[..., None]


def pytest_sessionstart(session: pytest.Session) -> None:
    """Say so if the environment holds the arithmetic back."""
    warn_if_held_back()


@pytest.hookimpl(optionalhook=True)
def pytest_benchmark_update_machine_info(config: pytest.Config, machine_info: dict[str, Any]) -> None:
    """Name the BLAS kernels in every saved result."""
    machine_info["blas"], machine_info["variables"] = machine.blas(), machine.variables()


@pytest.fixture
def describe(benchmark: Any) -> Describe:
    """Write what a layer costs into `extra_info`."""

    def described(cell: str, T: int, B: int, D: int, H: int, itemsize: int = 4, backward: bool = True) -> None:
        counted = cost(cell.removesuffix("-fused"), T * B, D, H, itemsize)
        benchmark.extra_info.update(cell=cell, T=T, B=B, D=D, H=H, **counted._asdict())
        benchmark.extra_info["flops"] = counted.training if backward else counted.forward

    return described
