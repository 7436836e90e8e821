"""Cells by sizes, batches, lengths and precisions: training, forward, streaming; and growth along each axis alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from benchmarks.record import fused_kernels, has_fused
from benchmarks.suites.conftest import Describe
from rnncore import Recurrent
from rnncore.cells import find_cell

#: Cells by their own functions, and as fused kernels.
CELLS = ("LSTM", "GRU", "GRU-before", "RNN", "LSTM-fused", "GRU-fused")
SIZES, BATCHES, LENGTHS, DTYPES = (64, 256), (1, 32), (10, 100), ("float32", "float64")
#: One axis of (T, B, H) at a time, the others as in the middle.
MIDDLE = {"T": 34, "B": 64, "H": 256}
GROWTH = {"T": (8, 16, 32, 64, 128), "B": (1, 8, 64, 256), "H": (32, 64, 128, 256, 512)}
ALONG = [(axis, size) for axis, sizes in GROWTH.items() for size in sizes]


def layer_and_data(cell: str, T: int, B: int, H: int, dtype: str) -> tuple[Recurrent, Any, Any]:
    """A layer with D = H, its input and a gradient of its output."""
    rng, fused = np.random.default_rng(0), cell.endswith("-fused")
    if fused and not has_fused():
        pytest.skip(str(fused_kernels()["why"]))
    x, dy = (rng.standard_normal((T, B, H)).astype(dtype) for _ in range(2))
    return Recurrent(find_cell(cell.removesuffix("-fused")), H, H, dtype=dtype, fused=fused), x, dy


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("T", LENGTHS)
@pytest.mark.parametrize("B", BATCHES)
@pytest.mark.parametrize("H", SIZES)
@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.benchmark(group="training")
def test_training(benchmark: Any, describe: Describe, cell: str, H: int, B: int, T: int, dtype: str) -> None:
    """Forward and backward, all gradients."""
    layer, x, dy = layer_and_data(cell, T, B, H, dtype)
    describe(cell, T, B, H, H, np.dtype(dtype).itemsize)

    def step() -> None:
        layer(x)
        layer.backward(dy)

    benchmark(step)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("T", LENGTHS)
@pytest.mark.parametrize("B", BATCHES)
@pytest.mark.parametrize("H", SIZES)
@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.benchmark(group="forward")
def test_forward(benchmark: Any, describe: Describe, cell: str, H: int, B: int, T: int, dtype: str) -> None:
    """Forward alone, with the Trace."""
    layer, x, _ = layer_and_data(cell, T, B, H, dtype)
    describe(cell, T, B, H, H, np.dtype(dtype).itemsize, backward=False)
    benchmark(layer, x)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("B", BATCHES)
@pytest.mark.parametrize("H", SIZES)
@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.benchmark(group="streaming")
def test_streaming(benchmark: Any, describe: Describe, cell: str, H: int, B: int, dtype: str) -> None:
    """One step with carried state."""
    layer, x, _ = layer_and_data(cell, 1, B, H, dtype)
    describe(cell, 1, B, H, H, np.dtype(dtype).itemsize, backward=False)
    benchmark(layer.stepper(B).step, x[0])


@pytest.mark.parametrize(("axis", "size"), ALONG)
@pytest.mark.parametrize("cell", [cell for cell in CELLS if cell != "RNN"])
@pytest.mark.benchmark(group="growth")
def test_growth(benchmark: Any, describe: Describe, cell: str, axis: str, size: int) -> None:
    """Training with one of T, B and H growing, the others fixed."""
    sizes = MIDDLE | {axis: size}
    layer, x, dy = layer_and_data(cell, sizes["T"], sizes["B"], sizes["H"], "float32")
    describe(cell, sizes["T"], sizes["B"], sizes["H"], sizes["H"])
    benchmark.extra_info["along"] = axis

    def step() -> None:
        layer(x)
        layer.backward(dy)

    benchmark(step)
