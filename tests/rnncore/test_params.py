"""Named views of one flat buffer, and first values."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rnncore import params
from rnncore.params import Params

SHAPES = {"W": (2, 3), "U": (2, 2), "b": (2,)}
shapes = st.dictionaries(
    st.text("abcW", min_size=1, max_size=3), st.lists(st.integers(0, 4), max_size=3).map(tuple), max_size=5
)


@given(shapes)
def test_every_number_of_the_buffer_belongs_to_exactly_one_view(shapes: dict[str, tuple[int, ...]]) -> None:
    p = Params(shapes)
    for view in p.values():
        view += 1
    np.testing.assert_array_equal(p.flat, np.ones(p.size))
    assert p.size == sum(math.prod(s) for s in shapes.values())
    assert {name: view.shape for name, view in p.items()} == shapes
    assert list(p) == list(shapes)
    assert len(p) == len(shapes)


def test_views_follow_the_buffer() -> None:
    p = Params(SHAPES)
    p.flat[:] = np.arange(12)
    np.testing.assert_array_equal(p["U"], [[6, 7], [8, 9]])
    assert p["U"].base is p.flat


def test_only_floats() -> None:
    assert Params(SHAPES).flat.dtype == np.float32
    assert Params(SHAPES, np.float64).flat.dtype == np.float64
    with pytest.raises(TypeError, match="float32 or float64, got int32"):
        Params(SHAPES, np.int32)


def test_scope_and_join_are_inverse() -> None:
    p = Params(params.join({"rnn": SHAPES, "out": {"W": (1, 2)}, "rnn2": {"W": (4,)}}))
    assert {k: v.shape for k, v in p.scope("rnn").items()} == SHAPES
    p.scope("out")["W"][:] = 7
    assert p["out.W"].tolist() == [[7, 7]]
    assert p.scope("nothing") == {}


def test_copy_is_independent_and_like_is_zero() -> None:
    p = Params(SHAPES).initialise({"W": params.glorot, "U": params.orthogonal, "b": params.zeros}, 0)
    twin, double, empty = p.copy(), p.copy(np.float64), p.like()
    p.flat[:] = 0
    assert twin.flat.any()
    assert double.flat.dtype == np.float64
    np.testing.assert_array_equal(double.flat, twin.flat)
    assert not empty.flat.any()
    assert empty.flat.dtype == np.float32
    assert twin["W"].base is twin.flat


def test_assign_copies_by_name_or_changes_nothing() -> None:
    p = Params(SHAPES)
    values = {name: np.full(shape, 3.0) for name, shape in SHAPES.items()}
    with pytest.raises(KeyError, match=r"missing \['b'\], unknown \['c'\]"):
        p.assign({"W": values["W"], "U": values["U"], "c": values["b"]})
    with pytest.raises(ValueError, match=r"b: expected the shape \(2,\), got \(3,\)"):
        p.assign(values | {"b": np.ones(3)})
    assert not p.flat.any()
    p.assign(values)
    assert p.flat.tolist() == [3.0] * 12


def test_equal_seeds_give_equal_values_in_every_precision() -> None:
    how = {"W": params.glorot, "U": params.orthogonal, "b": params.normal(1.0)}
    first, again, other = (Params(SHAPES).initialise(how, seed) for seed in (1, 1, 2))
    wide = Params(SHAPES, np.float64).initialise(how, 1)
    np.testing.assert_array_equal(first.flat, again.flat)
    np.testing.assert_array_equal(first.flat, wide.flat.astype(np.float32))
    assert (first.flat != other.flat).all()


def test_glorot_uniform_normal_have_their_moments() -> None:
    rng = np.random.default_rng(0)
    w = params.glorot(rng, (200, 400))
    limit = math.sqrt(6 / 600)
    assert limit * 0.999 < np.abs(w).max() <= limit
    assert abs(w.std() - math.sqrt(2 / 600)) < 1e-3
    assert 0.299 < np.abs(params.uniform(0.3)(rng, (100, 100))).max() <= 0.3
    assert abs(params.normal(0.2)(rng, (100, 100)).std() - 0.2) < 5e-3
    assert not params.zeros(rng, (3,)).any()


@pytest.mark.parametrize("shape", [(4, 4), (7, 3), (3, 7), (1, 1)])
def test_orthogonal(shape: Any) -> None:
    q = params.orthogonal(np.random.default_rng(0), shape)
    assert q.shape == shape
    gram = q @ q.T if shape[0] <= shape[1] else q.T @ q
    np.testing.assert_allclose(gram, np.eye(min(shape)), atol=1e-12)


def test_orthogonal_prefers_no_sign() -> None:
    rng = np.random.default_rng(0)
    positive = sum(bool(params.orthogonal(rng, (3, 3))[0, 0] > 0) for _ in range(400))
    assert 140 < positive < 260


def test_blockwise_and_gate_constant() -> None:
    rng = np.random.default_rng(0)
    u = params.blockwise(params.orthogonal, 4)(rng, (12, 3))
    for k in range(4):
        block = u[3 * k : 3 * k + 3]
        np.testing.assert_allclose(block @ block.T, np.eye(3), atol=1e-12)
    assert not np.array_equal(u[:3], u[3:6])
    assert params.gate_constant(1, 4, 1.0)(rng, (8,)).tolist() == [0, 0, 1, 1, 0, 0, 0, 0]
