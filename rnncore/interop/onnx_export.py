"""Layers as ONNX models, which ONNX Runtime and whatever else reads ONNX can run without this library."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rnncore.array import Array
from rnncore.cells import CELLS
from rnncore.interop.bundle import Bundle, portable
from rnncore.interop.files import write_whole
from rnncore.interop.onnx import GATES, OPERATORS

if TYPE_CHECKING:
    from rnncore.recurrent import Recurrent

_OPSETS = range(14, 22)


def to_onnx(
    layer: Recurrent | Bundle,
    path: str | Path | None = None,
    *,
    lengths: bool = False,
    state: bool = False,
    opset: int = 17,
) -> bytes:
    """Return an ONNX model that computes what `layer` computes, and write it to `path` if one is given.

    Its inputs are `x` (T, B, D); with `lengths` also `lengths` (B,) int32; with `state` also `h0`, and `c0` of an
    LSTM, (layers·R, B, H). Its outputs are `output` (T, B, R·H) and the last states `h`, `c` (layers·R, B, H), R = 2
    with both directions. T and B are free. It is time first whatever the layer's `batch_first`, and has no dropout.

    Raises
    ------
    TypeError
        If the weights are float64, in which ONNX Runtime does not compute these operators.
    ValueError
        If ONNX has no such operator, or the opset is not one of 14 to 21.

    Examples
    --------
    >>> import numpy as np, onnxruntime, rnncore
    >>> lstm, x = rnncore.LSTM(3, 4, layers=2), np.ones((5, 1, 3), np.float32)
    >>> session = onnxruntime.InferenceSession(to_onnx(lstm), providers=["CPUExecutionProvider"])
    >>> output, h, c = session.run(None, {"x": x})
    >>> bool(np.allclose(output, lstm(x)[0], atol=1e-6))
    True
    """
    bundle = portable(layer, "ONNX", OPERATORS)
    if opset not in _OPSETS:
        raise ValueError(f"opset: expected one from {_OPSETS[0]} to {_OPSETS[-1]}, got {opset}")
    if bundle.dtype != np.float32:
        raise TypeError(f"expected float32, got {bundle.dtype}: write Bundle.of(layer).astype('float32')")
    data: bytes = _Export(bundle, lengths, state).model(opset)
    if path is not None:
        write_whole(Path(path), data)
    return data


class _Export:
    """A graph in the making: one operator a layer, and what brings each one's output into the next one's shape."""

    def __init__(self, bundle: Bundle, lengths: bool, state: bool) -> None:
        from onnx import helper, numpy_helper

        self.bundle, self.lengths, self.state = bundle, lengths, state
        self.cell = CELLS[str(bundle.cell)]()
        self._node, self._tensor = helper.make_node, numpy_helper.from_array
        self.nodes: list[Any] = []
        self.stored: list[Any] = []

    def model(self, opset: int) -> bytes:
        """Return the finished model."""
        from onnx import TensorProto, checker, helper

        names, layers, R, H = self.cell.state, self.bundle.layers, self.bundle.directions, self.bundle.hidden_size
        if self.state and layers > 1:
            self._store("each", np.full(layers, R))
            for s in names:
                self.nodes.append(self._node("Split", [f"{s}0", "each"], [f"{s}0.{k}" for k in range(layers)], axis=0))
        self._store("shape", np.array([0, 0, -1]))
        for k in range(layers):
            self._layer(k)
        for s in names:
            self.nodes.append(self._node("Concat", [f"{s}.{k}" for k in range(layers)], [s], axis=0))

        def floats(name: str, *shape: str | int) -> Any:
            return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)

        inputs = [floats("x", "T", "B", self.bundle.input_size)]
        inputs += [helper.make_tensor_value_info("lengths", TensorProto.INT32, ["B"])] * self.lengths
        inputs += [floats(f"{s}0", layers * R, "B", H) for s in names] * self.state
        outputs = [floats("output", "T", "B", R * H), *(floats(s, layers * R, "B", H) for s in names)]
        graph = helper.make_graph(self.nodes, "rnncore", inputs, outputs, self.stored)
        version = helper.make_opsetid("", opset)
        model = helper.make_model(
            graph,
            opset_imports=[version],
            ir_version=helper.find_min_ir_version_for([version]),
            producer_name="rnncore",
        )
        checker.check_model(model)
        data: bytes = model.SerializeToString()
        return data

    def _layer(self, k: int) -> None:
        cell, layers, names = str(self.bundle.cell), self.bundle.layers, self.cell.state
        parts = [_part_out(cell, part) for part in self.bundle.parts[k]]
        for name in parts[0]:
            self._store(f"{name}.{k}", np.stack([part[name] for part in parts]))
        initial = [(f"{s}0.{k}" if layers > 1 else f"{s}0") if self.state else "" for s in names]
        weights = [f"{name}.{k}" for name in ("W", "R", "B")]
        peepholes = [f"P.{k}"] * ("P" in parts[0])
        source = f"x.{k}" if k else "x"
        options: dict[str, Any] = {"hidden_size": self.bundle.hidden_size, "name": f"layer{k}"}
        options["direction"] = "bidirectional" if self.bundle.directions == 2 else "forward"
        options |= {"GRU": {"linear_before_reset": 1}, "CIFG": {"input_forget": 1}}.get(cell, {})
        inputs = [source, *weights, "lengths" if self.lengths else "", *initial, *peepholes]
        outputs = [f"y.{k}", *(f"{s}.{k}" for s in names)]
        self.nodes.append(self._node(OPERATORS[cell], inputs, outputs, **options))
        # (T, R, B, H) -> (T, B, R·H)
        self.nodes.append(self._node("Transpose", [f"y.{k}"], [f"rows.{k}"], perm=[0, 2, 1, 3]))
        self.nodes.append(self._node("Reshape", [f"rows.{k}", "shape"], [f"x.{k + 1}" if k + 1 < layers else "output"]))

    def _store(self, name: str, array: Array) -> None:
        self.stored.append(self._tensor(array, name))


def _part_out(cell: str, part: Mapping[str, Array]) -> dict[str, Array]:
    """Return one direction under ONNX's names."""
    order, target = CELLS[cell]().gates, GATES[OPERATORS[cell]]
    blocks = {name: dict(zip(order, np.split(a, len(order) - (name == "P")), strict=False)) for name, a in part.items()}
    if cell == "CIFG":  # i = 1 - f, and 1 - sigmoid(a) = sigmoid(-a); the operator does not look at its block f
        blocks = {name: {**gates, "input": -gates["forget"]} for name, gates in blocks.items()}
    moved = {name: np.concatenate([gates[g] for g in target if g in gates]) for name, gates in blocks.items()}
    bias = np.concatenate([moved["b"], moved.get("b_U", np.zeros_like(moved["b"]))])
    return {"W": moved["W"], "R": moved["U"], "B": bias} | ({"P": moved["P"]} if "P" in moved else {})
