"""The layers that people import, and every example in a docstring."""

import doctest
import importlib
import pkgutil
from functools import cache
from typing import Any

import numpy as np
import pytest

import rnncore
from rnncore import GRU, LSTM, RNN, Adam, Packing, check_function

LAYERS = {"LSTM": LSTM, "GRU": GRU, "RNN": RNN}


def modules() -> list[str]:
    return [m.name for m in pkgutil.walk_packages(rnncore.__path__, "rnncore.")]


@cache
def examples(name: str) -> doctest.TestResults:
    return doctest.testmod(importlib.import_module(name))


@pytest.mark.parametrize("name", modules())
def test_examples_in_docstrings_run(name: str) -> None:
    assert examples(name).failed == 0


def test_some_modules_have_examples() -> None:
    assert sum(examples(name).attempted for name in modules()) >= 20


@pytest.mark.parametrize("kind", LAYERS)
def test_gradients_of_a_layer_with_lengths(kind: str) -> None:
    rng = np.random.default_rng(3)
    layer = LAYERS[kind](2, 3, seed=1, dtype=np.float64)
    x, weight = rng.normal(size=(4, 3, 2)), rng.normal(size=(4, 3, 3))

    def loss() -> float:
        return float((layer(x, lengths=[4, 1, 3])[0] * weight).sum())

    loss()
    dx, _ = layer.backward(weight)
    grads = {name: g.copy() for name, g in layer.grads.items()}
    check_function(loss, {**layer.params, "x": x}, {**grads, "x": dx}, tolerance=1e-8)


def test_states_in_and_out_continue_a_sequence() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(6, 2, 3)).astype(np.float32)
    lstm = LSTM(3, 4, seed=2)
    whole, last = lstm(x)
    first, middle = lstm(x[:3])
    second, end = lstm(x[3:], middle)
    np.testing.assert_allclose(np.concatenate([first, second]), whole, atol=1e-6)
    for a, b in zip(end, last, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)


def test_a_lone_state_may_be_given_bare() -> None:
    x, h = np.ones((2, 1, 3), np.float32), np.full((1, 4), 0.5, np.float32)
    gru = GRU(3, 4)
    np.testing.assert_array_equal(gru(x, h)[0], gru(x, (h,))[0])


def test_equal_seeds_give_equal_layers_and_others_do_not() -> None:
    assert np.array_equal(LSTM(3, 4, seed=5).params.flat, LSTM(3, 4, seed=5).params.flat)
    assert not np.array_equal(LSTM(3, 4, seed=5).params.flat, LSTM(3, 4, seed=6).params.flat)


def test_both_forms_of_the_gru_are_there_and_differ() -> None:
    x = np.random.default_rng(0).normal(size=(5, 2, 3)).astype(np.float32)
    after, before = GRU(3, 4, seed=1), GRU(3, 4, seed=1, reset_after=False)
    assert after.params.size == before.params.size + 3 * 4
    assert not np.allclose(after(x)[0], before(x)[0])


@pytest.mark.parametrize("lengths", [None, [5, 3], Packing([5, 3])], ids=["whole", "lengths", "packed"])
@pytest.mark.parametrize("options", [{}, {"batch_first": True}, {"bidirectional": True}, {"layers": 2}], ids=str)
def test_what_a_layer_returns_is_the_callers(options: dict[str, Any], lengths: Any) -> None:
    rng = np.random.default_rng(0)
    lstm = LSTM(3, 4, **options)
    shape = (2, 5, 3) if lstm.batch_first else (5, 2, 3)
    x = rng.normal(size=(8, 3) if isinstance(lengths, Packing) else shape).astype(np.float32)
    output, state = lstm(x, lengths=lengths)
    doutput = rng.normal(size=output.shape).astype(np.float32)
    dx, dstate = lstm.backward(doutput)
    returned = [output, dx, *state, *dstate]
    assert all(a.flags.c_contiguous for a in returned)
    kept, traces = [a.copy() for a in returned], [{n: t[n] for n in t} for lanes in lstm.traces for t in lanes]
    for a in returned:
        a[...] = np.nan
    for before, trace in zip(traces, (t for lanes in lstm.traces for t in lanes), strict=True):
        for name, values in before.items():
            np.testing.assert_array_equal(trace[name], values)
    again = [*lstm.backward(doutput)[1]]
    for a, before in zip(again, kept[-len(again) :], strict=True):
        np.testing.assert_array_equal(a, before)
    for a, before in zip(returned, kept, strict=True):
        a[...] = before
    lstm(x + 1, lengths=lengths)
    lstm.backward(doutput + 1)
    for a, before in zip(returned, kept, strict=True):
        np.testing.assert_array_equal(a, before)


def test_training_a_layer_lowers_its_loss() -> None:
    rng = np.random.default_rng(0)
    x, target = rng.normal(size=(5, 8, 3)).astype(np.float32), rng.uniform(-0.5, 0.5, (5, 8, 4)).astype(np.float32)
    lstm = LSTM(3, 4)
    adam = Adam(lstm.params, learning_rate=0.02)
    losses = []
    for _ in range(60):
        output, _ = lstm(x)
        losses.append(float(((output - target) ** 2).sum()))
        lstm.backward(2 * (output - target))
        adam.step(lstm.grads.flat)
    assert losses[-1] < 0.7 * losses[0]


def test_bad_input_is_named() -> None:
    lstm = LSTM(3, 4)
    with pytest.raises(ValueError, match="NaN"):
        lstm(np.full((2, 1, 3), np.nan, np.float32))
    with pytest.raises(TypeError, match=r"x: expected an array of float32.*float64"):
        lstm(np.zeros((2, 1, 3)))
    with pytest.raises(ValueError, match=r"x: expected the shape \(T, B, D=3\), got \(2, 3\)"):
        lstm(np.zeros((2, 3), np.float32))
    with pytest.raises(ValueError, match=r"x: expected the shape \(T, B, D=3\), got \(2, 1, 5\)"):
        lstm(np.zeros((2, 1, 5), np.float32))
    with pytest.raises(RuntimeError, match="call the layer on x first"):
        LSTM(3, 4).backward()
    with pytest.raises(RuntimeError, match="GPU"):
        LSTM(3, 4, device="cuda") if not _has_gpu() else pytest.skip("there is a GPU")


def _has_gpu() -> bool:
    try:
        rnncore.array.module_for("cuda")
    except RuntimeError:
        return False
    return True


def test_a_layer_that_keeps_no_traces_has_the_same_outputs() -> None:
    x = np.random.default_rng(0).normal(size=(7, 5, 3)).astype("float32")
    layer = LSTM(3, 4, layers=2, bidirectional=True)
    layer.training = False
    output, last = layer(x, lengths=[7, 2, 0, 5, 5])
    layer.keeps_trace = False
    quick, quick_last = layer(x, lengths=[7, 2, 0, 5, 5])
    np.testing.assert_array_equal(quick, output)
    for one, other in zip(quick_last, last, strict=True):
        np.testing.assert_array_equal(one, other)
    with pytest.raises(RuntimeError, match="keep=True"):
        layer.backward(quick)
    layer.training = True
    layer(x)
    assert layer.trace["forget"].shape == (7, 5, 4)
