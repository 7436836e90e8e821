"""The cases run by the layers of this library, and the comparison."""

from typing import Any

import numpy as np

from rnncore import Recurrent
from rnncore.interop import Bundle, from_keras, from_pytorch, to_keras, to_pytorch
from tests.rnncore.golden.cases import Arrays, Case, D, H

#: The largest error: absolute in float64, relative to the largest number of its array (at least 1) in float32.
TOLERANCE = {"float64": 1e-10, "float32": 1e-5}


def torch_bundle(case: Case, problem: Arrays) -> Bundle:
    return from_pytorch({name: problem[name] for name in case.torch_weights()})


def torch_gradients(case: Case, grads: Bundle) -> Arrays:
    """Our gradients under PyTorch's names: where it has two biases whose sum acts, both get the gradient of ours."""
    named = to_pytorch(grads)
    if case.kind != "GRU":
        named |= {name.replace("_ih", "_hh"): a for name, a in named.items() if name.startswith("bias_ih")}
    return named


def keras_bundle(case: Case, problem: Arrays) -> Bundle:
    names = [name.split(".") for name in case.keras_weights()]
    return from_keras([[problem[f"{k}.{n}"] for at, n in names if at == str(k)] for k in range(case.layers)])


def keras_gradients(case: Case, grads: Bundle) -> Arrays:
    return {f"{k}.{n}": a for k, arrays in enumerate(to_keras(grads)) for n, a in enumerate(arrays)}


def run(case: Case, problem: Arrays, layer: Recurrent) -> tuple[Arrays, Bundle]:
    """What is compared, but for the weights' gradients; and those, as a bundle."""
    assert (layer.input_size, layer.hidden_size, layer.layers, layer.directions) == (D, H, case.layers, case.directions)
    lanes = case.layers * case.directions

    def given(prefix: str, suffix: str = "") -> list[Any]:
        arrays = [problem[f"{prefix}{s}{suffix}"] for s in case.states]
        return arrays if lanes > 1 else [a[0] for a in arrays]

    output, last = layer(problem["x"], given("", "0"), case.steps if case.lengths else None)
    dx, dinitial = layer.backward(problem["doutput"], given("d"))
    result: Arrays = {"output": output, "dx": dx}
    for s, state, dstate in zip(case.states, last, dinitial, strict=True):
        result |= {s: state.reshape(lanes, *state.shape[-2:]), f"d{s}0": dstate.reshape(lanes, *dstate.shape[-2:])}
    return result, Bundle(Bundle.of(layer).cell, dict(layer.grads))


def worst(case: Case, got: Arrays, expected: Arrays) -> dict[str, float]:
    """The error of every array, in units of what it may be."""
    assert set(got) == set(expected)
    errors = {}
    for name, want in expected.items():
        assert got[name].shape == want.shape
        assert got[name].dtype == want.dtype == np.dtype(case.dtype)
        assert np.any(want), f"{name} is zero: this would compare nothing"
        scale = 1.0 if case.dtype == "float64" else max(1.0, float(np.abs(want).max()))
        errors[name] = float(np.abs(got[name] - want).max()) / scale / TOLERANCE[case.dtype]
    return errors


def assert_same(case: Case, got: Arrays, expected: Arrays) -> None:
    bad = {name: error for name, error in worst(case, got, expected).items() if not error <= 1}
    assert not bad, f"{case}: times the tolerance {TOLERANCE[case.dtype]}: {bad}"
