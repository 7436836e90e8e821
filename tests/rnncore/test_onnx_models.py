"""Layers as ONNX models: what runs in ONNX Runtime is what runs here, and what is read back is what was written."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from rnncore import GRU, LSTM, Recurrent
from rnncore.cells import CELLS
from rnncore.interop import Bundle, from_onnx, to_onnx
from rnncore.interop.onnx import OPERATORS


def layer_of(name: str, layers: int = 1, bidirectional: bool = False) -> Recurrent:
    layer = Recurrent(CELLS[name](), 3, 4, layers=layers, bidirectional=bidirectional)
    layer.params.flat[...] = np.random.default_rng(0).normal(0, 0.6, layer.params.size)
    return layer


def session_of(data: bytes) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])


@pytest.mark.parametrize("bidirectional", [False, True], ids=["forward", "both"])
@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("name", OPERATORS)
def test_the_runtime_computes_the_same(name: str, layers: int, bidirectional: bool) -> None:
    layer = layer_of(name, layers, bidirectional)
    session = session_of(to_onnx(layer, lengths=True, state=True))
    rng, lanes = np.random.default_rng(1), layers * (1 + bidirectional)
    x = rng.normal(size=(6, 3, 3)).astype(np.float32)
    initial = [rng.normal(size=(lanes, 3, 4)).astype(np.float32) for _ in layer.cell.state]
    lengths = np.array([6, 2, 4], np.int32)
    given = dict(zip((f"{s}0" for s in layer.cell.state), initial, strict=True))
    output, *states = session.run(None, {"x": x, "lengths": lengths, **given})
    mine, last = layer(x, [s[0] for s in initial] if lanes == 1 else initial, lengths)
    np.testing.assert_allclose(output, mine, atol=1e-5)
    for theirs, ours in zip(states, last, strict=True):
        np.testing.assert_allclose(theirs, ours.reshape(theirs.shape), atol=1e-5)


@pytest.mark.parametrize("opset", [14, 21])
def test_without_lengths_and_states_any_batch_fits(opset: int) -> None:
    layer = layer_of("LSTM", 2, True)
    data = to_onnx(layer, opset=opset)
    session = session_of(data)
    assert onnx.load_model_from_string(data).opset_import[0].version == opset
    assert [i.name for i in session.get_inputs()] == ["x"]
    assert [o.name for o in session.get_outputs()] == ["output", "h", "c"]
    for steps, batch in ((1, 1), (5, 2)):
        x = np.random.default_rng(2).normal(size=(steps, batch, 3)).astype(np.float32)
        np.testing.assert_allclose(session.run(None, {"x": x})[0], layer(x)[0], atol=1e-5)


@pytest.mark.parametrize("name", OPERATORS)
def test_there_and_back(name: str, tmp_path: Path) -> None:
    layer = layer_of(name, 3, True)
    data = to_onnx(layer, tmp_path / "model.onnx")
    for source in (data, tmp_path / "model.onnx", str(tmp_path / "model.onnx"), onnx.load_model_from_string(data)):
        bundle = from_onnx(source)
        assert bundle.cell == name
        assert list(bundle.params) == list(layer.params)
        for key, value in layer.params.items():
            np.testing.assert_array_equal(bundle.params[key], value)


def test_operators_are_chosen_by_name() -> None:
    layer = layer_of("GRU", 3)
    top = from_onnx(to_onnx(layer), "layer2", "layer1")
    np.testing.assert_array_equal(top.params["layer0.U"], layer.params["layer2.U"])
    np.testing.assert_array_equal(top.params["layer1.U"], layer.params["layer1.U"])
    with pytest.raises(
        ValueError, match=r"no recurrent operators layer3 in this model; .*'layer0', 'layer1', 'layer2'"
    ):
        from_onnx(to_onnx(layer), "layer3")


def model_of(nodes: list[Any], stored: dict[str, Any]) -> onnx.ModelProto:
    tensors = [numpy_helper.from_array(a, name) for name, a in stored.items()]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, "TBD")
    return helper.make_model(helper.make_graph(nodes, "test", [x], [], tensors))


WEIGHTS = {"W": np.ones((1, 4, 4), np.float32), "R": np.ones((1, 4, 4), np.float32)}


def test_operators_beside_one_another_are_no_stack() -> None:
    nodes = [helper.make_node("RNN", ["x", "W", "R"], [f"y{k}"], name=f"rnn{k}", hidden_size=4) for k in range(2)]
    with pytest.raises(ValueError, match=r"do not feed one another in a chain; name those .*\['rnn0', 'rnn1'\]"):
        from_onnx(model_of(nodes, WEIGHTS))
    assert from_onnx(model_of(nodes, WEIGHTS), "rnn1").layers == 1


def test_weights_may_be_constant_nodes_but_not_computed() -> None:
    rnn = helper.make_node("RNN", ["x", "W", "R"], ["y"], name="rnn", hidden_size=4)
    constant = helper.make_node("Constant", [], ["W"], value=numpy_helper.from_array(WEIGHTS["W"]))
    assert from_onnx(model_of([constant, rnn], {"R": WEIGHTS["R"]})).cell == "RNN"
    computed = helper.make_node("Neg", ["V"], ["W"])
    with pytest.raises(ValueError, match=r"RNN 'rnn': W is computed in the graph, not stored"):
        from_onnx(model_of([computed, rnn], {"V": WEIGHTS["W"], "R": WEIGHTS["R"]}))


def test_what_is_no_stack_of_layers_is_refused(tmp_path: Path) -> None:
    reverse = helper.make_node("RNN", ["x", "W", "R"], ["y"], hidden_size=4, direction="reverse")
    with pytest.raises(ValueError, match="only runs in reverse"):
        from_onnx(model_of([reverse], WEIGHTS))
    with pytest.raises(ValueError, match="no recurrent operators"):
        from_onnx(model_of([], WEIGHTS))
    nodes = [
        helper.make_node("RNN", ["x", "W", "R"], ["a"], name="a", hidden_size=4),
        helper.make_node("GRU", ["a", "G", "G"], ["b"], name="b", hidden_size=4),
    ]
    with pytest.raises(ValueError, match=r"of one kind, got \['RNN', 'GRU-before'\]"):
        from_onnx(model_of(nodes, WEIGHTS | {"G": np.ones((1, 12, 4), np.float32)}))
    (tmp_path / "a.onnx").write_bytes(b"no model at all")
    with pytest.raises(ValueError, match=r"a.onnx: not an ONNX model"):
        from_onnx(tmp_path / "a.onnx")
    with pytest.raises(FileNotFoundError):
        from_onnx(tmp_path / "none.onnx")


def test_what_cannot_be_exported_is_refused() -> None:
    with pytest.raises(TypeError, match=r"expected float32, got float64: .*astype\('float32'\)"):
        to_onnx(LSTM(2, 3, dtype=np.float64))
    assert to_onnx(Bundle.of(LSTM(2, 3, dtype=np.float64)).astype("float32"))
    with pytest.raises(ValueError, match="opset: expected one from 14 to 21, got 22"):
        to_onnx(LSTM(2, 3), opset=22)
    with pytest.raises(ValueError, match="ONNX has no layer for minGRU; it has RNN, LSTM"):
        to_onnx(Recurrent(CELLS["minGRU"](), 2, 3))
    with pytest.raises(ValueError, match=r"ONNX has no zoneout.*pass Bundle.of\(layer\)"):
        to_onnx(GRU(2, 3, zoneout=0.1))
