"""Inception v3 with random weights, built on the spot: an encoder that needs no download.

The graph is that of Szegedy et al., "Rethinking the Inception Architecture for Computer Vision" (2016), section
6, in the form that Keras and torchvision agree on, each batch normalisation folded into its convolution as
weights and bias. It has 23,817,352 parameters with the classifier, 21,768,352 without. (torchvision counts
23,834,568 and Keras 23,851,784: the same graph with 2 and 3 numbers for each of the 17,216 normalised channels
where the folding leaves the bias.)
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

from encoders.errors import EncoderError
from encoders.files import atomic_write, cache_folder, sha256_file
from encoders.known import INCEPTION_V3
from encoders.sidecar import load_spec, save_spec
from encoders.spec import EncoderSpec, Output

OPSET = 13
RECIPE = 1  # counts changes that give other weights for the same seed
PARAMETERS = 23_817_352
PARAMETERS_WITHOUT_CLASSIFIER = 21_768_352
FIRST_COPYING = 12  # convolutions before this one (the stem and the first block) are wholly random
COPIES = 0.9

Array = npt.NDArray[np.float32]


class Graph:
    """Nodes and weights as they are added; convolutions draw theirs from one seeded generator."""

    def __init__(self, seed: int) -> None:
        self.random = np.random.default_rng(seed)
        self.nodes: list[onnx.NodeProto] = []
        self.weights: dict[str, Array] = {}
        self.channels: dict[str, int] = {"input": 3}

    def add(self, kind: str, inputs: Sequence[str], channels: int, name: str = "", **attributes: Any) -> str:
        """A node with one output, named after its kind and number unless given; returns that name."""
        name = name or f"{kind.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], name=name, **attributes))
        self.channels[name] = channels
        return name

    def conv(self, x: str, channels: int, kernel: tuple[int, int], stride: int = 1, same: bool = True) -> str:
        """Convolution and ReLU."""
        number = len(self.weights) // 2
        name = f"conv_{number}"
        self.weights[f"{name}_w"] = self._draw(self.channels[x], channels, kernel, number >= FIRST_COPYING)
        self.weights[f"{name}_b"] = np.zeros(channels, np.float32)
        pads = [kernel[0] // 2, kernel[1] // 2] * 2 if same else [0] * 4
        inputs = [x, f"{name}_w", f"{name}_b"]
        shape = {"kernel_shape": list(kernel), "strides": [stride, stride], "pads": pads}
        return self.add("Relu", [self.add("Conv", inputs, channels, name, **shape)], channels)

    def _draw(self, come: int, go: int, kernel: tuple[int, int], copying: bool) -> Array:
        """He-normal weights, N(0, 2 / fan-in), so activations keep their scale (He et al. 2015).

        Dozens of wholly random layers blur what tells pictures apart, so where ``copying``, most output
        channels hand on one random input channel each and only the others mix. Measured by a linear probe on
        300 scenes: area under the curve for shapes 0.73 wholly random, 0.82 with copies; colours 0.91 and 0.99.
        """
        fan_in = come * kernel[0] * kernel[1]
        weights = self.random.normal(0, np.sqrt(2 / fan_in), (go, come, *kernel)).astype(np.float32)
        if copying:
            copies = self.random.permutation(go)[: round(COPIES * go)]
            sources = np.concatenate([self.random.permutation(come) for _ in range(go // come + 1)])
            weights[copies] = 0
            weights[copies, sources[: len(copies)], kernel[0] // 2, kernel[1] // 2] = 1
        return weights

    def chain(self, x: str, *steps: tuple[int, int, int]) -> str:
        """Convolutions of stride 1 one after the other; each step is (channels, kernel height, width)."""
        for channels, height, width in steps:
            x = self.conv(x, channels, (height, width))
        return x

    def max_pool(self, x: str) -> str:
        return self.add("MaxPool", [x], self.channels[x], kernel_shape=[3, 3], strides=[2, 2])

    def average(self, x: str) -> str:
        """3×3 mean of stride 1 that counts no padding."""
        return self.add(
            "AveragePool", [x], self.channels[x], kernel_shape=[3, 3], pads=[1, 1, 1, 1], count_include_pad=0
        )

    def concat(self, *parts: str, name: str = "") -> str:
        return self.add("Concat", parts, sum(self.channels[part] for part in parts), name, axis=1)


def trunk(g: Graph) -> str:
    """Everything from `input` (N, 3, 299, 299) to the last grid (N, 2048, 8, 8); returns its name."""
    x = g.conv("input", 32, (3, 3), stride=2, same=False)
    x = g.conv(x, 32, (3, 3), same=False)
    x = g.max_pool(g.conv(x, 64, (3, 3)))
    x = g.conv(x, 80, (1, 1))
    x = g.max_pool(g.conv(x, 192, (3, 3), same=False))
    for pooled in (32, 64, 64):
        x = _mixed_35(g, x, pooled)
    x = _reduce_35(g, x)
    for width in (128, 160, 160, 192):
        x = _mixed_17(g, x, width)
    x = _reduce_17(g, x)
    return _mixed_8(g, _mixed_8(g, x), name="grid")


def _mixed_35(g: Graph, x: str, pooled: int) -> str:
    five = g.chain(x, (48, 1, 1), (64, 5, 5))
    double = g.chain(x, (64, 1, 1), (96, 3, 3), (96, 3, 3))
    return g.concat(g.chain(x, (64, 1, 1)), five, double, g.chain(g.average(x), (pooled, 1, 1)))


def _reduce_35(g: Graph, x: str) -> str:
    three = g.conv(x, 384, (3, 3), stride=2, same=False)
    double = g.conv(g.chain(x, (64, 1, 1), (96, 3, 3)), 96, (3, 3), stride=2, same=False)
    return g.concat(three, double, g.max_pool(x))


def _mixed_17(g: Graph, x: str, width: int) -> str:
    w = width
    seven = g.chain(x, (w, 1, 1), (w, 1, 7), (192, 7, 1))
    double = g.chain(x, (w, 1, 1), (w, 7, 1), (w, 1, 7), (w, 7, 1), (192, 1, 7))
    return g.concat(g.chain(x, (192, 1, 1)), seven, double, g.chain(g.average(x), (192, 1, 1)))


def _reduce_17(g: Graph, x: str) -> str:
    three = g.conv(g.chain(x, (192, 1, 1)), 320, (3, 3), stride=2, same=False)
    seven = g.conv(g.chain(x, (192, 1, 1), (192, 1, 7), (192, 7, 1)), 192, (3, 3), stride=2, same=False)
    return g.concat(three, seven, g.max_pool(x))


def _mixed_8(g: Graph, x: str, name: str = "") -> str:
    three = g.chain(x, (384, 1, 1))
    double = g.chain(x, (448, 1, 1), (384, 3, 3))
    split = [g.chain(y, (384, *kernel)) for y in (three, double) for kernel in ((1, 3), (3, 1))]
    return g.concat(g.chain(x, (320, 1, 1)), *split, g.chain(g.average(x), (192, 1, 1)), name=name)


def build_model(seed: int = 0, classes: int = 0) -> onnx.ModelProto:
    """The network as an ONNX model; equal seeds give equal weights.

    Without ``classes`` its outputs are ``features`` (N, 2048) and ``grid`` (N, 2048, 8, 8); with them it is the
    classifier of that many classes with the output ``logits``.
    """
    g = Graph(seed)
    grid = trunk(g)
    _calibrate(g, grid)
    flat = g.add("GlobalAveragePool", [grid], 2048, "pooled")
    flat = g.add("Flatten", [flat], 2048, "features")
    if not classes:
        return _model(g, {"features": (2048,), "grid": (2048, 8, 8)})
    g.weights["fc_w"] = g.random.normal(0, np.sqrt(1 / 2048), (2048, classes)).astype(np.float32)
    g.weights["fc_b"] = np.zeros(classes, np.float32)
    g.add("Gemm", [flat, "fc_w", "fc_b"], classes, "logits")
    return _model(g, {"logits": (classes,)})


def build_encoder(path: Path | str, seed: int = 0) -> EncoderSpec:
    """Build the encoder of ``seed`` and write it with its description beside it."""
    with atomic_write(path) as file:
        file.write(build_model(seed).SerializeToString(deterministic=True))
    outputs = (Output("features", "features", (2048,)), Output("grid", "grid", (2048, 8, 8)))
    label = f"Inception v3, random weights (seed {seed})"
    spec = EncoderSpec(sha256_file(path), "input", outputs, INCEPTION_V3, label)
    save_spec(path, spec)
    return spec


def default_encoder(seed: int = 0) -> Path:
    """The built encoder of ``seed`` in the user's cache folder; built on the first call."""
    path = cache_folder() / f"inception-v3-random-{RECIPE}-{seed}.onnx"
    try:
        load_spec(path)
    except EncoderError:  # not there, or not whole: built anew, it is the same
        path.parent.mkdir(parents=True, exist_ok=True)
        build_encoder(path, seed)
    return path


def _model(g: Graph, outputs: Mapping[str, tuple[int, ...]]) -> onnx.ModelProto:
    weights = [numpy_helper.from_array(value, name) for name, value in g.weights.items()]
    picture = helper.make_tensor_value_info("input", TensorProto.FLOAT, ["N", 3, 299, 299])
    results = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", *shape]) for name, shape in outputs.items()]
    graph = helper.make_graph(g.nodes, "inception_v3", [picture], results, weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)


def _calibrate(g: Graph, grid: str) -> None:
    """Centre and scale the channels of the grid on synthetic pictures, as the last normalisation would.

    Otherwise all pictures share one large mean direction. The factors are rounded coarsely so that processors
    that add in another order find the same ones.
    """
    maker = {node.output[0]: node for node in g.nodes}
    convs = [maker[part].input[0] for part in maker[grid].input]
    options = ort.SessionOptions()
    options.log_severity_level = 3
    model = _model(g, {conv: (g.channels[conv], 8, 8) for conv in convs}).SerializeToString()
    session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    batches = [session.run(convs, {"input": batch}) for batch in np.split(_synthetic_pictures(g.random), 4)]
    for conv, *values in zip(convs, *batches, strict=True):
        responses = np.concatenate(values).astype(np.float64)
        mean, std = responses.mean((0, 2, 3)), responses.std((0, 2, 3))
        gain = np.where(std > 1e-3, 2 ** np.round(-np.log2(np.maximum(std, 1e-3))), 1.0)
        g.weights[f"{conv}_w"] = (g.weights[f"{conv}_w"] * gain[:, None, None, None]).astype(np.float32)
        g.weights[f"{conv}_b"] = (-np.round(mean * gain * 8) / 8).astype(np.float32)


def _synthetic_pictures(random: np.random.Generator, count: int = 24) -> Array:
    """(count, 3, 299, 299) in [-1, 1]: coloured boxes and discs on coloured grounds with a little noise."""
    y, x = np.mgrid[:299, :299]
    pictures = np.empty((count, 3, 299, 299), np.float32)
    for picture in pictures:
        picture[:] = random.uniform(-1, 1, (3, 1, 1)) + random.normal(0, 0.05, (3, 299, 299))
        for _ in range(4):
            cy, cx, height, width = random.uniform((20, 20, 15, 15), (279, 279, 80, 80))
            far = np.abs((y - cy) / height), np.abs((x - cx) / width)
            inside = np.maximum(*far) < 1 if random.random() < 0.5 else np.hypot(*far) < 1
            picture[:, inside] = random.uniform(-1, 1, (3, 1))
    return np.clip(pictures, -1, 1)
