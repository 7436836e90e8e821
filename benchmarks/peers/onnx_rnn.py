"""ONNX Runtime's LSTM and GRU operators, which run forward only."""

from __future__ import annotations

import numpy as np
import onnxruntime

from benchmarks.peers.problem import Problem
from benchmarks.turns import Competitor
from rnncore.interop.onnx_export import to_onnx


def forward(problem: Problem) -> dict[str, Competitor]:
    """Forward alone."""
    session = onnxruntime.InferenceSession(to_onnx(problem.layer), providers=["CPUExecutionProvider"])
    inputs = {"x": problem.x}
    return {"onnxruntime": Competitor(lambda: session.run(["output"], inputs))}


def step(problem: Problem) -> dict[str, Competitor]:
    """One step of a stream, the state carried."""
    states = problem.layer.cell.state
    model = to_onnx(problem.layer, state=True)
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    zero = np.zeros((1, problem.B, problem.H), np.float32)
    inputs = {"x": problem.x}

    def reset() -> None:
        inputs.update({f"{s}0": zero for s in states})

    def call() -> tuple[np.ndarray]:
        output, *after = session.run(["output", *states], inputs)
        inputs.update({f"{s}0": value for s, value in zip(states, after, strict=True)})
        return (output[0],)

    return {"onnxruntime": Competitor(call, reset)}
