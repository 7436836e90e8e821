"""Keras parity: outputs, states and every gradient of layers with its weights; and the layout of its get_weights."""

import os

import numpy as np
import pytest

from rnncore import GRU, LSTM, RNN, Recurrent
from rnncore.interop import from_keras, to_keras
from tests.rnncore.golden import ours
from tests.rnncore.golden.cases import KERAS, Arrays, Case, golden


def compare(case: Case, problem: Arrays, expected: Arrays) -> None:
    got, grads = ours.run(case, problem, ours.keras_bundle(case, problem).layer())
    named = {f"d {name}": a for name, a in ours.keras_gradients(case, grads).items()}
    ours.assert_same(case, got | named, expected)


@pytest.mark.parametrize("case", KERAS, ids=str)
def test_golden(case: Case) -> None:
    compare(case, *golden("keras.npz", case, case.keras_weights()))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # Keras's arrays do not know NumPy 2's `copy` yet
@pytest.mark.parametrize("case", KERAS, ids=str)
def test_live(case: Case) -> None:
    os.environ.setdefault("KERAS_BACKEND", "torch")
    pytest.importorskip("torch")
    pytest.importorskip("keras")
    from tests.rnncore.golden.peers import run_keras

    problem = case.draw(case.keras_weights(), 1000 + KERAS.index(case))
    compare(case, problem, run_keras(case, problem))


@pytest.mark.parametrize("array", ["0.0", "0.1", "0.2"])
def test_blocks_in_a_wrong_order_are_seen(array: str) -> None:
    case = next(c for c in KERAS if c.kind == "GRU" and c.dtype == "float32")
    problem, expected = golden("keras.npz", case, case.keras_weights())
    first, second, third = np.split(problem[array], 3, axis=-1)
    problem[array] = np.concatenate([second, first, third], axis=-1)
    with pytest.raises(AssertionError, match="times the tolerance"):
        compare(case, problem, expected)


LAYERS: list[Recurrent] = [
    RNN(2, 3),
    LSTM(2, 3, layers=3, bidirectional=True),
    GRU(2, 3, layers=2),
    GRU(2, 3, layers=2, bidirectional=True, reset_after=False),
]


@pytest.mark.parametrize("layer", LAYERS, ids=repr)
def test_there_and_back(layer: Recurrent) -> None:
    layer.params.flat[...] = np.random.default_rng(0).normal(size=layer.params.size)
    bundle = from_keras(to_keras(layer))
    assert list(bundle.params) == list(layer.params)
    for name, value in layer.params.items():
        np.testing.assert_array_equal(bundle.params[name], value)
        assert not np.shares_memory(bundle.params[name], value)


def test_one_layer_may_be_given_bare() -> None:
    (weights,) = to_keras(LSTM(2, 3, seed=4))
    np.testing.assert_array_equal(from_keras(weights).params["layer0.U"], LSTM(2, 3, seed=4).params["layer0.U"])


@pytest.mark.parametrize("layer", LAYERS, ids=repr)
def test_layers_without_bias_have_zero_ones(layer: Recurrent) -> None:
    bare = [[a for n, a in enumerate(weights) if n % 3 < 2] for weights in to_keras(layer)]
    cell = "GRU-before" if layer is LAYERS[-1] else {"RNN": "RNN", "LSTM": "LSTM", "GRU": "GRU"}[type(layer).__name__]
    bundle = from_keras(bare, cell)
    assert bundle.cell == cell
    assert list(bundle.params) == list(layer.params)
    assert not any(np.any(a) for name, a in bundle.params.items() if ".b" in name)


def test_what_does_not_fit_is_named() -> None:
    lstm = [np.zeros((2, 12)), np.zeros((3, 12)), np.zeros(12)]
    gru = [np.zeros((2, 9)), np.zeros((3, 9)), np.zeros((2, 9))]
    with pytest.raises(ValueError, match="at least one layer"):
        from_keras([])
    with pytest.raises(ValueError, match=r"layer 0: expected 2 or 3 arrays.*got 9; give one list for each layer"):
        from_keras(lstm * 3)
    with pytest.raises(ValueError, match=r"layer 1: expected kernel, recurrent.* and bias.*\(2, 11\) and \(3, 12\)"):
        from_keras([lstm, [np.zeros((2, 11)), *lstm[1:]]])
    with pytest.raises(ValueError, match=r"layer 0: expected the bias \(12,\) or \(2, 12\), got \(11,\)"):
        from_keras([*lstm[:2], np.zeros(11)])
    with pytest.raises(ValueError, match=r"GRU without bias does not tell its form"):
        from_keras(gru[:2])
    with pytest.raises(ValueError, match=r"recurrent kernel: expected .* got \(3, 6\)"):
        from_keras([np.zeros((2, 6)), np.zeros((3, 6))])
    with pytest.raises(ValueError, match=r"GRU: expected a kernel of 3·H columns"):
        from_keras(lstm, "GRU")
    with pytest.raises(ValueError, match=r"GRU-before: a bias of two rows"):
        from_keras(gru, "GRU-before")
    with pytest.raises(ValueError, match=r"Keras has no layer for 'ConvLSTM'"):
        from_keras(lstm, "ConvLSTM")
    with pytest.raises(ValueError, match=r"layer1.W \(12, 3\), got \(12, 2\)"):
        from_keras([lstm, lstm])
