"""The other commands: build, cut, describe, inspect, compare, fetch; and that importing costs nothing."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from typer.testing import CliRunner, Result

from encoders import EncoderError, Header, StoreWriter, load_spec
from encoders.cli import app
from tests.encoders.tiny import HOW, tiny_encoder


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def store(folder: Path, rows: np.ndarray) -> Path:
    header = Header("e", "made up", {"features": rows.shape[1:]}, "float32")
    with StoreWriter(folder, header) as writer:
        writer.append([f"{k}.jpg" for k in range(len(rows))], {"features": rows})
    return folder


def test_compare_measures_and_writes_and_fails_below_the_bound(tmp_path: Path) -> None:
    rows = np.random.default_rng(0).normal(size=(5, 8)).astype(np.float32)
    ours = store(tmp_path / "a", rows)
    assert run("compare", ours, store(tmp_path / "b", rows * 2), "--json", tmp_path / "c.json").exit_code == 0
    record = json.loads((tmp_path / "c.json").read_text())
    assert record["pictures"] == 5
    assert record["min_cosine"] == pytest.approx(1.0, abs=1e-6)
    rows[3] = -rows[3]
    result = run("compare", ours, store(tmp_path / "d", rows))
    assert "cosine at least -1.0000000 (3.jpg)" in result.output
    assert isinstance(result.exception, EncoderError)
    assert "3.jpg: cosine -1.000000 is under 0.9995" in str(result.exception)


def test_compare_needs_every_picture(tmp_path: Path) -> None:
    rows = np.ones((3, 4), np.float32)
    result = run("compare", store(tmp_path / "a", rows[:2]), store(tmp_path / "b", rows))
    assert "1 of 3 pictures have no features: 2.jpg" in str(result.exception)


def test_describe_then_inspect(tmp_path: Path) -> None:
    known = tiny_encoder(tmp_path / "m.onnx", describe=False)
    said = run("describe", tmp_path / "m.onnx", "--size", 8, "--grid", "grid", "--description", "a tiny encoder")
    assert said.exit_code == 0, said.output
    assert load_spec(tmp_path / "m.onnx") == known
    assert known.preprocessing == HOW
    shown = run("inspect", tmp_path / "m.onnx").output
    for part in (known.hash, "a tiny encoder", "60", "features (N, 5), grid (N, 5, 4, 4)", "CPUExecutionProvider"):
        assert part in shown
    wrong = run("describe", tmp_path / "m.onnx", "--size", 9)
    assert "does not take float32 (1, (3, 9, 9))" in str(wrong.exception)
    wrong = run("describe", tmp_path / "m.onnx", "--features", "pool")
    assert "expected one input and the outputs ['pool']" in str(wrong.exception)


def test_cut_says_what_is_wrong_with_a_graph_that_is_no_classifier(tmp_path: Path) -> None:
    tiny_encoder(tmp_path / "m.onnx")
    result = run("cut", tmp_path / "m.onnx", tmp_path / "c.onnx")
    assert "no Gemm or MatMul" in str(result.exception)
    assert not (tmp_path / "c.onnx").exists()


def test_cut_writes_an_encoder(tmp_path: Path) -> None:
    tiny_encoder(tmp_path / "m.onnx")
    model = onnx.load(str(tmp_path / "m.onnx"))
    weight = onnx.numpy_helper.from_array(np.ones((5, 2), np.float32), "fc")
    model.graph.initializer.append(weight)
    model.graph.node.append(onnx.helper.make_node("Gemm", ["features", "fc"], ["logits"]))
    model.graph.output[0].name = "logits"
    onnx.save(model, str(tmp_path / "full.onnx"))
    result = run("cut", tmp_path / "full.onnx", tmp_path / "c.onnx", "--size", 8)
    assert result.exit_code == 0, result.exception
    assert load_spec(tmp_path / "c.onnx").shapes == {"features": (5,), "grid": (5, 4, 4)}


def test_fetch_knows_one_name_and_verifies_files(tmp_path: Path) -> None:
    assert run("fetch", "resnet").exit_code == 2
    (tmp_path / "f.onnx").write_bytes(b"something else")
    result = run("fetch", "inception-v3", "--from", tmp_path / "f.onnx", "--to", tmp_path / "e.onnx")
    assert "expected sha256 284a65d6" in str(result.exception)
    assert not (tmp_path / "e.onnx").exists()


def test_importing_is_cheap() -> None:
    script = "import sys, encoders; print([m for m in ('numpy', 'onnx', 'onnxruntime', 'PIL') if m in sys.modules])"
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"
    script = "import sys; from encoders import Encoder, open_features; print('onnx' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "False", "encoding does not need the onnx library"


def test_every_public_name_exists() -> None:
    import encoders

    for name in encoders.__all__:
        assert getattr(encoders, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = encoders.nothing
