"""Weights of the recurrent operators of ONNX, opset 14 to 21: RNN, LSTM and GRU; `onnx_export` writes them.

| ONNX                                  | here           | note                                                        |
|---------------------------------------|----------------|-------------------------------------------------------------|
| `W` (R, G·H, D)                       | `W` (G·H, D)   | R directions; blocks i, o, f, c of LSTM, z, r, h of GRU     |
| `R` (R, G·H, H)                       | `U` (G·H, H)   | the same                                                    |
| `B` (R, 2·G·H): Wb, then Rb           | `b`            | their sum; out: Rb is zero                                  |
| GRU, linear_before_reset=1: Wb and Rb | `b` and `b_U`  | cell GRU; linear_before_reset=0, the default, is GRU-before |
| `P` (R, 3·H), i, o, f                 | `P`            | cell LSTM-peephole                                          |
| LSTM, input_forget=1: f = 1 - i       |                | cell CIFG, i = 1 - f: the sign of the block i is turned     |

What the operators can do and the cells cannot, is refused by name: `clip`, and other activations.

Source: the ONNX operator specification, RNN, GRU and LSTM, version 14 (opsets 14 to 21).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from rnncore.array import Array
from rnncore.cells import CELLS
from rnncore.interop.bundle import Bundle, as_array, assemble

#: The order of ONNX's row blocks, in our names of the gates.
GATES = {
    "LSTM": ("input", "output", "forget", "candidate"),
    "GRU": ("update", "reset", "candidate"),
    "RNN": ("hidden",),
}
#: The cells that there are operators for, and what each is called there.
OPERATORS = {
    "RNN": "RNN",
    "LSTM": "LSTM",
    "LSTM-peephole": "LSTM",
    "CIFG": "LSTM",
    "GRU": "GRU",
    "GRU-before": "GRU",
}
_ACTIVATIONS = {"LSTM": ("sigmoid", "tanh", "tanh"), "GRU": ("sigmoid", "tanh"), "RNN": ("tanh",)}
#: What may stand between one layer's operator and the next one's.
_PASSING = ("Transpose", "Reshape", "Squeeze", "Identity", "Dropout")


@dataclass(frozen=True)
class Operator:
    """One recurrent operator: its cell, the parameters of each direction, "forward", "reverse" or "bidirectional"."""

    cell: str
    parts: list[dict[str, Array]]
    direction: str
    layout: int


def from_onnx(model: str | Path | bytes | Any, *names: str) -> Bundle:
    """Read the weights of recurrent operators from an ONNX model, as the layers of one stack.

    Parameters
    ----------
    model : a file's path, its bytes, or an `onnx.ModelProto`.
    names : of the operators' nodes, from below. None: all there are, which must feed one another in a chain.

    Raises
    ------
    ValueError
        If there are no such operators, or one that the cells here cannot compute, or weights that are not stored in
        the model but computed in it.

    Examples
    --------
    >>> from rnncore import LSTM
    >>> from rnncore.interop import to_onnx
    >>> from_onnx(to_onnx(LSTM(3, 4, layers=2, bidirectional=True))).layer()
    Recurrent(3, 4, layers=2, bidirectional): 672 parameters
    """
    graph = _loaded(model).graph
    nodes = [node for node in graph.node if node.op_type in GATES and node.domain in ("", "ai.onnx")]
    by_name = {node.name: node for node in nodes}
    missing = [name for name in names if name not in by_name]
    if missing or not nodes:
        raise ValueError(f"no recurrent operators {', '.join(missing)} in this model; there are {sorted(by_name)}")
    if not names and not _is_chain(graph, nodes):
        raise ValueError(
            f"the operators do not feed one another in a chain; name those of one stack: {sorted(by_name)}"
        )
    stored = constants(graph)
    operators = [operator(node, stored) for node in ([by_name[name] for name in names] or nodes)]
    if len({o.cell for o in operators}) != 1:
        raise ValueError(
            f"the layers of a stack are of one kind, got {[o.cell for o in operators]}; name the operators"
        )
    if any(o.direction == "reverse" for o in operators):
        raise ValueError("an operator that only runs in reverse is no layer here; turn its sequences round instead")
    return assemble(operators[0].cell, [o.parts for o in operators])


def operator(node: Any, stored: Mapping[str, Array]) -> Operator:
    """Read one node, an `onnx.NodeProto`; `stored` has its weights by their names in the graph.

    Raises
    ------
    ValueError
        If the node computes what no cell here does, or its weights are not stored.
    """
    from onnx import helper

    options = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    label, direction = f"{node.op_type} {node.name!r}", options.get("direction", b"forward").decode()
    _refuse(node.op_type, label, options, 2 if direction == "bidirectional" else 1)
    given = {}
    for position, name in ((1, "W"), (2, "R"), (3, "B"), (7, "P")):
        source = node.input[position] if position < len(node.input) else ""
        if source and source not in stored:
            raise ValueError(f"{label}: {name} is computed in the graph, not stored; only stored weights can be read")
        if source:
            given[name] = as_array(f"{label}: {name}", stored[source])
    cell = node.op_type
    if cell == "GRU" and not options.get("linear_before_reset", 0):
        cell = "GRU-before"
    for name in ("W", "R"):
        if name not in given or given[name].ndim != 3:
            got = given[name].shape if name in given else "none"
            raise ValueError(f"{label}: expected {name} of three axes (directions, G·H, ...), got {got}")
    if cell == "LSTM" and (options.get("input_forget", 0) or "P" in given):
        cell = "CIFG" if options.get("input_forget", 0) else "LSTM-peephole"
        given.setdefault("P", np.zeros((len(given["W"]), 3 * given["R"].shape[-1]), given["W"].dtype))
    given.setdefault("B", np.zeros((len(given["W"]), 2 * given["R"].shape[1]), given["W"].dtype))
    _check_shapes(label, GATES[node.op_type], given)
    parts = [_part_in(cell, {n: a[d] for n, a in given.items()}) for d in range(len(given["W"]))]
    return Operator(cell, parts, direction, options.get("layout", 0))


def constants(graph: Any) -> dict[str, Array]:
    """Return every array stored in an `onnx.GraphProto`: initialisers, and what Constant nodes hold."""
    from onnx import numpy_helper

    found = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    for node in graph.node:
        values = [a.t for a in node.attribute if a.name == "value"]
        if node.op_type == "Constant" and values:
            found[node.output[0]] = numpy_helper.to_array(values[0])
    return found


def _loaded(model: Any) -> Any:
    import onnx

    if isinstance(model, onnx.ModelProto):
        return model
    try:
        return onnx.load_model_from_string(model) if isinstance(model, bytes) else onnx.load(str(model))
    except FileNotFoundError:
        raise
    except Exception as error:  # protobuf's DecodeError is not part of its public names
        raise ValueError(f"{'the bytes' if isinstance(model, bytes) else model}: not an ONNX model; {error}") from error


def _is_chain(graph: Any, nodes: Sequence[Any]) -> bool:
    """Whether each operator reads what the one before puts out, but for changes of shape."""
    makers = {output: node for node in graph.node for output in node.output}
    for below, above in pairwise(nodes):
        maker = makers.get(above.input[0])
        while maker is not None and maker.op_type in _PASSING:
            maker = makers.get(maker.input[0])
        if maker is not below:
            return False
    return True


def _refuse(kind: str, label: str, options: Mapping[str, Any], directions: int) -> None:
    """Raise ValueError for whatever the cells do not compute."""
    usual = _ACTIVATIONS[kind] * directions
    activations = tuple(name.decode().lower() for name in options.get("activations", ()))
    if activations not in ((), usual):
        raise ValueError(f"{label}: expected the activations {', '.join(usual)}, got {', '.join(activations)}")
    if "clip" in options:
        raise ValueError(f"{label}: clip={options['clip']} changes the equations, and no cell here has it")


def _check_shapes(label: str, gates: Sequence[str], given: Mapping[str, Array]) -> None:
    """Raise ValueError unless the weights fit one another."""
    directions, _, hidden = given["R"].shape
    rows = len(gates) * hidden
    expected = {
        "W": (directions, rows, given["W"].shape[2]),
        "R": (directions, rows, hidden),
        "B": (directions, 2 * rows),
    }
    expected |= {"P": (directions, 3 * hidden)} if "P" in given else {}
    for name, shape in expected.items():
        if given[name].shape != shape or not given[name].size:
            raise ValueError(f"{label}: expected {name} of the shape {shape}, got {given[name].shape}")


def _part_in(cell: str, given: Mapping[str, Array]) -> dict[str, Array]:
    """Return one direction of an operator under our names."""
    source = GATES[OPERATORS[cell]]
    Wb, Rb = np.split(given["B"], 2)
    ours = {"W": given["W"], "U": given["R"]} | ({"b": Wb, "b_U": Rb} if cell == "GRU" else {"b": Wb + Rb})
    blocks = {name: dict(zip(source, np.split(array, len(source)), strict=True)) for name, array in ours.items()}
    if "P" in given:
        blocks["P"] = dict(zip(source, np.split(given["P"], 3), strict=False))
    if cell == "CIFG":  # sigmoid(-a) = 1 - sigmoid(a)
        blocks = {name: gates | {"forget": -gates["input"]} for name, gates in blocks.items()}
    order = CELLS[cell]().gates
    return {name: np.concatenate([gates[g] for g in order if g in gates]) for name, gates in blocks.items()}
