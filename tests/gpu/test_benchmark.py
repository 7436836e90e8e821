"""The benchmark of the GPU runs from end to end, here at sizes of no interest; its figures are for a card alone."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from rnncore import to_device

gpu_benchmark = pytest.importorskip("benchmarks.gpu")


@pytest.mark.parametrize("cell", ["LSTM", "GRU"])
def test_a_row(kernels: str, cell: str) -> None:
    row = gpu_benchmark.measure(cell, (3, 2, 4), "tf32", 1e12, torch=False, rounds=2, turn=0.0, pause=0.0)
    assert (row["cell"], row["T"], row["B"], row["H"], row["products"]) == (cell, 3, 2, 4, "tf32")
    assert row["training"]["ours_ms"] > 0
    flop = 3 * 2 * 3 * 2 * {"LSTM": 4, "GRU": 3}[cell] * 4 * (4 + 4)
    assert row["training"]["floor_ms"] == pytest.approx(flop / 1e12 * 1e3)


def test_the_rate_of_a_product(kernels: str) -> None:
    assert gpu_benchmark.product_rate("float32", size=4) > 0


def test_layers_that_differ_are_not_timed(kernels: str) -> None:
    other = SimpleNamespace(detach=lambda: other, float=lambda: other, cpu=lambda: other, numpy=lambda: np.ones(3))
    mine: Any = to_device(np.array([1.0, 1.0, 1.001]))
    gpu_benchmark.check_agreement((mine,), (other,), 1e-2)
    with pytest.raises(AssertionError, match="differ by"):
        gpu_benchmark.check_agreement((mine,), (other,), 1e-4)
