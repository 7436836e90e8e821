"""Central differences in a few lines, independent of the library's own checker."""

from collections.abc import Callable
from typing import Any

import numpy as np


def assert_gradient(f: Callable[[], float], x: Any, analytic: Any, tolerance: float = 1e-7) -> None:
    """Compare `analytic` with differences of f, which reads x; x is changed in place and put back."""
    numeric = np.empty_like(x)
    for index in np.ndindex(*x.shape):
        kept = x[index]
        values = {}
        for k in (-2, -1, 1, 2):
            x[index] = kept + k * 1e-3
            values[k] = f()
        x[index] = kept
        numeric[index] = (8 * (values[1] - values[-1]) - (values[2] - values[-2])) / 12e-3
    assert analytic.shape == x.shape
    assert np.any(numeric), "nothing depends on x: this would check nothing"
    error = float(np.abs(analytic - numeric).max() / np.abs(numeric).max())
    assert error <= tolerance, f"relative error {error:.2e}"
