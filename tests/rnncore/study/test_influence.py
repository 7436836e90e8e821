"""Jacobians, gradients by lag and perturbations: against finite differences, one another, and closed forms."""

import numpy as np
import pytest

from rnncore.gradcheck import numeric_gradient
from rnncore.sequence import forward
from rnncore.study import Run, gradient_by_lag, jacobians, lag_below, perturbation, spectrum
from tests.rnncore.study.runs import LENGTHS, constant_forget, small_run


def stepped(run: Run, t: int, b: int, states: np.ndarray) -> np.ndarray:
    """All states after step t from the given ones before it, behind one another."""
    ends = np.cumsum([s.shape[1] for s in run.initial])[:-1]
    trace = forward(run.cell, run.weights, run.x[t : t + 1, b : b + 1], np.split(states[None], ends, axis=1))
    return np.concatenate([s[0] for s in trace.last])


@pytest.mark.parametrize("cell", ["LSTM", "GRU", "GRU-before", "RNN", "LSTM-projection", "Greff-FGR", "LSTM-peephole"])
def test_jacobians_are_the_derivatives_of_a_step(cell: str) -> None:
    run = small_run(cell)
    found = jacobians(run, 3)
    assert len(found.matrix) == LENGTHS[3]
    for t in range(LENGTHS[3]):
        s = np.concatenate([run.before(name)[t, 3] for name in run.cell.state])
        for i in range(len(s)):
            numeric = numeric_gradient(lambda t=t, s=s, i=i: float(stepped(run, t, 3, s)[i]), s)  # type: ignore[misc]
            np.testing.assert_allclose(found.matrix[t, i], numeric, atol=1e-9)


def test_blocks_norms_and_products_of_jacobians() -> None:
    run = small_run("LSTM", H=3)
    found = jacobians(run, 0)
    np.testing.assert_array_equal(found.block("h", "c"), found.matrix[:, :3, 3:])
    np.testing.assert_allclose(found.norms("c"), [np.linalg.svd(J)[1][0] for J in found.matrix[:, 3:, 3:]])
    np.testing.assert_allclose(found.norms(), [np.linalg.svd(J)[1][0] for J in found.matrix])
    np.testing.assert_allclose(found.between(1, 4), found.matrix[4] @ found.matrix[3] @ found.matrix[2])
    np.testing.assert_array_equal(found.between(2, 2), np.eye(6))
    some = jacobians(run, 0, steps=[4])
    np.testing.assert_array_equal(some.matrix[0], found.matrix[4])


def test_the_gradient_by_lag_is_the_product_of_jacobians() -> None:
    run = small_run("GRU", seed=2)
    found = gradient_by_lag(run, directions=1, seed=5)
    v = np.random.default_rng(5).normal(size=(4, 3))
    for b, n in enumerate(LENGTHS):
        for k in range(n):
            left = v[b] @ jacobians(run, b).between(n - 1 - k, n - 1)
            assert found[k, b] == pytest.approx(np.linalg.norm(left) / np.linalg.norm(v[b]), rel=1e-10)
        assert np.isnan(found[n:, b]).all()


def test_the_gradient_by_lag_of_a_constant_forget_gate() -> None:
    found = gradient_by_lag(constant_forget(0.8))
    np.testing.assert_allclose(found[:, 0], 0.8 ** np.arange(12), rtol=1e-9)


@pytest.mark.parametrize("cell", ["LSTM", "GRU", "RNN"])
def test_a_small_perturbation_goes_where_the_jacobians_send_it(cell: str) -> None:
    run = small_run(cell, seed=3)
    state = "c" if cell == "LSTM" else "h"
    found = perturbation(run, at=[1], size=1e-6, directions=1, seed=7)
    v = np.random.default_rng(7).normal(size=(4, 3))
    for b, n in enumerate(LENGTHS):
        moved = jacobians(run, b) if n else None
        for k in range(max(n - 1, 0)):
            assert moved is not None
            part = moved.parts[state]
            left = moved.between(1, 1 + k)[part, part] @ v[b]
            assert found[k, b] == pytest.approx(np.linalg.norm(left) / np.linalg.norm(v[b]), rel=1e-4)
        assert np.isnan(found[max(n - 1, 0) :, b]).all()


def test_the_perturbation_of_a_constant_forget_gate_and_its_length() -> None:
    found = perturbation(constant_forget(0.8))
    np.testing.assert_allclose(found[:-1, 0], 0.8 ** np.arange(11), rtol=1e-9)
    exact = np.log(0.5) / np.log(0.8)
    assert abs(lag_below(found) - exact) < 0.05  # straight between whole lags
    assert np.isinf(lag_below(perturbation(constant_forget(1.0))))


def test_lag_below_takes_the_mean_over_those_that_are_long_enough() -> None:
    curve = np.array([[1.0, 1.0], [0.5, 0.9], [0.2, np.nan]])
    assert lag_below(curve, 0.5) == pytest.approx(1 + (0.7 - 0.5) / (0.7 - 0.2))


def test_the_spectrum_is_that_of_each_block() -> None:
    run = small_run("LSTM", H=3)
    theta = 0.7
    turn = 0.9 * np.array([[np.cos(theta), -np.sin(theta), 0], [np.sin(theta), np.cos(theta), 0], [0, 0, 2]])
    run.weights["U"][3:6] = turn
    found = spectrum(run)["forget"]
    np.testing.assert_allclose(np.abs(found), [1.8, 0.9, 0.9])
    np.testing.assert_allclose(sorted(np.angle(found)), [-theta, 0, theta], atol=1e-12)
    with pytest.raises(ValueError, match="no spectrum"):
        spectrum(small_run("minGRU"))
