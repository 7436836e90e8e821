"""Softmax cross-entropy against its definition, and log-softmax."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rnncore import losses
from rnncore.losses import Loss, NonFiniteLoss, log_softmax, softmax_cross_entropy
from tests.rnncore.differences import assert_gradient


def textbook(z: Any, targets: Any, weights: Any) -> float:
    """The definition, row by row, by exact sums of Python numbers."""
    rows = [math.log(math.fsum(math.exp(v) for v in row)) - row[t] for row, t in zip(z, targets, strict=True)]
    return math.fsum(w * r for w, r in zip(weights, rows, strict=True)) / math.fsum(weights)


def problem(n: int, words: int, seed: int = 0) -> tuple[Any, Any, Any]:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, words)) * 3, rng.integers(0, words, n), rng.uniform(0.1, 2, n)


@given(st.integers(1, 9), st.integers(1, 6), st.integers(0, 999))
def test_it_is_its_definition(n: int, words: int, seed: int) -> None:
    z, targets, weights = problem(n, words, seed)
    assert softmax_cross_entropy(z, targets).loss == pytest.approx(textbook(z, targets, [1.0] * n), abs=1e-12)
    got = softmax_cross_entropy(z, targets, weights)
    assert got.loss == pytest.approx(textbook(z, targets, weights), abs=1e-12)
    np.testing.assert_allclose(got.dlogits.sum(1), 0, atol=1e-14)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("block", [1, 10, 1 << 17])
def test_gradient(weighted: bool, block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(losses, "BLOCK", block)
    z, targets, weights = problem(7, 5)
    w = weights if weighted else None
    kept = z.copy()
    gradient = softmax_cross_entropy(z, targets, w).dlogits
    np.testing.assert_array_equal(z, kept)
    assert_gradient(lambda: softmax_cross_entropy(z, targets, w).loss, z, gradient)


def test_the_check_sees_a_gradient_without_the_target() -> None:
    z, targets, _ = problem(4, 5)
    softmax = softmax_cross_entropy(z, targets).dlogits
    softmax[2, targets[2]] += 1 / 4
    with pytest.raises(AssertionError, match="relative error"):
        assert_gradient(lambda: softmax_cross_entropy(z, targets).loss, z, softmax)


def test_in_place_overwrites_the_logits_with_the_same_gradient() -> None:
    z, targets, weights = problem(6, 4)
    expected = softmax_cross_entropy(z, targets, weights)
    got = softmax_cross_entropy(z, targets, weights, inplace=True)
    assert got.dlogits is z
    np.testing.assert_array_equal(z, expected.dlogits)
    assert got.loss == expected.loss


def test_padding_gets_exactly_zero_whatever_it_holds() -> None:
    z, targets, _ = problem(5, 4)
    weights = np.array([1.0, 0, 1, 0, 1])
    z[1], z[3] = np.nan, [np.inf, -np.inf, 0, 1e300]
    keep = weights > 0
    with np.errstate(all="raise"):
        got = softmax_cross_entropy(z, targets, weights)
    expected = softmax_cross_entropy(z[keep], targets[keep])
    assert got.loss == pytest.approx(expected.loss, abs=1e-15)
    assert not got.dlogits[~keep].any()
    np.testing.assert_allclose(got.dlogits[keep], expected.dlogits, atol=1e-16)


@pytest.mark.parametrize("kind", [bool, int, np.float64])
def test_weights_of_any_kind_leave_float32_alone(kind: Any) -> None:
    z, targets, _ = problem(3, 4)
    z = z.astype(np.float32)
    got = softmax_cross_entropy(z, targets, np.array([1, 0, 1], kind))
    assert got == (softmax_cross_entropy(z, targets, np.array([1, 0, 1], np.float32)).loss, got.dlogits)
    assert got.dlogits.dtype == np.float32


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_large_logits(dtype: Any) -> None:
    z = np.array([[1e4, 0, -1e4], [88, -88, 0], [-1e30, 0, 1e30]], dtype)
    with np.errstate(all="raise"):
        got = softmax_cross_entropy(z, np.array([0, 0, 2]))
        logs = log_softmax(z)
    assert got.loss == 0
    assert not got.dlogits[[0, 2]].any()
    assert got.dlogits.dtype == logs.dtype == dtype
    np.testing.assert_allclose(logs[0], [0, -1e4, -2e4])


def test_shift_of_a_row_changes_nothing() -> None:
    z, targets, _ = problem(4, 5)
    shifted = z + np.array([[0.0], [100], [-1000], [1e6]])
    assert softmax_cross_entropy(shifted, targets).loss == pytest.approx(
        softmax_cross_entropy(z, targets).loss, abs=1e-9
    )


def test_equal_logits_cost_the_logarithm_of_the_vocabulary() -> None:
    got = softmax_cross_entropy(np.zeros((3, 1652), np.float32), np.array([0, 5, 1651]))
    assert got.loss == pytest.approx(math.log(1652), rel=1e-6)


def test_float32_is_near_float64() -> None:
    z, targets, weights = problem(300, 500)
    wide = softmax_cross_entropy(z, targets, weights)
    with np.errstate(all="raise"):
        narrow = softmax_cross_entropy(z.astype(np.float32), targets, weights.astype(np.float32))
    assert narrow.dlogits.dtype == np.float32
    assert narrow.loss == pytest.approx(wide.loss, rel=1e-6)
    np.testing.assert_allclose(narrow.dlogits, wide.dlogits, atol=1e-8)


def test_log_softmax_is_its_definition() -> None:
    z, _, _ = problem(4, 5)
    np.testing.assert_allclose(log_softmax(z), np.log(np.exp(z) / np.exp(z).sum(1, keepdims=True)), atol=1e-13)


@pytest.mark.parametrize("block", [1, 12, 1 << 17])
def test_log_softmax_in_place_and_in_blocks(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(losses, "BLOCK", block)
    z, _, _ = problem(5, 6)
    expected, kept = np.log(np.exp(z) / np.exp(z).sum(1, keepdims=True)), z.copy()
    np.testing.assert_allclose(log_softmax(z), expected, atol=1e-13)
    np.testing.assert_array_equal(z, kept)
    assert log_softmax(z, inplace=True) is z
    np.testing.assert_allclose(z, expected, atol=1e-13)
    assert log_softmax(z[:0]).shape == (0, 6)


@pytest.mark.parametrize(("block", "rows"), [(1, 1), (12, 2), (17, 2), (18, 3)])
def test_a_block_has_as_many_rows_as_fit_and_one_at_least(
    block: int, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(losses, "BLOCK", block)
    assert losses.rows_together(np.zeros((5, 6))) == rows


def test_the_loss_is_a_number_of_python() -> None:
    for dtype in (np.float32, np.float64):
        z, targets, weights = problem(4, 5)
        assert type(softmax_cross_entropy(z.astype(dtype), targets, weights.astype(dtype)).loss) is float


@pytest.mark.parametrize("wrong", [np.zeros((2, 3), np.float16), np.zeros((2, 3), int), np.zeros(3, np.float32)])
def test_log_softmax_refuses_what_it_does_not_take(wrong: Any) -> None:
    with pytest.raises((TypeError, ValueError), match="logits: expected"):
        log_softmax(wrong)


def test_a_loss_that_is_not_finite_comes_back_and_check_raises() -> None:
    z = np.zeros((2, 3), np.float32)
    z[1, 1] = np.nan
    got = softmax_cross_entropy(z, np.array([0, 1]))
    assert math.isnan(got.loss)
    with pytest.raises(NonFiniteLoss, match="nan at epoch 3, batch 17; look for NaN"):
        got.check("epoch 3, batch 17")
    with pytest.raises(ArithmeticError, match="inf at step 1"):
        Loss(math.inf, z).check("step 1")
    fine = Loss(1.0, z)
    assert fine.check("anywhere") is fine


def test_infinite_logits() -> None:
    z = np.array([[np.inf, 0.0], [0.0, -np.inf]])
    assert math.isnan(softmax_cross_entropy(z[:1], np.array([0])).loss)
    assert softmax_cross_entropy(z[1:], np.array([0])).loss == 0
    assert softmax_cross_entropy(z[1:], np.array([1])).loss == math.inf


def test_what_does_not_fit_is_refused() -> None:
    z, targets, weights = problem(4, 5)
    with pytest.raises(IndexError, match=r"targets: 5 is outside \[0, 5\)"):
        softmax_cross_entropy(z, np.array([0, 5, 1, 2]))
    with pytest.raises(IndexError, match=r"targets: -1 is outside"):
        softmax_cross_entropy(z, np.array([0, -1, 1, 2]))
    with pytest.raises(TypeError, match="targets: expected an array of integers"):
        softmax_cross_entropy(z, targets.astype(float))
    with pytest.raises(ValueError, match=r"targets: expected the shape \(N=4\), got \(3,\)"):
        softmax_cross_entropy(z, targets[:3])
    with pytest.raises(ValueError, match=r"logits: expected the shape \(N, V\), got \(1, 4, 5\)"):
        softmax_cross_entropy(z[None], targets)
    with pytest.raises(TypeError, match="logits: expected an array of float32 or float64"):
        softmax_cross_entropy(z.astype(int), targets)
    with pytest.raises(ValueError, match=r"weights: expected the shape \(N=4\)"):
        softmax_cross_entropy(z, targets, weights[:3])
    for wrong in (weights * 0, weights - 1, weights * np.nan):
        with pytest.raises(ValueError, match="weights must be at least 0 and not all 0"):
            softmax_cross_entropy(z, targets, wrong)
    with pytest.raises(ValueError, match="of no rows is undefined"):
        softmax_cross_entropy(z[:0], targets[:0])


@given(st.integers(1, 9), st.integers(1, 6), st.integers(0, 999), st.floats(0, 0.9))
def test_smoothing_is_the_loss_of_smoothed_targets(n: int, words: int, seed: int, share: float) -> None:
    z, targets, weights = problem(n, words, seed)
    each = [[textbook(z[k : k + 1], [v], [1.0]) for v in range(words)] for k in range(n)]
    smoothed = [(1 - share) * row[t] + share * math.fsum(row) / words for row, t in zip(each, targets, strict=True)]
    expected = math.fsum(w * s for w, s in zip(weights, smoothed, strict=True)) / math.fsum(weights)
    assert softmax_cross_entropy(z, targets, weights, smoothing=share).loss == pytest.approx(expected, abs=1e-12)


def test_gradient_of_smoothing() -> None:
    z, targets, weights = problem(7, 5)
    gradient = softmax_cross_entropy(z, targets, weights, smoothing=0.2).dlogits
    assert_gradient(lambda: float(softmax_cross_entropy(z, targets, weights, smoothing=0.2).loss), z, gradient)
    assert np.abs(gradient - softmax_cross_entropy(z, targets, weights).dlogits).max() > 1e-3


@pytest.mark.parametrize("share", [-0.1, 1.0])
def test_a_share_out_of_range_is_refused(share: float) -> None:
    z, targets, _ = problem(2, 3)
    with pytest.raises(ValueError, match="smoothing: expected a share from 0 to below 1"):
        softmax_cross_entropy(z, targets, smoothing=share)
