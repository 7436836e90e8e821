"""PyTorch parity: outputs, states and every gradient of layers with its weights; and the layout of its state_dict."""

import numpy as np
import pytest

from rnncore import GRU, LSTM, RNN
from rnncore.interop import Bundle, from_pytorch, to_pytorch
from tests.rnncore.golden import ours
from tests.rnncore.golden.cases import FOLDER, TORCH, Arrays, Case, golden

#: A module's own state_dict, drawn here.
CASE = Case("LSTM", 2, 2, False, "float64")


def state_of(case: Case) -> Arrays:
    drawn = case.draw(case.torch_weights(), 0)
    return {name: drawn[name] for name in case.torch_weights()}


def compare(case: Case, problem: Arrays, expected: Arrays) -> None:
    got, grads = ours.run(case, problem, ours.torch_bundle(case, problem).layer())
    named = {f"d {name}": a for name, a in ours.torch_gradients(case, grads).items()}
    ours.assert_same(case, got | named, expected)


@pytest.mark.parametrize("case", TORCH, ids=str)
def test_golden(case: Case) -> None:
    compare(case, *golden("torch.npz", case, case.torch_weights()))


@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")
@pytest.mark.parametrize("case", TORCH, ids=str)
def test_live(case: Case) -> None:
    pytest.importorskip("torch")
    from tests.rnncore.golden.peers import run_torch

    problem = case.draw(case.torch_weights(), 1000 + TORCH.index(case))
    compare(case, problem, run_torch(case, problem))


def test_golden_files_stay_small() -> None:
    assert sum(file.stat().st_size for file in FOLDER.glob("*.npz")) < 1_000_000


def test_what_goes_out_to_torch_runs_there() -> None:
    torch = pytest.importorskip("torch")
    layer = GRU(3, 4, layers=2, bidirectional=True, seed=1)
    module = torch.nn.GRU(3, 4, num_layers=2, bidirectional=True)
    module.load_state_dict({name: torch.from_numpy(a) for name, a in to_pytorch(layer).items()})
    x = np.random.default_rng(0).normal(size=(5, 2, 3)).astype(np.float32)
    with torch.no_grad():
        np.testing.assert_allclose(module(torch.from_numpy(x))[0].numpy(), layer(x)[0], atol=1e-6)
    again = from_pytorch({f"model.rnn.{name}": value for name, value in module.state_dict().items()}, "model.rnn.")
    for name, value in layer.params.items():
        np.testing.assert_array_equal(again.params[name], value)


@pytest.mark.parametrize("first", ["weight_ih", "weight_hh", "bias_ih"])
def test_blocks_in_a_wrong_order_are_seen(first: str) -> None:
    case = next(c for c in TORCH if c.kind == "LSTM" and c.dtype == "float32")
    problem, expected = golden("torch.npz", case, case.torch_weights())
    weights = problem[f"{first}_l0"]
    problem[f"{first}_l0"] = np.concatenate([*np.split(weights, 4)[:2], *np.split(weights, 4)[:1:-1]])
    with pytest.raises(AssertionError, match="times the tolerance"):
        compare(case, problem, expected)


@pytest.mark.parametrize("layer", [RNN(2, 3), LSTM(2, 3, layers=3, bidirectional=True), GRU(2, 3, layers=2)], ids=repr)
def test_there_and_back(layer: LSTM) -> None:
    layer.params.flat[...] = np.random.default_rng(0).normal(size=layer.params.size)
    bundle = from_pytorch(to_pytorch(layer, "a."), "a.")
    assert bundle.cell == type(layer).__name__
    assert list(bundle.params) == list(layer.params)
    for name, value in layer.params.items():
        np.testing.assert_array_equal(bundle.params[name], value)
        assert not np.shares_memory(bundle.params[name], value)


def test_a_module_without_biases_has_zero_ones() -> None:
    state = {name: a for name, a in state_of(CASE).items() if name.startswith("weight")}
    assert not np.any(from_pytorch(state).params["layer1.reverse.b"])


def test_a_cell_has_names_without_layers() -> None:
    named = {name.replace("_l0", ""): a for name, a in state_of(Case("GRU", 1, 1, False, "float32")).items()}
    bundle = from_pytorch(named)
    assert (bundle.cell, bundle.layers, bundle.dtype) == ("GRU", 1, np.float32)
    np.testing.assert_array_equal(bundle.params["layer0.b_U"], named["bias_hh"])


def test_other_names_ask_for_a_prefix() -> None:
    state = state_of(CASE) | {"linear.weight": np.zeros((2, 2))}
    with pytest.raises(ValueError, match=r"'linear.weight' is no name of a recurrent layer.*give the prefix"):
        from_pytorch(state)
    with pytest.raises(ValueError, match=r"no encoder.weight_hh_l0 among.*give the prefix"):
        from_pytorch(state, "encoder.")


def test_what_does_not_fit_is_named() -> None:
    state = state_of(CASE)
    with pytest.raises(ValueError, match="weight_ih_l1_reverse is missing"):
        from_pytorch({name: a for name, a in state.items() if name != "weight_ih_l1_reverse"})
    with pytest.raises(ValueError, match=r"weight_hh_l1 is missing|weight_ih_l1 is missing"):
        from_pytorch({name: a for name, a in state.items() if not name.endswith("_l1")})
    with pytest.raises(ValueError, match=r"weight_hh_l0: expected the shape \(H, H\).*got \(6, 3\)"):
        from_pytorch({"weight_ih_l0": np.zeros((6, 2)), "weight_hh_l0": np.zeros((6, 3))})
    with pytest.raises(ValueError, match=r"bias_hh_l0: expected 1 axes and 12 rows, got the shape \(11,\)"):
        from_pytorch(state | {"bias_hh_l0": np.zeros(11)})
    with pytest.raises(ValueError, match=r"layer1.W \(12, 6\), got \(12, 5\)"):
        from_pytorch(state | {"weight_ih_l1": np.zeros((12, 5))})
    with pytest.raises(TypeError, match="weight_ih_l0: expected float32 or float64, got float16"):
        from_pytorch({name: a.astype(np.float16) for name, a in state.items()})
    with pytest.raises(TypeError, match="all float32 or all float64, got float32, float64"):
        from_pytorch(state | {"weight_ih_l0": state["weight_ih_l0"].astype(np.float32)})
    with pytest.raises(ValueError, match=r"layer0.b: expected finite weights, got NaN"):
        from_pytorch(state | {"bias_ih_l0": np.full(12, np.nan)})


def test_what_pytorch_lacks_is_refused() -> None:
    with pytest.raises(ValueError, match="PyTorch has no layer for GRU-before"):
        to_pytorch(GRU(2, 3, reset_after=False))
    with pytest.raises(ValueError, match="PyTorch has no layer for None"):
        to_pytorch(Bundle(None, {"w": np.zeros(3)}))
