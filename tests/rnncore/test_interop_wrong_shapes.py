"""Weights of any wrong shape are refused as such: never another error, never a layer."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from rnncore import Recurrent
from rnncore.cells import CELLS
from rnncore.interop import from_keras, from_onnx, from_pytorch, keras, onnx, pytorch, to_keras, to_onnx, to_pytorch

shapes = st.lists(st.sampled_from([0, 1, 2, 3, 4, 8, 9, 12]), max_size=3).map(tuple)
some = settings(max_examples=200, deadline=None)


def layer(name: str, layers: int = 2) -> Recurrent:
    return Recurrent(CELLS[name](), 2, 3, layers=layers, bidirectional=True)


@some
@given(st.sampled_from(sorted(pytorch.GATES)), st.integers(0, 99), shapes)
def test_pytorch(name: str, which: int, shape: tuple[int, ...]) -> None:
    state = to_pytorch(layer(name))
    key = sorted(state)[which % len(state)]
    if state[key].shape != shape:
        with pytest.raises(ValueError, match=r"expected|is missing"):
            from_pytorch(state | {key: np.ones(shape, np.float32)})


@some
@given(st.sampled_from(sorted(keras.GATES)), st.integers(0, 99), shapes)
def test_keras(name: str, which: int, shape: tuple[int, ...]) -> None:
    lists = to_keras(layer(name))
    k, n = divmod(which % (2 * len(lists[0])), len(lists[0]))
    if lists[k][n].shape != shape:
        lists[k][n] = np.ones(shape, np.float32)
        with pytest.raises(ValueError, match=r"expected|belongs to"):
            from_keras(lists)


@some
@given(st.sampled_from(sorted(onnx.OPERATORS)), st.integers(0, 99), shapes)
def test_onnx(name: str, which: int, shape: tuple[int, ...]) -> None:
    model = onnx._loaded(to_onnx(layer(name, 1)))
    tensors = [t for t in model.graph.initializer if t.name != "shape"]
    tensor = tensors[which % len(tensors)]
    another_input_size = tensor.name == "W.0" and shape[:-1] == tuple(tensor.dims)[:2] and all(shape)
    if tuple(tensor.dims) != shape and not another_input_size:
        tensor.CopyFrom(numpy_helper.from_array(np.ones(shape, np.float32), tensor.name))
        with pytest.raises(ValueError, match=r"expected"):
            from_onnx(model)


def test_an_operator_without_weights() -> None:
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, "TBD")
    nodes: list[Any] = [helper.make_node("RNN", ["x"], ["y"], name="rnn", hidden_size=4)]
    with pytest.raises(ValueError, match="RNN 'rnn': expected W of three axes"):
        from_onnx(helper.make_model(helper.make_graph(nodes, "test", [x], [])))
