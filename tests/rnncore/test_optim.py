"""Optimisers against the textbook, clipping."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rnncore import optim
from rnncore.optim import SGD, Adam, AdamW, Optimiser, clip_global_norm
from rnncore.params import Params

SHAPES = {"W": (3, 4), "b": (5,)}


def start(dtype: Any = np.float64, seed: int = 0) -> Params:
    p = Params(SHAPES, dtype)
    p.flat[:] = np.random.default_rng(seed).normal(size=p.size)
    return p


def gradients(steps: int, size: int, seed: int = 1) -> Any:
    """Gradients of widely different scales, some exactly zero."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=(steps, size)) * 10.0 ** rng.integers(-6, 3, size) * (rng.random((steps, size)) > 0.1)


def adam_reference(
    theta: Any, grads: Any, rate: float, beta1: float = 0.9, beta2: float = 0.999, epsilon: float = 1e-8
) -> Any:
    """Algorithm 1 of Kingma & Ba 2015, line by line."""
    m, v = np.zeros_like(theta), np.zeros_like(theta)
    for t, g in enumerate(grads, 1):
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g**2
        m_hat = m / (1 - beta1**t)
        v_hat = v / (1 - beta2**t)
        theta = theta - rate * m_hat / (np.sqrt(v_hat) + epsilon)
    return theta


def run(optimiser: Optimiser, grads: Any) -> Any:
    for g in grads:
        optimiser.step(g)
    return optimiser.flat


@pytest.mark.parametrize("betas", [(0.9, 0.999, 1e-8), (0.5, 0.9, 1e-3), (0.0, 0.99, 1e-7), (0.9, 0.0, 1e-2)])
@pytest.mark.parametrize("block", [1, 4, 1 << 15])
def test_adam_is_algorithm_1_to_the_last_bits(betas: Any, block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(optim, "BLOCK", block)
    p = start()
    grads = gradients(300, p.size)
    expected = adam_reference(p.flat.copy(), grads, 1e-2, *betas)
    np.testing.assert_allclose(run(Adam(p, 1e-2, *betas), grads), expected, rtol=1e-12, atol=1e-13)


def test_adam_in_float32_stays_near_float64() -> None:
    p = start(np.float32)
    grads = gradients(300, p.size).astype(np.float32)
    expected = adam_reference(p.flat.astype(np.float64), grads.astype(np.float64), 1e-3)
    with np.errstate(all="raise"):
        run(Adam(p), grads)
    assert p.flat.dtype == np.float32
    np.testing.assert_allclose(p.flat, expected, atol=3e-6)


def test_the_reference_sees_another_epsilon() -> None:
    """Epsilon inside the square root, or not corrected: what Algorithm 1 is often taken for."""
    p, grads = start(), gradients(20, 17)
    expected = adam_reference(p.flat.copy(), grads, 1e-2)
    wrong = run(Adam(p, 1e-2, epsilon=1e-8 * math.sqrt(1 - 0.999)), grads)
    assert np.abs(wrong - expected).max() > 1e-4


@given(st.floats(1e-3, 1e3), st.floats(1e-5, 1.0))
def test_the_first_step_of_adam_in_closed_form(g: float, rate: float) -> None:
    theta = np.zeros(2)
    Adam(theta, rate).step(np.array([g, -g]))
    np.testing.assert_allclose(theta, [-rate * g / (g + 1e-8), rate * g / (g + 1e-8)], rtol=1e-12)


def test_constant_gradients_move_adam_by_the_rate_each_step() -> None:
    theta = np.zeros(1)
    run(Adam(theta, 0.01), np.full((100, 1), 5.0))
    assert theta[0] == pytest.approx(-1.0, rel=1e-7)


def test_a_zero_gradient_never_moves_adam() -> None:
    p = start(np.float32)
    before = p.flat.copy()
    run(Adam(p), np.zeros((70, p.size), np.float32))
    np.testing.assert_array_equal(p.flat, before)


@pytest.mark.parametrize("make", [Adam, lambda p: SGD(p, 1e-3, 0.9)])
def test_moments_never_stay_subnormal(make: Any) -> None:
    p = start(np.float32)
    optimiser = make(p)
    optimiser.step(np.full(p.size, 1e-3, np.float32))
    before = None
    for _ in range(1279):
        if optimiser.steps == 800:
            before = p.flat.copy()
        optimiser.step(np.zeros(p.size, np.float32))
    assert optimiser.steps % optim.FLUSH_EVERY == 0
    moment = optimiser.state_dict()[optimiser.slots[0]]
    assert not moment.any()
    np.testing.assert_array_equal(p.flat, before)


def test_small_moments_are_kept_and_may_underflow_in_silence() -> None:
    theta = np.zeros(3, np.float32)
    optimiser = Adam(theta)
    with np.errstate(all="raise"):
        run(optimiser, np.full((optim.FLUSH_EVERY, 3), 1e-25, np.float32))
    np.testing.assert_allclose(optimiser.state_dict()["gradient_sum"], 1e-24, rtol=2e-3)


@pytest.mark.parametrize("block", [2, 1 << 15])
def test_what_is_under_1e8_times_the_least_is_flushed_every_so_many_steps(
    block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(optim, "BLOCK", block)
    least = np.float32(1e8 * float(np.finfo(np.float32).tiny))
    under, over = np.nextafter(least, np.float32(0)), np.float32(1.5) * least
    velocity = np.array([under, least, over, -under, -least, 1e-33, 1.0], np.float32)
    optimiser = SGD(np.zeros(7, np.float32), 0.1)
    for steps, kept in (
        (optim.FLUSH_EVERY - 2, velocity),
        (optim.FLUSH_EVERY - 1, velocity * (abs(velocity) >= least)),
    ):
        optimiser.load_state_dict({"steps": steps, "learning_rate": 0.1, "velocity": velocity})
        optimiser.momentum = 1.0  # so that nothing changes the velocity but the flush
        optimiser.step(np.zeros(7, np.float32))
        np.testing.assert_array_equal(optimiser.state_dict()["velocity"], kept)


def test_a_rate_of_zero_moves_nothing_and_an_optimiser_needs_an_update() -> None:
    p = start()
    before = p.flat.copy()
    Adam(p, 0.0).step(np.ones(p.size))
    np.testing.assert_array_equal(p.flat, before)
    with pytest.raises(NotImplementedError):
        Optimiser(p, 0.1).step(np.ones(p.size))


def test_the_defaults_are_those_that_the_papers_and_pytorch_have() -> None:
    grads = gradients(5, 17)
    pairs: list[tuple[Any, Any]] = [
        (Adam, lambda p: Adam(p, 1e-3, 0.9, 0.999, 1e-8)),
        (AdamW, lambda p: AdamW(p, 1e-3, 1e-2, ["W"], beta1=0.9, beta2=0.999, epsilon=1e-8)),
        (lambda p: SGD(p, 0.1), lambda p: SGD(p, 0.1, momentum=0.0)),
        (lambda p: SGD(p, 0.1, 0.9), lambda p: SGD(p, 0.1, momentum=0.9, nesterov=False)),
    ]
    for default, written in pairs:
        p, q = start(), start()
        np.testing.assert_array_equal(run(default(p), grads), run(written(q), grads))


def test_flushing_changes_no_parameter_in_float64() -> None:
    p = start()
    grads = np.zeros((1500, p.size))
    grads[0], grads[700] = 1e-3, -2e-3
    expected = adam_reference(p.flat.copy(), grads, 1e-2)
    np.testing.assert_allclose(run(Adam(p, 1e-2), grads), expected, rtol=1e-12)


def test_adamw_is_adam_after_decay_of_the_matrices() -> None:
    p, grads = start(), gradients(1, 17)
    expected = p.copy()
    expected["W"][...] *= 1 - 0.1 * 0.3
    run(Adam(expected, 0.1), grads)
    np.testing.assert_array_equal(run(AdamW(p, 0.1, decay=0.3), grads), expected.flat)


def test_adamw_without_decay_is_adam() -> None:
    p, q, grads = start(), start(), gradients(50, 17)
    np.testing.assert_array_equal(run(AdamW(p, 0.1, decay=0, beta1=0.8), grads), run(Adam(q, 0.1, beta1=0.8), grads))


def test_adamw_decays_the_names_it_is_given() -> None:
    p = start()
    before = p.copy()
    AdamW(p, 0.5, decay=0.2, names=["b"]).step(np.zeros(p.size))
    np.testing.assert_allclose(p["b"], 0.9 * before["b"])
    np.testing.assert_array_equal(p["W"], before["W"])
    with pytest.raises(KeyError, match=r"no parameters \['U'\] to decay; there are \['W', 'b'\]"):
        AdamW(p, names=["U"])
    with pytest.raises(ValueError, match="decay must be at least 0"):
        AdamW(p, decay=-1)


@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("block", [4, 1 << 15])
def test_sgd_is_its_equation(nesterov: bool, momentum: float, block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(optim, "BLOCK", block)
    p, grads = start(), gradients(50, 17)
    theta, u = p.flat.copy(), np.zeros(17)
    for g in grads:
        u = momentum * u + g
        theta = theta - 0.01 * (g + momentum * u if nesterov else u)
    np.testing.assert_allclose(run(SGD(p, 0.01, momentum, nesterov), grads), theta, rtol=1e-12, atol=1e-12)


def test_momentum_descends_a_quadratic() -> None:
    theta = np.array([1.0, -2.0])
    optimiser = SGD(theta, 0.1, 0.9, nesterov=True)
    for _ in range(200):
        optimiser.step(theta * [1.0, 3.0])
    assert np.abs(theta).max() < 1e-6


MAKERS: dict[str, Callable[[Params], Optimiser]] = {
    "adam": lambda p: Adam(p, 1e-2),
    "adamw": lambda p: AdamW(p, 1e-2),
    "sgd": lambda p: SGD(p, 1e-2, 0.9, True),
}


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_resumed_run_is_the_same_to_the_last_bit(name: str, dtype: Any) -> None:
    p, grads = start(dtype), gradients(200, 17).astype(dtype)
    optimiser = MAKERS[name](p)
    run(optimiser, grads[:90])
    optimiser.learning_rate = 3e-3
    saved, weights = optimiser.state_dict(), p.flat.copy()
    expected = run(optimiser, grads[90:]).copy()
    other = start(dtype, seed=9)
    resumed = MAKERS[name](other)
    resumed.load_state_dict(saved)
    other.flat[:] = weights
    np.testing.assert_array_equal(run(resumed, grads[90:]), expected)
    assert resumed.steps == 200
    assert resumed.learning_rate == 3e-3
    run(resumed, grads)
    assert saved["steps"] == 90


def test_a_state_that_does_not_fit_changes_nothing() -> None:
    p = start()
    optimiser = Adam(p)
    optimiser.step(np.ones(p.size))
    before = optimiser.state_dict()
    with pytest.raises(ValueError, match=r"Adam keeps .*gradient_sum.* the saved state has .*velocity"):
        optimiser.load_state_dict(SGD(p, 0.1).state_dict())
    with pytest.raises(ValueError, match=r"square_sum: expected the shape \(size=17\), got \(3,\)"):
        optimiser.load_state_dict(before | {"square_sum": np.zeros(3)})
    with pytest.raises(TypeError, match="gradient_sum: expected an array of float64, got ndarray of float32"):
        optimiser.load_state_dict(before | {"gradient_sum": np.zeros(17, np.float32)})
    for name, value in optimiser.state_dict().items():
        np.testing.assert_array_equal(value, before[name])


def test_what_does_not_fit_is_refused() -> None:
    p = start()
    optimiser = Adam(p)
    with pytest.raises(ValueError, match=r"grads: expected the shape \(size=17\), got \(16,\)"):
        optimiser.step(np.ones(16))
    with pytest.raises(TypeError, match="grads: expected an array of float64, got ndarray of float32"):
        optimiser.step(np.ones(17, np.float32))
    assert optimiser.steps == 0
    for rate in (-1.0, math.nan, math.inf):
        with pytest.raises(ValueError, match="learning_rate must be at least 0"):
            Adam(p, rate)
    for wrong in ({"beta1": 1.0}, {"beta2": 1.0}, {"beta1": -0.1}, {"beta2": -0.1}, {"epsilon": 0.0}):
        with pytest.raises(ValueError, match="expected beta1, beta2"):
            Adam(p, **wrong)
    for integers in (np.zeros(3, int), [0.0]):
        with pytest.raises(TypeError, match="params: expected an array of float32 or float64"):
            Adam(integers)
        with pytest.raises(TypeError, match="grads: expected an array of float32 or float64"):
            clip_global_norm(integers, 1.0)
    with pytest.raises(ValueError, match=r"momentum must be in \[0, 1\)"):
        SGD(p, 0.1, momentum=1.0)
    with pytest.raises(ValueError, match=r"params: expected the shape \(size\), got \(3, 4\)"):
        Adam(p["W"])


def test_an_empty_buffer_may_be_optimised() -> None:
    Adam(np.zeros(0)).step(np.zeros(0))


@given(st.integers(1, 50), st.floats(1e-3, 1e3), st.sampled_from([np.float32, np.float64]))
def test_clipping(n: int, limit: float, dtype: Any) -> None:
    g = np.random.default_rng(n).normal(size=n).astype(dtype)
    before = g.copy()
    norm = clip_global_norm(g, limit)
    assert norm == pytest.approx(float(np.linalg.norm(before.astype(np.float64))), rel=1e-6)
    if norm <= limit:
        np.testing.assert_array_equal(g, before)
    else:
        np.testing.assert_allclose(g, before * (limit / norm), rtol=1e-6)
        assert float(np.linalg.norm(g)) == pytest.approx(limit, rel=1e-5)
    assert g.dtype == dtype


def test_clipping_takes_norms_whose_square_overflows() -> None:
    g = np.full(4, 1e25, np.float32)
    with np.errstate(all="raise"):
        assert clip_global_norm(g, 1.0) == pytest.approx(2e25, rel=1e-6)
    np.testing.assert_allclose(g, 0.5, rtol=1e-6)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_clipping_names_the_worst_parameter_and_changes_nothing(bad: float) -> None:
    p = start(np.float32)
    p["W"][0, 0], p["b"][1:4] = bad, bad
    before = p.flat.copy()
    with np.errstate(all="raise"), pytest.raises(FloatingPointError, match="3 of the 5 numbers of b are not finite"):
        clip_global_norm(p, 1.0)
    with pytest.raises(FloatingPointError, match="the gradient's norm is"):
        clip_global_norm(p.flat, 1.0)
    np.testing.assert_array_equal(p.flat, before)
    with pytest.raises(ValueError, match="limit must be above 0"):
        clip_global_norm(p, 0)
