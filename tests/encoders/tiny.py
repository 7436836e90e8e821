"""A very small encoder and small pictures, for tests that are not about Inception."""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from encoders import EncoderSpec, Output, Preprocessing
from encoders.files import sha256_file
from encoders.sidecar import save_spec

HOW = Preprocessing(size=(8, 8))
WEIGHT = np.random.default_rng(0).normal(size=(5, 3, 2, 2)).astype(np.float32)


def tiny_encoder(path: Path, describe: bool = True) -> EncoderSpec:
    """grid = conv 2×2 of stride 2, (N, 5, 4, 4); features its mean, (N, 5)."""
    nodes = [
        helper.make_node("Conv", ["input", "w"], ["grid"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("GlobalAveragePool", ["grid"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["features"]),
    ]
    inputs = [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["N", 3, 8, 8])]
    shapes = {"features": ["N", 5], "grid": ["N", 5, 4, 4]}
    outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()]
    graph = helper.make_graph(nodes, "tiny", inputs, outputs, [numpy_helper.from_array(WEIGHT, "w")])
    opset = [helper.make_opsetid("", 13)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), str(path))
    described = (Output("features", "features", (5,)), Output("grid", "grid", (5, 4, 4)))
    spec = EncoderSpec(sha256_file(path), "input", described, HOW, "a tiny encoder")
    if describe:
        save_spec(path, spec)
    return spec


def expected_features(picture: np.ndarray) -> np.ndarray:
    """The features of one prepared picture (3, 8, 8), by NumPy alone."""
    patches = picture.reshape(3, 4, 2, 4, 2).transpose(1, 3, 0, 2, 4)
    return np.einsum("hwcij,ocij->ohw", patches, WEIGHT).mean((1, 2))


def make_pictures(folder: Path, count: int, seed: int = 0) -> list[Path]:
    """PNG files of noise, named 00.png, 01.png, ..."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    paths = [folder / f"{k:02d}.png" for k in range(count)]
    for path in paths:
        Image.fromarray(rng.integers(0, 255, (12, 10, 3), np.uint8)).save(path)
    return paths
