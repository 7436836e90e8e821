"""ONNX's own node tests of RNN, LSTM and GRU, every one of them, through the engine."""

import importlib

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from onnx.backend.test.case import node as cases
from onnx.backend.test.case.test_case import TestCase

from tests.rnncore.onnx_operators import run_operator

#: What ONNX 1.17 to 1.23 have; a later version may add to them, and those must pass as well.
KNOWN = {
    "test_simple_rnn_defaults",
    "test_simple_rnn_with_initial_bias",
    "test_rnn_seq_length",
    "test_simple_rnn_batchwise",
    "test_lstm_defaults",
    "test_lstm_with_initial_bias",
    "test_lstm_with_peepholes",
    "test_lstm_batchwise",
    "test_gru_defaults",
    "test_gru_with_initial_bias",
    "test_gru_seq_length",
    "test_gru_batchwise",
}


def collect() -> list[TestCase]:
    """Importing a file of node tests makes its cases; `collect_testcases` would import and compute those of all."""
    for name in ("rnn", "lstm", "gru"):
        importlib.import_module(f"onnx.backend.test.case.node.{name}")
    kinds = ("RNN", "LSTM", "GRU")
    return [case for case in cases._NodeTestCases if case.model.graph.node[0].op_type in kinds]


CASES = collect()


def test_all_are_here() -> None:
    names = [case.name for case in CASES]
    assert len(set(names)) == len(names)
    assert set(names) >= KNOWN


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_node(case: TestCase) -> None:
    (node,) = case.model.graph.node
    names = [value.name for value in case.model.graph.input]
    for inputs, outputs in case.data_sets:
        given = dict(zip(names, map(as_numpy, inputs), strict=True))
        got = run_operator(node, given)
        assert len(got) == len(outputs) > 0
        for mine, expected in zip(got, map(as_numpy, outputs), strict=True):
            assert (mine.shape, mine.dtype) == (expected.shape, expected.dtype)
            np.testing.assert_allclose(mine, expected, rtol=case.rtol, atol=case.atol)
            np.testing.assert_allclose(mine, expected, rtol=0, atol=1e-6)  # theirs allows 1e-3 of each number


def as_numpy(value: object) -> np.ndarray:
    return numpy_helper.to_array(value) if isinstance(value, onnx.TensorProto) else np.asarray(value)
