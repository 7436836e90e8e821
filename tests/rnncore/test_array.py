"""The one place of every difference between NumPy and CuPy."""

import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rnncore import array

#: A stand-in for a device array: the library tells arrays apart by the module of their class.
Device = type("ndarray", (), {"__module__": "cupy._core.core"})


def test_numpy_is_the_module_of_host_arrays_and_none_is_passed_over() -> None:
    assert array.array_module(np.ones(2), None, weights=np.ones(1)) is np
    assert array.array_module(None) is np


def test_cupy_is_the_module_of_device_arrays(monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in = object()
    monkeypatch.setitem(sys.modules, "cupy", stand_in)
    assert array.array_module(Device(), x=Device()) is stand_in


def test_mixed_arrays_raise_and_are_named() -> None:
    with pytest.raises(TypeError, match=r"GPU \(weights\) and on the host \(argument 0\).*to_device"):
        array.array_module(np.ones(2), weights=Device())


def test_a_module_named_like_cupy_is_not_cupy() -> None:
    assert not array.is_on_gpu(type("ndarray", (), {"__module__": "cupyx_like"})())
    assert array.is_on_gpu(Device())


def test_an_unknown_device_is_refused() -> None:
    assert array.module_for("cpu") is np
    with pytest.raises(ValueError, match="'cpu' or 'cuda', got 'gpu'"):
        array.module_for("gpu")


def test_a_missing_gpu_is_an_error_and_not_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cupy", None)  # makes its import fail
    with pytest.raises(RuntimeError, match=r"needs CuPy and .*; install the extra 'gpu' \(CUDA 13\) or 'gpu12'"):
        array.module_for("cuda")


def test_host_arrays_pass_through() -> None:
    x = np.ones(3)
    assert array.to_host(x) is x
    array.synchronize(x)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_sigmoid(dtype: Any) -> None:
    x = np.array([-1e4, -50, -1, 0, 1, 50, 1e4], dtype)
    with np.errstate(all="raise"):
        y = array.sigmoid(x)
    assert y.dtype == dtype
    assert y[0] == 0
    assert y[3] == 0.5
    assert y[-1] == 1
    np.testing.assert_allclose(y[2:5], 1 / (1 + np.exp(-x[2:5])), rtol=4 * np.finfo(dtype).eps)
    assert array.sigmoid(x, out=x) is x
    np.testing.assert_array_equal(x, y)


@given(st.integers(1, 7), st.integers(0, 30), st.integers(1, 4), st.integers(0, 2**32 - 1))
def test_sum_rows_is_add_at(words: int, n: int, size: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows, index = rng.normal(size=(n, size)), rng.integers(0, words, n)
    expected = np.zeros((words, size))
    np.add.at(expected, index, rows)
    out = np.full((words, size), np.nan)
    array.sum_rows(rows, index, out)
    np.testing.assert_allclose(out, expected, rtol=1e-12, atol=1e-12)
    assert not out[np.setdiff1d(np.arange(words), index)].any()


def test_sum_rows_of_nothing_and_of_one_word_alone() -> None:
    out = np.full((3, 2), np.nan, np.float32)
    array.sum_rows(np.empty((0, 2), np.float32), np.empty(0, np.intp), out)
    np.testing.assert_array_equal(out, np.zeros((3, 2)))
    array.sum_rows(np.ones((100, 2), np.float32), np.full(100, 2), out)
    np.testing.assert_array_equal(out, [[0, 0], [0, 0], [100, 100]])
    assert out.dtype == np.float32


def test_sum_rows_repeats_to_the_last_bit() -> None:
    rng = np.random.default_rng(0)
    rows, index = rng.normal(size=(500, 3)).astype(np.float32), rng.integers(0, 5, 500)
    first, second = np.empty((2, 5, 3), np.float32)
    array.sum_rows(rows, index, first)
    array.sum_rows(rows, index, second)
    np.testing.assert_array_equal(first, second)


def test_sum_rows_adds_in_the_order_of_the_rows() -> None:
    rng = np.random.default_rng(0)
    rows, index = rng.normal(size=(500, 3)).astype(np.float32), rng.integers(0, 5, 500)
    out = np.empty((5, 3), np.float32)
    array.sum_rows(rows, index, out)
    for word, total in enumerate(out):
        np.testing.assert_array_equal(total, np.add.reduceat(rows[index == word], [0], axis=0)[0])


def test_check_float_names_what_came_and_the_remedy() -> None:
    array.check_float("x", np.ones(2, np.float32))
    array.check_float("x", np.ones(2), np.float64)
    with pytest.raises(TypeError, match=r"x: expected .* float32 or float64, got ndarray of int64.*astype"):
        array.check_float("x", np.ones(2, np.int64))
    with pytest.raises(TypeError, match=r"of float32, got ndarray of float64.*astype\('float32'\)"):
        array.check_float("x", np.ones(2), np.float32)
    with pytest.raises(TypeError, match=r"got list; make one with numpy.asarray"):
        array.check_float("x", [1.0])


def test_check_shape_names_the_axes() -> None:
    array.check_shape("x", np.ones((5, 3)), {"N": None, "D": 3})
    for wrong in (np.ones((5, 4)), np.ones(3), np.ones((1, 5, 3))):
        with pytest.raises(ValueError, match=r"x: expected the shape \(N, D=3\), got"):
            array.check_shape("x", wrong, {"N": None, "D": 3})


@pytest.mark.parametrize("columns", [1, 5, 63, 64, 200])
def test_sums_over_rows_are_the_same_by_product_and_by_reduction(columns: int) -> None:
    a = np.random.default_rng(0).normal(size=(7, columns))
    np.testing.assert_allclose(array.sum_over_rows(a, out=np.empty(7)), a.sum(1), rtol=1e-13)


@pytest.mark.parametrize(
    "shape", [(1, 1, 1), (3, 2, 5), (1, 128, 131), (2, 131, 128), (1, 127, 300), (0, 200, 200)], ids=str
)
def test_axes_are_swapped_in_strips_or_at_once(shape: tuple[int, int, int]) -> None:
    x = np.random.default_rng(0).normal(size=shape)
    out = np.full((shape[0], shape[2], shape[1]), np.nan)
    assert array.swap_axes(x, out) is out
    np.testing.assert_array_equal(out, x.swapaxes(1, 2))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_zeros_begin_at_a_cache_line(dtype: str) -> None:
    for size in (0, 1, 3, 1000, 100_003):
        found = array.aligned_zeros(size, dtype)
        assert found.shape == (size,)
        assert found.dtype == dtype
        assert found.ctypes.data % array.LINE == 0
        assert found.flags.c_contiguous
        assert found.flags.writeable
        assert not found.any()
        assert found[1:].base is found


def test_a_workspace_counts_the_buffers_that_had_to_move() -> None:
    memory = array.Workspace("float32")
    for name, size, moved in (("a", 5, 0), ("a", 3, 0), ("b", 9, 0), ("a", 6, 1), ("a", 6, 1), ("b", 10, 2)):
        assert memory.take(name, size).ctypes.data % array.LINE == 0
        assert memory.moved == moved
