"""ONNX's recurrent operators, run by the engine: the weights read by `interop`, the rest as the specification says."""

from typing import Any

import numpy as np
from onnx import NodeProto

from rnncore import sequence
from rnncore.cells import CELLS
from rnncore.interop.onnx import operator

#: The places of the inputs, after X, W and R.
PLACES = {"B": 3, "sequence_lens": 4, "initial_h": 5, "initial_c": 6, "P": 7}


def run_operator(node: NodeProto, inputs: dict[str, Any]) -> list[Any]:
    """What the node puts out, in the order of its outputs that are asked for; `inputs` by their names in the graph."""
    op = operator(node, inputs)
    given = {name: inputs[node.input[at]] for name, at in PLACES.items() if at < len(node.input) and node.input[at]}
    batchwise = op.layout == 1  # X (B, T, D), Y (B, T, R, H), states (B, R, H)
    x = inputs[node.input[0]]
    x = x.swapaxes(0, 1) if batchwise else x
    lengths = given.get("sequence_lens", np.full(x.shape[1], len(x)))
    initial = [given.get(name) for name in ("initial_h", "initial_c")]
    initial = [s if s is None or not batchwise else s.swapaxes(0, 1) for s in initial]
    ways = {"forward": [False], "reverse": [True], "bidirectional": [False, True]}[op.direction]
    lanes = [
        _lane(op.cell, part, x, [None if s is None else s[d] for s in initial], lengths, reverse)
        for d, (part, reverse) in enumerate(zip(op.parts, ways, strict=True))
    ]
    Y = np.stack([lane[0] for lane in lanes], axis=1)
    last = [np.stack(states) for states in zip(*(lane[1] for lane in lanes), strict=True)]
    if batchwise:
        Y, last = Y.transpose(2, 0, 1, 3), [s.swapaxes(0, 1) for s in last]
    return [value for value, name in zip([Y, *last], node.output, strict=False) if name]


def _lane(cell: str, p: dict[str, Any], x: Any, initial: list[Any], lengths: Any, reverse: bool) -> tuple[Any, Any]:
    """One direction: the outputs (T, B, H) and the last states."""
    kind, hidden = CELLS[cell](), p["U"].shape[1]
    states = [np.zeros((x.shape[1], hidden), x.dtype) if s is None else s for s in initial][: len(kind.state)]
    rows = turned(x, lengths) if reverse else x
    trace = sequence.forward(kind, p, rows, states, lengths)
    return (turned(trace.output, lengths) if reverse else trace.output), trace.last


def turned(x: Any, lengths: Any) -> Any:
    """Each sequence of x (T, B, ...) from its own last step to its first, the padding left where it is."""
    out = x.copy()
    for b, n in enumerate(lengths):
        out[:n, b] = x[:n, b][::-1]
    return out
