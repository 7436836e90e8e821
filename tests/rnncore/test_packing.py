"""The layout of a batch without its padding, against plain loops over the definition."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rnncore.packing import Packing

small = settings(max_examples=80, deadline=None)
all_lengths = st.lists(st.integers(0, 5), min_size=1, max_size=6)


def real(lengths: list[int]) -> list[tuple[int, int]]:
    """(t, b) of every packed row: by time, and within a step by falling length, first come first."""
    order = sorted(range(len(lengths)), key=lambda b: (-lengths[b], b))
    return [(t, b) for t in range(max(lengths)) for b in order if t < lengths[b]]


def cells(T: int, B: int, *tail: int) -> Any:
    """An array (T, B, ...) of numbers that all differ, none of them 0."""
    return np.arange(1.0, T * B * int(np.prod(tail)) + 1).reshape(T, B, *tail)


@small
@given(all_lengths, st.integers(0, 2), st.sampled_from([(), (2,), (2, 3)]))
def test_pack_and_unpack_are_inverse(lengths: list[int], spare: int, tail: tuple[int, ...]) -> None:
    T, B = max(lengths) + spare, len(lengths)
    packing, x, where = Packing(lengths, T), cells(T, B, *tail), real(lengths)
    rows = packing.pack(x)
    assert rows.shape == (sum(lengths), *tail)
    for row, (t, b) in zip(rows, where, strict=True):
        np.testing.assert_array_equal(row, x[t, b])
    again = packing.unpack(rows)
    padding = np.arange(T)[:, None] >= np.array(lengths)
    np.testing.assert_array_equal(again[~padding], x[~padding])
    assert again.shape == x.shape
    assert again.dtype == x.dtype
    assert not again[padding].any()
    np.testing.assert_array_equal(packing.pack(again), rows)


@small
@given(all_lengths, st.integers(0, 2))
def test_numbers_of_the_layout(lengths: list[int], spare: int) -> None:
    packing, where = Packing(lengths, max(lengths) + spare), real(lengths)
    assert (packing.steps, packing.batch, packing.rows) == (max(lengths) + spare, len(lengths), sum(lengths))
    assert packing.batch_sizes == tuple(sum(n > t for n in lengths) for t in range(max(lengths)))
    assert packing.offsets == (*(sum(min(n, t) for n in lengths) for t in range(max(lengths))), sum(lengths))
    np.testing.assert_array_equal(packing.lengths, lengths)
    np.testing.assert_array_equal(packing.order, sorted(range(len(lengths)), key=lambda b: -lengths[b]))
    np.testing.assert_array_equal(packing.sequence_of_row, [b for _, b in where])
    assert packing.is_dense == (set(lengths) == {packing.steps})


@small
@given(all_lengths)
def test_the_row_before_and_the_last_row(lengths: list[int]) -> None:
    """In a buffer of the initial rows, sorted, and the packed ones, each labelled by (t, sequence)."""
    packing, where = Packing(lengths), real(lengths)
    buffer = [(-1, int(b)) for b in packing.order] + where
    assert [buffer[k] for k in packing.previous] == [(t - 1, b) for t, b in where]
    assert [buffer[k] for k in packing.last] == [(lengths[b] - 1, b) for b in packing.order]


@small
@given(all_lengths)
def test_sort_and_unsort_are_inverse(lengths: list[int]) -> None:
    packing, x = Packing(lengths), cells(len(lengths), 2)
    ordered = packing.sort(x)
    np.testing.assert_array_equal(ordered, x[np.argsort(-np.array(lengths), kind="stable")])
    np.testing.assert_array_equal(packing.unsort(ordered), x)
    np.testing.assert_array_equal(packing.sort(packing.unsort(x)), x)
    assert list(packing.lengths[packing.order]) == sorted(lengths, reverse=True)


@small
@given(all_lengths, st.sampled_from([(), (2,), (2, 3)]))
def test_spread_and_sum_over_time_are_adjoint(lengths: list[int], tail: tuple[int, ...]) -> None:
    packing, rng = Packing(lengths), np.random.default_rng(len(lengths))
    x, rows = rng.normal(size=(len(lengths), *tail)), rng.normal(size=(sum(lengths), *tail))
    wide, total = packing.spread(x), packing.sum_over_time(rows)
    assert (wide.shape, total.shape) == (rows.shape, x.shape)
    for row, (_, b) in zip(wide, real(lengths), strict=True):
        np.testing.assert_array_equal(row, x[b])
    for b, expected in enumerate(total):
        mine = [row for row, (_, at) in zip(rows, real(lengths), strict=True) if at == b]
        np.testing.assert_allclose(expected, sum(mine, np.zeros(tail)), atol=1e-14)
    np.testing.assert_allclose((wide * rows).sum(), (x * total).sum(), atol=1e-12)


def test_spread_writes_where_it_is_told() -> None:
    packing, out = Packing([1, 3]), np.empty((4, 2), np.float32)
    x = np.array([[1, 2], [3, 4]], np.float32)
    assert packing.spread(x, out) is out
    np.testing.assert_array_equal(out, [[3, 4], [1, 2], [3, 4], [3, 4]])
    assert packing.sum_over_time(out).dtype == np.float32


@small
@given(all_lengths, st.integers(0, 2))
def test_gather_reads_batch_first_from_a_step_on(lengths: list[int], first: int) -> None:
    padded = cells(len(lengths), max(lengths) + 2)
    rows = Packing(lengths).gather(padded, first)
    assert list(rows) == [padded[b, t + first] for t, b in real(lengths)]


def test_dense_batches_are_views_and_kept() -> None:
    packing, x = Packing.dense(3, 2), cells(3, 2, 4)
    assert packing.is_dense
    assert packing is Packing.dense(3, 2)
    assert np.shares_memory(packing.pack(x), x)
    assert np.shares_memory(packing.unpack(packing.pack(x)), x)
    assert packing.pack(x).shape == (6, 4)
    assert packing == Packing([3, 3]) == Packing(np.array([3, 3], np.uint8), 3)


@pytest.mark.parametrize("lengths", [[3, 2], [3, 3, 0]])
def test_padded_batches_are_copies(lengths: list[int]) -> None:
    packing, x = Packing(lengths), cells(3, len(lengths))
    assert not packing.is_dense
    rows = packing.pack(x)
    assert not np.shares_memory(rows, x)
    assert not np.shares_memory(packing.unpack(rows), rows)


def test_equal_layouts() -> None:
    assert Packing([1, 3]) == Packing(np.array([1, 3]))
    assert Packing([1, 3]) != Packing([3, 1])
    assert Packing([1, 3]) != Packing([1, 3], 4)
    assert Packing([1, 3]) != Packing([1, 3, 3])
    assert Packing([1]) != [1]
    with pytest.raises(TypeError, match="unhashable"):
        hash(Packing([1]))


def test_nothing_but_empty_sequences() -> None:
    packing = Packing([0, 0], 3)
    assert (packing.rows, packing.batch_sizes, packing.offsets) == (0, (), (0,))
    assert packing.pack(cells(3, 2, 4)).shape == (0, 4)
    np.testing.assert_array_equal(packing.unpack(np.empty((0, 4))), np.zeros((3, 2, 4)))
    np.testing.assert_array_equal(packing.sum_over_time(np.empty((0, 4))), np.zeros((2, 4)))
    np.testing.assert_array_equal(packing.last, [0, 1])


def test_lengths_are_copied() -> None:
    given_ = np.array([1, 3])
    packing = Packing(given_)
    given_[:] = 7
    np.testing.assert_array_equal(packing.lengths, [1, 3])


@pytest.mark.parametrize(
    ("lengths", "steps", "message"),
    [
        ([], None, r"expected \(B,\) integers with B >= 1, got float64 of shape \(0,\)"),
        ([[1, 2]], None, r"expected \(B,\) integers with B >= 1, got int64 of shape \(1, 2\)"),
        ([1.0], None, "integers with B >= 1, got float64"),
        ([True], None, "integers with B >= 1, got bool"),
        ([2, -1], None, "values from 0 to T=2, got -1 to 2"),
        ([2, 4], 3, "values from 0 to T=3, got 2 to 4"),
    ],
)
def test_wrong_lengths(lengths: Any, steps: int | None, message: str) -> None:
    with pytest.raises(ValueError, match=f"lengths: expected .*{message}|lengths: {message}"):
        Packing(lengths, steps)


def test_wrong_arrays() -> None:
    packing = Packing([1, 3])
    with pytest.raises(ValueError, match=r"expected \(T=3, B=2, \.\.\.\), got \(2, 3, 4\)"):
        packing.pack(np.zeros((2, 3, 4)))
    with pytest.raises(ValueError, match="expected N=4 packed rows, got 3"):
        packing.unpack(np.zeros((3, 4)))
