"""Linear, Embedding, Dropout, ReLU."""

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rnncore.layers import _FEW, Dropout, Embedding, Linear, check_ids, relu, relu_backward
from rnncore.params import Params
from tests.rnncore.differences import assert_gradient

sizes = st.integers(1, 6)


def made(layer: Any, dtype: Any = np.float64, seed: int = 0) -> tuple[Params, Params]:
    """Parameters, with nothing at zero but the padding row, and gradients full of what must be overwritten."""
    p = Params(layer.shapes(), dtype).initialise(layer.initialisers(), seed)
    if "b" in p:
        p["b"][:] = np.random.default_rng(seed).normal(size=p["b"].shape)
    grads = p.like()
    grads.flat[:] = np.nan
    return p, grads


@given(st.integers(0, 5), sizes, sizes)
def test_linear_is_its_equation(n: int, before: int, after: int) -> None:
    layer = Linear(before, after)
    p, grads = made(layer)
    rng = np.random.default_rng(n)
    x, dy = rng.normal(size=(n, before)), rng.normal(size=(n, after))
    np.testing.assert_allclose(layer.forward(p, x), np.einsum("ni,oi->no", x, p["W"]) + p["b"], atol=1e-13)
    dx = layer.backward(p, x, dy, grads)
    assert dx is not None
    np.testing.assert_allclose(dx, np.einsum("no,oi->ni", dy, p["W"]), atol=1e-13)
    np.testing.assert_allclose(grads["W"], np.einsum("no,ni->oi", dy, x), atol=1e-13)
    np.testing.assert_allclose(grads["b"], dy.sum(0), atol=1e-13)


@pytest.mark.parametrize("n", [1, _FEW, _FEW + 1])
def test_few_rows_and_many_give_the_same(n: int) -> None:
    layer = Linear(7, 5)
    p, _ = made(layer, np.float32)
    x = np.random.default_rng(n).normal(size=(n, 7)).astype(np.float32)
    y, out = layer.forward(p, x), np.full((n, 5), np.nan, np.float32)
    assert y.flags.c_contiguous
    assert y.dtype == np.float32
    np.testing.assert_allclose(y, np.einsum("ni,oi->no", x, p["W"]) + p["b"], atol=1e-6)
    np.testing.assert_array_equal(layer.forward(p, x, out), y)
    np.testing.assert_array_equal(out, y)


def linear_problem() -> tuple[Any, ...]:
    layer = Linear(3, 4)
    p, grads = made(layer)
    rng = np.random.default_rng(1)
    x, dy = rng.normal(size=(5, 3)), rng.normal(size=(5, 4))
    dx = layer.backward(p, x, dy, grads)
    return (lambda: float((layer.forward(p, x) * dy).sum())), p, grads, x, dx


def test_linear_gradients() -> None:
    f, p, grads, x, dx = linear_problem()
    assert_gradient(f, x, dx)
    assert_gradient(f, p["W"], grads["W"])
    assert_gradient(f, p["b"], grads["b"])


@pytest.mark.parametrize("factor", [0.0, 1 + 1e-5, -1.0])
def test_the_check_sees_a_wrong_gradient(factor: float) -> None:
    f, p, grads, _, _ = linear_problem()
    grads["W"][2, 1] *= factor
    with pytest.raises(AssertionError, match="relative error"):
        assert_gradient(f, p["W"], grads["W"])


def test_linear_writes_where_it_is_told() -> None:
    layer = Linear(3, 2)
    p, grads = made(layer, np.float32)
    x, out = np.ones((4, 3), np.float32), np.empty((4, 2), np.float32)
    assert layer.forward(p, x, out) is out
    assert layer.backward(p, x, out, grads, need_dx=False) is None
    assert np.isfinite(grads.flat).all()


def test_linear_refuses_what_does_not_fit() -> None:
    layer = Linear(3, 2)
    p, grads = made(layer, np.float32)
    with pytest.raises(ValueError, match=r"x: expected the shape \(N, in=3\), got \(4, 2\)"):
        layer.forward(p, np.ones((4, 2), np.float32))
    with pytest.raises(TypeError, match="x: expected an array of float32, got ndarray of float64"):
        layer.forward(p, np.ones((4, 3)))
    with pytest.raises(ValueError, match=r"dy: expected the shape \(N=4, out=2\)"):
        layer.backward(p, np.ones((4, 3), np.float32), np.ones((5, 2), np.float32), grads)
    with pytest.raises(ValueError, match="output_size must be at least 1, got 0"):
        Linear(3, 0)


def test_embedding_gradient_sums_repeated_words_and_leaves_still_rows() -> None:
    layer = Embedding(6, 3, padding=0, frozen=[4])
    p, grads = made(layer)
    ids = np.array([1, 3, 3, 0, 4, 1, 1])
    dy = np.random.default_rng(0).normal(size=(7, 3))
    layer.backward(p, ids, dy, grads)
    np.testing.assert_allclose(grads["E"][1], dy[0] + dy[5] + dy[6])
    assert not grads["E"][[0, 2, 4, 5]].any()
    moving, still = grads["E"][[1, 3]], p["E"]
    table = still[[1, 3]]

    def f() -> float:
        still[[1, 3]] = table
        return float((layer.forward(p, ids) * dy).sum())

    assert_gradient(f, table, moving)


@given(st.integers(0, 9), st.integers(1, 5), sizes, st.booleans())
def test_embedding_rows(n: int, words: int, size: int, padded: bool) -> None:
    layer = Embedding(words, size, padding=0 if padded else None)
    p, grads = made(layer, np.float32)
    ids = np.random.default_rng(n).integers(0, words, n)
    rows = layer.forward(p, ids)
    assert rows.shape == (n, size)
    assert rows.dtype == np.float32
    assert bool(p["E"][0].any()) != padded
    for row, k in zip(rows, ids, strict=True):
        np.testing.assert_array_equal(row, p["E"][k])
    layer.backward(p, ids, np.ones_like(rows), grads)
    counts = np.bincount(ids, minlength=words)
    counts[0] *= not padded
    np.testing.assert_array_equal(grads["E"], np.repeat(counts[:, None], size, 1))


def test_embedding_names_the_wrong_id() -> None:
    layer = Embedding(5, 2)
    p, _ = made(layer)
    for wrong in (5, -1):
        with pytest.raises(IndexError, match=rf"ids: {wrong} is outside \[0, 5\)"):
            layer.forward(p, np.array([1, wrong]))
    with pytest.raises(TypeError, match="ids: expected an array of integers, got float64"):
        layer.forward(p, np.array([1.0]))
    with pytest.raises(TypeError, match="ids: expected an array of integers, got list"):
        check_ids("ids", [1], 5)
    for still in ({"padding": 5}, {"frozen": [7]}, {"frozen": [-1]}):
        with pytest.raises(ValueError, match=r"must be in \[0, 5\)"):
            Embedding(5, 2, **still)


@pytest.mark.parametrize("rate", [0.5, 0.2, 0.9])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_dropout_keeps_the_mean(rate: float, dtype: Any) -> None:
    x = np.ones((400, 301), dtype)
    y, mask = Dropout(rate, 0).forward(x)
    assert mask is not None
    assert y.dtype == mask.dtype == dtype
    np.testing.assert_allclose(np.unique(mask), [0, 1 / (1 - rate)], rtol=1e-6)
    deviation = np.sqrt(rate / (1 - rate) / x.size)
    assert abs(float(y.mean(dtype=np.float64)) - 1) < 5 * deviation
    for axis in (0, 1):  # no row or column is odd, as shared bits would make it
        means = y.mean(axis, dtype=np.float64)
        assert np.abs(means - 1).max() < 6 * np.sqrt(rate / (1 - rate) / x.shape[axis])


def test_neighbours_drop_independently() -> None:
    _, mask = Dropout(0.5, 3).forward(np.ones((1000, 64), np.float32))
    assert mask is not None
    bits = mask.reshape(-1) - 1
    for lag in (*range(1, 65), 128):
        assert abs(float((bits[lag:] * bits[:-lag]).mean())) < 5 / np.sqrt(bits.size)


@given(st.lists(st.integers(0, 5), min_size=1, max_size=3), st.sampled_from([0.0, 0.3, 0.5]))
def test_dropout_gradient_is_the_same_mask(shape: list[int], rate: float) -> None:
    layer = Dropout(rate, 1)
    x = np.random.default_rng(0).normal(size=shape)
    y, mask = layer.forward(x)
    dx = layer.backward(np.ones_like(x), mask)
    np.testing.assert_array_equal(y, x * dx)


def test_dropout_gradient() -> None:
    layer = Dropout(0.5, 0)
    x, dy = np.random.default_rng(0).normal(size=(2, 4, 5))
    at = layer.state()

    def f() -> float:
        layer.set_state(at)
        return float((layer.forward(x)[0] * dy).sum())

    f()
    layer.set_state(at)
    assert_gradient(f, x, layer.backward(dy, layer.forward(x)[1]))


def test_dropout_off_is_the_identity_and_draws_nothing() -> None:
    x = np.ones((2, 3), np.float32)
    layer = Dropout(0.5, 0)
    before = layer.state()
    y, mask = layer.forward(x, train=False)
    assert y is x
    assert mask is None
    assert layer.backward(x, mask) is x
    assert Dropout(0.0, 0).forward(x) == (x, None)
    assert layer.state() == before


def test_dropout_in_place() -> None:
    x = np.ones((3, 5), np.float32)
    layer = Dropout(0.5, 0)
    y, mask = layer.forward(x, out=x)
    assert y is x
    np.testing.assert_array_equal(x, mask)
    assert layer.backward(x, mask, out=x) is x


@pytest.mark.parametrize("rate", [0.5, 0.2])
def test_dropout_state_passes_through_json_exactly(rate: float) -> None:
    x = np.ones((7, 9), np.float32)
    first, twin, other, late = (Dropout(rate, seed) for seed in (4, 4, 5, 6))
    for layer in (first, twin):
        layer.forward(x)
    saved = json.loads(json.dumps(first.state()))
    late.set_state(saved)
    expected = [first.forward(x)[0] for _ in range(3)]
    np.testing.assert_array_equal([twin.forward(x)[0] for _ in range(3)], expected)
    np.testing.assert_array_equal([late.forward(x)[0] for _ in range(3)], expected)
    assert not np.array_equal([other.forward(x)[0] for _ in range(3)], expected)


@pytest.mark.parametrize("rate", [1.0, -0.1, float("nan")])
def test_dropout_refuses_a_rate_that_is_none(rate: float) -> None:
    with pytest.raises(ValueError, match=r"must be in \[0, 1\)"):
        Dropout(rate, 0)


def test_dropout_refuses_integers() -> None:
    with pytest.raises(TypeError, match="x: expected an array of float32 or float64"):
        Dropout(0.5, 0).forward(np.ones(3, np.int64))


def test_relu() -> None:
    x = np.random.default_rng(0).normal(size=(4, 5))
    dy = np.random.default_rng(1).normal(size=(4, 5))
    y = relu(x)
    assert_gradient(lambda: float((relu(x) * dy).sum()), x, relu_backward(y, dy))
    np.testing.assert_array_equal(relu(np.array([-1.0, 0.0, 2.0])), [0, 0, 2])
    assert relu_backward(np.zeros(2), np.ones(2)).tolist() == [0, 0]
    assert relu(x, out=x) is x
    np.testing.assert_array_equal(x, y)
    assert relu_backward(y, dy, out=dy) is dy


def test_float32_stays_float32() -> None:
    with np.errstate(all="raise"):
        linear, table = Linear(3, 4), Embedding(5, 3)
        (p, grads), (e, de) = made(linear, np.float32), made(table, np.float32)
        ids = np.array([1, 2, 2, 0])
        x, mask = Dropout(0.3, 0).forward(table.forward(e, ids))
        y = relu(linear.forward(p, x))
        dx = linear.backward(p, x, relu_backward(y, np.ones_like(y)), grads)
        dx = Dropout(0.3, 0).backward(dx, mask)
        table.backward(e, ids, dx, de)
    for a in (x, mask, y, dx, grads.flat, de.flat):
        assert a is not None
        assert a.dtype == np.float32
        assert np.isfinite(a).all()
