"""A full classifier cut at its global pool: what feeds the pool is the grid, its spatial mean the features."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper, shape_inference

from encoders.errors import EncoderError
from encoders.files import atomic_write, sha256_file
from encoders.sidecar import save_spec
from encoders.spec import EncoderSpec, Output, Preprocessing

# Between the pool and the classifier's product nothing but the shape may change.
PASSING = frozenset({"Flatten", "Reshape", "Squeeze", "Unsqueeze", "Dropout", "Identity", "Cast", "Transpose"})
POOLS = frozenset({"GlobalAveragePool", "AveragePool", "ReduceMean"})
FEATURES, GRID = "encoder.features", "encoder.grid"  # tensor names that no exporter uses


class SurgeryError(EncoderError):
    """A graph has no global pool in front of a classifier, or its grid is not what an encoder gives."""


def cut_classifier(
    source: Path | str, target: Path | str, preprocessing: Preprocessing, description: str
) -> EncoderSpec:
    """Cut the classifier ``source`` at its global pool and write ``target`` with its description beside it.

    From the last Gemm or MatMul the graph is walked back over reshaping nodes to the pool. The new file has the
    outputs ``features`` (N, C), the mean over the grid's positions, and ``grid`` (N, C, H, W), and keeps only the
    nodes and weights that these need. Raises SurgeryError where a graph has no such pool.
    """
    model = load_model(source)
    pool = find_pool(model, str(source))
    cut = _with_outputs(model, pool.input[0], _layout(model, pool, str(source)), preprocessing)
    channels, height, width = _grid_shape(cut, pool, str(source))
    shapes = {FEATURES: (channels,), GRID: (channels, height, width)}
    del cut.graph.output[:]
    cut.graph.output.extend(_outputs(shapes))
    with atomic_write(Path(target)) as file:
        file.write(cut.SerializeToString(deterministic=True))
    outputs = tuple(Output(name.removeprefix("encoder."), name, shape) for name, shape in shapes.items())
    spec = EncoderSpec(sha256_file(target), cut.graph.input[0].name, outputs, preprocessing, description)
    save_spec(target, spec)
    return spec


def load_model(path: Path | str) -> onnx.ModelProto:
    """Parse an ONNX file; EncoderError names a file that is missing, truncated or something else."""
    try:
        model = onnx.load(str(path))
    except FileNotFoundError:
        raise EncoderError(f"{path}: no such model file") from None
    except Exception as error:  # protobuf raises a kind of its own
        raise EncoderError(f"{path}: not a whole ONNX model ({type(error).__name__}: {error})") from error
    if not model.graph.node:
        raise EncoderError(f"{path}: not a whole ONNX model (it has no nodes)")
    return model


def parameter_count(model: onnx.ModelProto) -> int:
    """Numbers in the floating-point initialisers: the weights."""
    floats = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE)
    return sum(int(np.prod(w.dims)) for w in model.graph.initializer if w.data_type in floats)


def find_pool(model: onnx.ModelProto, name: str) -> onnx.NodeProto:
    """The global pool in front of the classifier: back from the last Gemm or MatMul over reshaping nodes."""
    maker = {output: node for node in model.graph.node for output in node.output}
    products = [node for node in model.graph.node if node.op_type in ("Gemm", "MatMul")]
    if not products:
        raise SurgeryError(f"{name}: no Gemm or MatMul, so no classifier to cut off; is it a whole classifier?")
    node: onnx.NodeProto | None = maker.get(products[-1].input[0])
    while node is not None and node.op_type in PASSING:
        node = maker.get(node.input[0])
    if node is None or node.op_type not in POOLS:
        found = "the graph's input" if node is None else f"{node.op_type} ({node.name or node.output[0]})"
        raise SurgeryError(
            f"{name}: expected a global pool ({', '.join(sorted(POOLS))}) before the last {products[-1].op_type}, "
            f"found {found}. This network pools in another way and cannot be cut here"
        )
    return node


def _layout(model: onnx.ModelProto, pool: onnx.NodeProto, name: str) -> str:
    """Pools work over the last two axes; ReduceMean names its axes, and Keras exports may say 1 and 2."""
    if pool.op_type != "ReduceMean":
        return "NCHW"
    axes = _axes(model, pool)
    layouts = {(2, 3): "NCHW", (1, 2): "NHWC"}
    if axes not in layouts:
        raise SurgeryError(f"{name}: the last ReduceMean runs over axes {axes}, expected (2, 3) or (1, 2)")
    return layouts[axes]


def _axes(model: onnx.ModelProto, pool: onnx.NodeProto) -> tuple[int, ...]:
    """The axes of a ReduceMean: an attribute up to opset 17, an input from 18 on."""
    values: Any = next((list(a.ints) for a in pool.attribute if a.name == "axes"), None)
    if values is None and len(pool.input) > 1:
        constants = {w.name: w for w in model.graph.initializer}
        constants |= {n.output[0]: n.attribute[0].t for n in model.graph.node if n.op_type == "Constant"}
        tensor = constants.get(pool.input[1])
        values = [] if tensor is None else numpy_helper.to_array(tensor).reshape(-1).tolist()
    return tuple(sorted(int(axis) % 4 for axis in values or []))


def _with_outputs(model: onnx.ModelProto, grid: str, layout: str, preprocessing: Preprocessing) -> onnx.ModelProto:
    """The graph up to ``grid``, ending in GRID (NCHW) and FEATURES, with a free batch axis."""
    graph = model.graph
    end = helper.make_node("Identity", [grid], [GRID])
    if layout == "NHWC":
        end = helper.make_node("Transpose", [grid], [GRID], perm=[0, 3, 1, 2])
    pool = helper.make_node("GlobalAveragePool", [GRID], ["encoder.pooled"])
    flat = helper.make_node("Flatten", ["encoder.pooled"], [FEATURES], axis=1)
    nodes = [*_needed(graph, grid), end, pool, flat]
    used = {name for node in nodes for name in node.input}
    weights = [w for w in graph.initializer if w.name in used]
    inputs = [i for i in graph.input if i.name in used and i.name not in {w.name for w in weights}]
    if len(inputs) != 1:
        raise SurgeryError(f"expected one picture input, the graph has {[i.name for i in inputs]}")
    batch = helper.make_tensor_value_info(inputs[0].name, TensorProto.FLOAT, ["N", *preprocessing.shape])
    unknown = [helper.make_tensor_value_info(GRID, TensorProto.FLOAT, None)]
    cut = helper.make_graph(nodes, graph.name or "encoder", [batch], unknown, weights)
    return helper.make_model(cut, opset_imports=model.opset_import, ir_version=model.ir_version)


def _needed(graph: onnx.GraphProto, tensor: str) -> list[onnx.NodeProto]:
    """The nodes that ``tensor`` depends on, in the graph's (topological) order."""
    wanted, kept = {tensor}, []
    for node in reversed(graph.node):
        if wanted.intersection(node.output):
            wanted.update(node.input)
            kept.append(node)
    return kept[::-1]


def _outputs(shapes: Mapping[str, tuple[int, ...]]) -> list[onnx.ValueInfoProto]:
    return [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", *shape]) for name, shape in shapes.items()]


def _grid_shape(cut: onnx.ModelProto, pool: onnx.NodeProto, name: str) -> tuple[int, int, int]:
    inferred = shape_inference.infer_shapes(cut)
    shapes = {v.name: v.type.tensor_type.shape.dim for v in inferred.graph.output}
    shape = tuple(int(dim.dim_value) for dim in shapes[GRID])
    if len(shape) != 4 or 0 in shape[1:]:
        raise SurgeryError(f"{name}: the grid before the pool has shape {shape}, expected (N, C, H, W)")
    kernel = next((tuple(a.ints) for a in pool.attribute if a.name == "kernel_shape"), shape[2:])
    if kernel != shape[2:]:
        raise SurgeryError(f"{name}: the last pool takes {kernel} of a {shape[2:]} grid, so it is no global pool")
    return shape[1], shape[2], shape[3]
