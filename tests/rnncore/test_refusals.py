"""What a person types by mistake, or who comes from elsewhere: an error that says what was expected and what to do."""

import copy
import pickle
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from rnncore import (
    GRU,
    LSTM,
    RNN,
    Adam,
    GradientError,
    Params,
    Recurrent,
    check_cell,
    check_function,
    clip_global_norm,
    save,
    softmax_cross_entropy,
)
from rnncore.cells import CELLS, LSTMP
from rnncore.cells import LSTM as LSTMCell
from rnncore.interop import from_pytorch

X = np.random.default_rng(0).normal(size=(6, 3, 5)).astype(np.float32)
H0 = np.zeros((3, 4), np.float32)
L = LSTM(5, 4)


class Module:
    """As PyTorch's."""

    def state_dict(self) -> dict[str, Any]:
        return {}


GIVEN: Any = None  # what no type checker would let through

REFUSED: dict[str, tuple[Callable[[], object], type[Exception], str]] = {
    "a list": (lambda: L([[[1.0] * 5]]), TypeError, r"x: .* got list; make one with numpy.asarray\(x, 'float32'\)"),
    "integers": (lambda: L(np.ones((6, 3, 5), int)), TypeError, r"got ndarray of int64; convert it with x.astype"),
    "float64": (lambda: L(X.astype("f8")), TypeError, r"got ndarray of float64; convert it with x.astype\('float32'\)"),
    "float16": (lambda: L(X.astype("f2")), TypeError, "got ndarray of float16"),
    "other byte order": (lambda: L(X.astype(">f4")), TypeError, "got ndarray of >f4; convert"),
    "a masked array": (
        lambda: L(np.ma.array(X)),
        TypeError,
        "a mask is not heeded: hand over x.data, and say how long",
    ),
    "one sequence": (lambda: L(X[:, 0]), ValueError, r"\(T, B, D=5\), got \(6, 5\); one sequence .*, x\[:, None\]"),
    "one, batch first": (lambda: LSTM(5, 4, batch_first=True)(X[:, 0]), ValueError, r"\(B, T, D=5\).*, x\[None\]"),
    "other features": (lambda: L(X[..., :4]), ValueError, r"expected the shape \(T, B, D=5\), got \(6, 3, 4\)"),
    "no sequences": (lambda: L(X[:, :0]), ValueError, r"x: expected at least one sequence, .* \(6, 0, 5\)"),
    "NaN in x": (lambda: L(np.where(X > 1, np.nan, X)), ValueError, "x: expected finite numbers"),
    "a long length": (
        lambda: L(X, lengths=[7, 2, 0]),
        ValueError,
        "lengths: expected values from 0 to T=6, got 0 to 7",
    ),
    "lengths of floats": (lambda: L(X, lengths=[1.0, 2.0, 0.0]), ValueError, r"\(B,\) integers .* got float64"),
    "one state of two": (lambda: L(X, H0), ValueError, r"state: expected 2 arrays \(h, c\), got 1"),
    "half a state": (lambda: L(X, (H0, GIVEN)), TypeError, "state c: expected an array of float32, got NoneType"),
    "NaN in a state": (lambda: L(X, (H0, H0 + np.nan)), ValueError, "state c: expected finite numbers"),
    "PyTorch's axis of layers": (lambda: L(X, (H0[None], H0[None])), ValueError, r"\(B=3, H\), got \(1, 3, 4\)"),
    "float sizes": (lambda: LSTM(5, 4.0), TypeError, "hidden_size: expected a whole number, got 4.0"),  # type: ignore
    "true sizes": (lambda: LSTM(True, 4), TypeError, "input_size: expected a whole number, got True"),
    "no units": (lambda: LSTM(5, 0), ValueError, "hidden_size: expected at least 1, got 0"),
    "no seed": (lambda: LSTM(5, 4, seed=GIVEN), TypeError, "seed: expected a whole number, got None"),
    "PyTorch's layers": (
        lambda: LSTM(5, 4, num_layers=2),  # type: ignore[call-arg]
        TypeError,
        r"LSTM has no option 'num_layers': it is called layers here; its options are forget_bias, projection, layers,",
    ),
    "Keras's sequences": (
        lambda: GRU(5, 4, return_sequences=True),  # type: ignore[call-arg]
        TypeError,
        "GRU has no option 'return_sequences': h_t of every step is always returned",
    ),
    "a typing error": (lambda: RNN(5, 4, layer=2), TypeError, "did you mean layers; its options are layers,"),  # type: ignore
    "an unknown state": (
        lambda: LSTM(5, 4, zoneout={"q": 0.1}),
        KeyError,
        r"zoneout of \['q'\]: the states of LSTM are h, c",
    ),
    "a word for a function": (lambda: LSTM(5, 4, initialisers="orthogonal"), TypeError, "a function of"),  # type: ignore
    "an initialiser's shape": (
        lambda: LSTM(5, 4, initialisers=lambda rng, shape: np.zeros(3)),
        ValueError,
        r"layer0.W: its initialiser was asked for \(16, 5\), and gave \(3,\)",
    ),
    "an optimiser of a layer": (lambda: Adam(L), TypeError, "hand over its .params"),  # type: ignore
    "a parameter's short name": (
        lambda: L.params["W"],
        KeyError,
        "no parameter 'W'; there are layer0.W, layer0.U, layer0.b",
    ),
    "another shape": (
        lambda: L.params.__setitem__("layer0.b", H0),
        ValueError,
        r"layer0.b: expected the shape \(16,\)",
    ),
    "targets in a list": (
        lambda: softmax_cross_entropy(X[0], [0, 1, 2]),
        TypeError,
        "targets: expected an array, got list",
    ),
    "a layer for a cell": (lambda: check_cell(L), TypeError, r"LSTM is no cell, .*; hand over its cell, layer.cell"),  # type: ignore
    "no cell at all": (lambda: Recurrent("LSTM", 5, 4), TypeError, "str is no cell, for it has no gates"),  # type: ignore
    "a step of another batch": (lambda: L.stepper(3).step(X[0, :2]), ValueError, r"x: expected the shape \(B=3, D=5\)"),
    "a step without a batch": (lambda: L.stepper().step(X[0, 0]), ValueError, r"\(B=1, D=5\), got \(5,\)"),
    "a check of nothing": (lambda: check_function(lambda: 0.0, {}, {}), GradientError, "a check of nothing is none"),
    "a check in float32": (
        lambda: check_function(lambda: 0.0, {"x": X}, {"x": X}),
        TypeError,
        "x: gradients are checked in float64, got float32",
    ),
    "a module for its state": (lambda: from_pytorch(Module()), TypeError, r"hand over module.state_dict\(\)"),  # type: ignore
    "weights that are none": (lambda: save("x", "LSTM"), TypeError, "weights: expected a layer, a Bundle or arrays"),  # type: ignore
    "no such folder": (
        lambda: save("/nowhere/at/all.safetensors", L),
        FileNotFoundError,
        "there is no folder /nowhere/at",
    ),
    "a folder for a file": (lambda: save(".", L), IsADirectoryError, "a folder stands there"),
    "no initialiser": (lambda: L.params.initialise({}, 0), KeyError, "no initialiser for layer0.U, layer0.W, layer0.b"),
    "half a cell": (lambda: check_cell(object()), TypeError, "object is no cell, for it has no gates, preact"),  # type: ignore
    "gradients by name": (
        lambda: Adam(L.params).step(dict(L.grads)),
        TypeError,
        "grads: expected an array of float32, got dict",
    ),
    "gradients that are no gradients": (lambda: clip_global_norm(L, 1.0), TypeError, "hand over its .params"),  # type: ignore
}


@pytest.mark.parametrize("case", REFUSED)
def test_it_is_refused_with_a_way_to_go_on(case: str) -> None:
    act, error, message = REFUSED[case]
    with pytest.raises(error, match=message):
        act()


def test_a_tensor_of_another_framework_is_refused() -> None:
    class Tensor:
        dtype = "torch.float32"
        shape = (6, 3, 5)

    with pytest.raises(TypeError, match=r"got Tensor of torch.float32; make one with numpy.asarray\(x, 'float32'\)"):
        L(Tensor())


@pytest.mark.parametrize(
    "x",
    [np.asfortranarray(X), np.repeat(X, 2, 0)[::2], X[::-1][::-1], np.moveaxis(np.moveaxis(X, 2, 0).copy(), 0, 2)],
    ids=["Fortran's order", "every second", "backwards twice", "another axis first"],
)
def test_any_layout_in_memory_is_taken(x: np.ndarray) -> None:
    fixed = x.copy("A")
    fixed.setflags(write=False)
    layer = LSTM(5, 4)
    expected, _ = layer(np.ascontiguousarray(X))
    dx, _ = layer.backward(expected)
    for given in (x, fixed):
        output, _ = layer(given)
        np.testing.assert_array_equal(output, expected)
        np.testing.assert_array_equal(layer.backward(np.asfortranarray(output))[0], dx)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda layer: pickle.loads(pickle.dumps(layer))])
@pytest.mark.parametrize(
    "layer",
    [
        LSTM(5, 4, layers=2, bidirectional=True, dropout=0.3, seed=3),
        LSTM(5, 4, projection=2, zoneout={"c": 0.2}),
        GRU(5, 4, reset_after=False, dtype="float64"),
    ],
    ids=repr,
)
def test_a_copy_is_a_layer_of_its_own_that_goes_on_alike(layer: Any, copied: Callable[[Any], Any]) -> None:
    x = X.astype(layer.params.flat.dtype)
    output, _ = layer(x)
    layer.backward(output)
    other = copied(layer)
    assert type(other) is type(layer)
    assert other.grads.flat.tobytes() == layer.grads.flat.tobytes()
    assert other(x)[0].tobytes() == layer(x)[0].tobytes(), "noise included"
    other.params.flat[...] = 0
    assert not any(view.any() for view in other.params.values())
    assert layer.params.flat.any()


def test_a_copy_of_parameters_has_views_of_its_own() -> None:
    p = Params({"W": (2, 3), "b": (2,)}, np.float64)
    other = copy.deepcopy({"p": p})["p"]
    other.flat[...] = 1
    assert other["W"].sum() == 6
    assert not p.flat.any()
    assert other.flat.dtype == np.float64


def test_parameters_are_set_in_place() -> None:
    p = Params({"W": (2, 3), "b": (2,)})
    W = p["W"]
    p["W"] += 2
    p["b"] = np.array([3.0, 4.0])
    assert p["W"] is W
    assert p.flat.tolist() == [2.0] * 6 + [3.0, 4.0]


def test_an_optimiser_takes_gradients_by_name_or_flat() -> None:
    layers = [LSTM(5, 4), LSTM(5, 4)]
    for layer, given in zip(layers, (layers[0].grads, layers[1].grads.flat), strict=True):
        layer.backward(layer(X)[0])
        Adam(layer.params).step(given)
    assert layers[0].params.flat.tobytes() == layers[1].params.flat.tobytes() != LSTM(5, 4).params.flat.tobytes()


def test_a_trace_is_run_through_by_its_names() -> None:
    L(X)
    assert list(L.trace) == list(L.trace.names)
    assert "forget" in L.trace
    assert "gate" not in L.trace
    assert {name: L.trace[name].shape for name in L.trace} == dict.fromkeys(L.trace.names, (6, 3, 4))


def test_a_cell_may_be_given_as_its_class() -> None:
    assert check_cell(LSTMCell).error < 1e-7
    assert Recurrent(LSTMCell, 5, 4).params.flat.tobytes() == LSTM(5, 4).params.flat.tobytes()


def test_parameters_say_what_they_are() -> None:
    assert repr(Params({"W": (2, 3), "b": (2,)})) == "Params(W (2, 3), b (2,)): 8 numbers of float32"


def test_a_name_typed_wrongly_is_suggested() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import rnncore; rnncore.lstm"], capture_output=True, text=True, check=False
    )
    assert "has no attribute 'lstm'" in done.stderr.splitlines()[-1]
    assert done.returncode == 1


@pytest.mark.parametrize("name", CELLS)
def test_cells_can_be_copied(name: str) -> None:
    cell = pickle.loads(pickle.dumps(CELLS[name]()))
    assert cell.shapes(3, 4) == CELLS[name]().shapes(3, 4)
    assert pickle.loads(pickle.dumps(LSTMP(2))).projection == 2
