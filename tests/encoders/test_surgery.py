"""Classifiers of several exporters cut at their global pool; graphs without one are refused by name."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from encoders import Encoder, EncoderError, Preprocessing, cut_classifier, load_spec
from encoders.fetch import DownloadError, Remote, fetch_inception
from encoders.files import sha256_file
from encoders.inception import PARAMETERS, build_model
from encoders.surgery import SurgeryError, load_model, parameter_count

RNG = np.random.default_rng(0)
SMALL = Preprocessing(size=(16, 16))
Heads = list[onnx.NodeProto]


def node(kind: str, inputs: list[str], output: str, **attributes: object) -> onnx.NodeProto:
    return helper.make_node(kind, inputs, [output], **attributes)


def torch_head() -> Heads:
    return [
        node("GlobalAveragePool", ["grid"], "p"),
        node("Flatten", ["p"], "f", axis=1),
        node("Dropout", ["f"], "d"),
        node("Gemm", ["d", "fc", "bias"], "logits"),
    ]


def keras_head() -> Heads:
    return [
        node("Transpose", ["grid"], "nhwc", perm=[0, 2, 3, 1]),
        node("ReduceMean", ["nhwc"], "p", axes=[1, 2], keepdims=0),
        node("MatMul", ["p", "fc"], "m"),
        node("Add", ["m", "bias"], "a"),
        node("Softmax", ["a"], "logits", axis=1),
    ]


def reduce_head() -> Heads:
    return [
        node("ReduceMean", ["grid"], "p", axes=[-2, -1], keepdims=0),
        node("MatMul", ["p", "fc"], "m"),
        node("Add", ["m", "bias"], "logits"),
    ]


def squeeze_head() -> Heads:
    return [
        node("AveragePool", ["grid"], "p", kernel_shape=[8, 8]),
        node("Squeeze", ["p", "last_axes"], "s"),
        node("Identity", ["s"], "i"),
        node("Gemm", ["i", "fc", "bias"], "logits"),
    ]


def reshape_head() -> Heads:
    return [
        node("AveragePool", ["grid"], "p", kernel_shape=[8, 8]),
        node("Reshape", ["p", "flat"], "s"),
        node("Gemm", ["s", "fc", "bias"], "logits"),
    ]


def classifier(path: Path, head: Heads, inner: str = "grid") -> onnx.ModelProto:
    """conv 2×2 of stride 2 on (N, 3, 16, 16), ReLU to the grid (N, 6, 8, 8), then the head to 4 classes."""
    renamed = [[inner if name == "grid" else name for name in entry.input] for entry in head]
    for entry, inputs in zip(head, renamed, strict=True):
        del entry.input[:]
        entry.input.extend(inputs)
    body = [
        node("Conv", ["picture", "w"], "c", kernel_shape=[2, 2], strides=[2, 2]),
        node("Relu", ["c"], inner),
    ]
    weights = {
        "w": RNG.normal(size=(6, 3, 2, 2)).astype(np.float32),
        "fc": RNG.normal(size=(6, 4)).astype(np.float32),
        "bias": RNG.normal(size=4).astype(np.float32),
        "last_axes": np.array([2, 3]),
        "flat": np.array([0, -1]),
    }
    graph = helper.make_graph(
        [*body, *head],
        "net",
        [helper.make_tensor_value_info("picture", TensorProto.FLOAT, [1, 3, 16, 16])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", "c"])],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.save(model, str(path))
    return model


def expected_grid(model: onnx.ModelProto, pictures: np.ndarray) -> np.ndarray:
    weights = {w.name: numpy_helper.to_array(w) for w in model.graph.initializer}
    patches = pictures.reshape(len(pictures), 3, 8, 2, 8, 2)
    return np.maximum(np.einsum("ncyixj,ocij->noyx", patches, weights["w"]), 0)


@pytest.mark.parametrize("head", [torch_head, keras_head, reduce_head, squeeze_head, reshape_head])
@pytest.mark.parametrize("inner", ["grid", "features", "mixed_10/concat:0"])
def test_every_style_of_head_is_cut(tmp_path: Path, head: Callable[[], Heads], inner: str) -> None:
    model = classifier(tmp_path / "full.onnx", head(), inner)
    spec = cut_classifier(tmp_path / "full.onnx", tmp_path / "cut.onnx", SMALL, "cut")
    assert spec.shapes == {"features": (6,), "grid": (6, 8, 8)}
    assert load_spec(tmp_path / "cut.onnx") == spec
    cut = load_model(tmp_path / "cut.onnx")
    assert parameter_count(cut) == 6 * 3 * 2 * 2, "the classifier's weights are gone"
    encoder = Encoder(tmp_path / "cut.onnx", outputs=("grid", "features"))
    pictures = RNG.normal(size=(3, 3, 16, 16)).astype(np.float32)
    got = encoder.encode_arrays(pictures)  # three at once, though the classifier took one
    np.testing.assert_allclose(got["grid"], expected_grid(model, pictures), atol=1e-5)
    np.testing.assert_allclose(got["features"], got["grid"].mean((2, 3)), atol=1e-5)


def test_axes_as_an_input_are_understood(tmp_path: Path) -> None:
    """ReduceMean from opset 18 on takes its axes as a constant."""
    head = [
        helper.make_node("Constant", [], ["axes"], value=numpy_helper.from_array(np.array([2, 3]))),
        node("ReduceMean", ["grid", "axes"], "p", keepdims=0),
        node("Gemm", ["p", "fc", "bias"], "logits"),
    ]
    model = classifier(tmp_path / "full.onnx", head)
    model.opset_import[0].version = 18
    onnx.save(model, str(tmp_path / "full.onnx"))
    spec = cut_classifier(tmp_path / "full.onnx", tmp_path / "cut.onnx", SMALL, "cut")
    assert spec.shapes["features"] == (6,)


@pytest.mark.parametrize(
    ("head", "why"),
    [
        ([node("Relu", ["grid"], "logits")], "no Gemm or MatMul"),
        ([node("Flatten", ["grid"], "f"), node("MatMul", ["f", "wide"], "logits")], "expected a global pool.*Relu"),
        (
            [
                node("AveragePool", ["grid"], "p", kernel_shape=[3, 3], strides=[5, 5]),
                node("Flatten", ["p"], "f"),
                node("MatMul", ["f", "wide"], "logits"),
            ],
            "no global pool",
        ),
        (
            [
                node("ReduceMean", ["grid"], "p", axes=[1], keepdims=0),
                node("Flatten", ["p"], "f"),
                node("MatMul", ["f", "wide"], "logits"),
            ],
            r"axes \(1,\)",
        ),
    ],
)
def test_graphs_without_a_global_pool_are_refused(tmp_path: Path, head: Heads, why: str) -> None:
    model = classifier(tmp_path / "full.onnx", head)
    model.graph.initializer.append(numpy_helper.from_array(np.zeros((384, 4), np.float32), "wide"))
    onnx.save(model, str(tmp_path / "full.onnx"))
    with pytest.raises(SurgeryError, match=why):
        cut_classifier(tmp_path / "full.onnx", tmp_path / "cut.onnx", SMALL, "cut")
    assert not (tmp_path / "cut.onnx").exists()


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    classifier(tmp_path / "full.onnx", torch_head())
    content = (tmp_path / "full.onnx").read_bytes()
    for damaged in (content[: len(content) // 2], b"letters, not a model", b""):
        (tmp_path / "bad.onnx").write_bytes(damaged)
        with pytest.raises(EncoderError, match=r"bad\.onnx: not a whole ONNX model"):
            cut_classifier(tmp_path / "bad.onnx", tmp_path / "cut.onnx", SMALL, "cut")


def test_the_whole_inception_classifier_is_cut_to_what_its_encoder_gives(tmp_path: Path) -> None:
    full = build_model(5, classes=1000)
    assert parameter_count(full) == PARAMETERS
    onnx.save(full, str(tmp_path / "full.onnx"))
    spec = cut_classifier(tmp_path / "full.onnx", tmp_path / "cut.onnx", Preprocessing(), "cut")
    assert spec.shapes == {"features": (2048,), "grid": (2048, 8, 8)}
    picture = RNG.uniform(-1, 1, (1, 3, 299, 299)).astype(np.float32)
    got = Encoder(tmp_path / "cut.onnx").encode_arrays(picture)["features"]
    weights = {w.name: numpy_helper.to_array(w) for w in full.graph.initializer if w.name.startswith("fc")}
    session = ort.InferenceSession(str(tmp_path / "full.onnx"), providers=["CPUExecutionProvider"])
    logits = session.run(None, {"input": picture})[0]
    np.testing.assert_allclose(got @ weights["fc_w"] + weights["fc_b"], logits, atol=1e-3)


def test_fetching_from_a_file_verifies_and_cuts_it(tmp_path: Path) -> None:
    classifier(tmp_path / "full.onnx", torch_head())
    size = (tmp_path / "full.onnx").stat().st_size
    pinned = Remote("http://127.0.0.1:1/full.onnx", sha256_file(tmp_path / "full.onnx"), size)
    target = tmp_path / "cache" / "encoder.onnx"
    other = Remote(pinned.url, "0" * 64, size)
    with pytest.raises(DownloadError, match="expected sha256 0000"):
        fetch_inception(target, other, tmp_path / "full.onnx")
    assert not target.exists()
    spec = fetch_inception(target, pinned, tmp_path / "full.onnx")
    assert spec.shapes["features"] == (6,)
    assert fetch_inception(target, other) == spec, "what is there and whole is left alone"
    assert (tmp_path / "full.onnx").exists()
    with pytest.raises(EncoderError, match="no such file"):
        fetch_inception(tmp_path / "x.onnx", pinned, tmp_path / "gone.onnx")
