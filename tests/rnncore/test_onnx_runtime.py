"""Differential tests: the engine, with weights read by `interop`, against ONNX Runtime's own operators."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import ModelProto, TensorProto, checker, helper

from tests.rnncore.onnx_operators import PLACES, run_operator

TOLERANCE = 1e-5
GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}


@dataclass(frozen=True)
class Problem:
    """An operator and what it is given; `lengths` and `initial` None where the operator gets none."""

    kind: str
    direction: str
    sizes: tuple[int, int, int, int]
    lengths: tuple[int, ...] | None
    bias: bool
    initial: bool
    peepholes: bool
    options: tuple[tuple[str, Any], ...]
    seed: int
    opset: int

    def inputs(self) -> dict[str, Any]:
        """Random arrays, by the names of the specification."""
        (T, B, D, H), R, G = self.sizes, 1 + (self.direction == "bidirectional"), GATES[self.kind]
        rng = np.random.default_rng(self.seed)
        shapes = {"X": (T, B, D), "W": (R, G * H, D), "R": (R, G * H, H)}
        shapes |= {"B": (R, 2 * G * H)} if self.bias else {}
        shapes |= {"initial_h": (R, B, H)} if self.initial else {}
        shapes |= {"initial_c": (R, B, H)} if self.initial and self.kind == "LSTM" else {}
        shapes |= {"P": (R, 3 * H)} if self.peepholes else {}
        arrays = {name: rng.normal(0, 0.7, shape).astype(np.float32) for name, shape in shapes.items()}
        if self.lengths is not None:
            arrays["sequence_lens"] = np.array(self.lengths, np.int32)
        return arrays

    def model(self, inputs: dict[str, Any]) -> ModelProto:
        places = ["X", "W", "R", *(name if name in inputs else "" for name in PLACES)]
        places = places[: 8 if self.kind == "LSTM" else 6]
        outputs = ["Y", "Y_h", "Y_c"][: 3 if self.kind == "LSTM" else 2]
        node = helper.make_node(
            self.kind, places, outputs, hidden_size=self.sizes[3], direction=self.direction, **dict(self.options)
        )
        kinds = {name: helper.np_dtype_to_tensor_dtype(a.dtype) for name, a in inputs.items()}
        values = [helper.make_tensor_value_info(name, kinds[name], a.shape) for name, a in inputs.items()]
        results = [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, (None,) * (4 if name == "Y" else 3))
            for name in outputs
        ]
        version = [helper.make_opsetid("", self.opset)]
        model = helper.make_model(
            helper.make_graph([node], "one operator", values, results),
            opset_imports=version,
            ir_version=helper.find_min_ir_version_for(version),
        )
        checker.check_model(model)
        return model


@st.composite
def problems(draw: st.DrawFn) -> Problem:
    kind = draw(st.sampled_from(sorted(GATES)))
    T, B, D, H = (draw(st.integers(1, n)) for n in (6, 5, 4, 5))
    lengths = draw(st.none() | st.tuples(*[st.integers(0, T)] * B))
    switch = {"GRU": "linear_before_reset", "LSTM": "input_forget"}.get(kind)
    options = ((switch, draw(st.integers(0, 1))),) if switch else ()
    return Problem(
        kind,
        draw(st.sampled_from(["forward", "reverse", "bidirectional"])),
        (T, B, D, H),
        lengths,
        draw(st.booleans()),
        draw(st.booleans()),
        draw(st.booleans()) and kind == "LSTM",
        options,
        draw(st.integers(0, 10**6)),
        draw(st.integers(14, 21)),
    )


def run_both(problem: Problem) -> list[tuple[Any, Any]]:
    """What the engine and what ONNX Runtime put out: Y, Y_h, Y_c."""
    inputs = problem.inputs()
    model = problem.model(inputs)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return list(zip(run_operator(model.graph.node[0], inputs), session.run(None, inputs), strict=True))


def error(problem: Problem) -> float:
    """The largest error, but in sequences of no step: ONNX does not say what their last state is, and ONNX Runtime
    says 0; here it is the initial one."""
    pairs = run_both(problem)
    for got, expected in pairs:
        assert (got.shape, got.dtype) == (expected.shape, expected.dtype)
    real = np.array(problem.lengths or (1,) * problem.sizes[1]) > 0
    return max(float(np.abs(got - expected)[..., real, :].max(initial=0)) for got, expected in pairs)


@settings(max_examples=150, deadline=None)
@given(problems())
def test_any_operator(problem: Problem) -> None:
    assert error(problem) <= TOLERANCE


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("RNN", ()),
        ("LSTM", ()),
        ("LSTM", (("input_forget", 1),)),
        ("GRU", (("linear_before_reset", 0),)),
        ("GRU", (("linear_before_reset", 1),)),
    ],
    ids=["RNN", "LSTM", "CIFG", "GRU-before", "GRU"],
)
def test_mixed_lengths_and_initial_states(kind: str, options: Any, direction: str, seed: int) -> None:
    problem = Problem(kind, direction, (7, 6, 5, 8), (7, 1, 4, 6, 2, 3), True, True, False, options, seed, 17)
    assert error(problem) <= TOLERANCE


def test_the_other_form_of_the_gru_is_seen() -> None:
    after, before = (
        Problem("GRU", "forward", (4, 3, 2, 3), None, True, True, False, (("linear_before_reset", k),), 0, 17)
        for k in (1, 0)
    )
    (mine, _), *_ = run_both(after)
    (_, theirs), *_ = run_both(before)
    assert float(np.abs(mine - theirs).max()) > 100 * TOLERANCE


REFUSED = {
    "clip": ("LSTM", (("clip", 0.5),), "clip=0.5 changes the equations"),
    "activations": ("RNN", (("activations", ["Relu"]),), "expected the activations tanh, got relu"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_no_cell_computes_is_refused(name: str) -> None:
    kind, options, message = REFUSED[name]
    problem = Problem(kind, "forward", (3, 2, 2, 3), None, True, False, False, options, 0, 17)
    with pytest.raises(ValueError, match=message):
        run_both(problem)


def test_the_usual_activations_may_be_spelt_out() -> None:
    names = ("activations", ["sigmoid", "Tanh", "tanh"])
    assert error(Problem("LSTM", "forward", (3, 2, 2, 3), None, True, False, False, (names,), 0, 17)) <= TOLERANCE
