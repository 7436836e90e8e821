"""`captioning doctor` adds runtime, encoders and data to what rnncore's doctor finds."""

import json
from pathlib import Path

import onnxruntime
import pytest
from typer.testing import CliRunner

from captioning import doctor as module
from captioning.cli import app
from rnncore import doctor


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measure no longer than a test may."""
    examine = doctor.examine
    monkeypatch.setattr(doctor, "examine", lambda: examine(0.02))


@pytest.mark.usefixtures("quick")
def test_the_command_prints_and_keeps_everything(tmp_path: Path) -> None:
    (tmp_path / "captions.csv").write_text("image,caption\n" + "".join(f"{k}.jpg,a red dog\n" for k in range(9)))
    kept = tmp_path / "doctor.json"
    done = CliRunner().invoke(app, ["doctor", "--data", str(tmp_path), "--json", str(kept)])
    assert done.exit_code == 0, done.output
    for said in ("GFLOP/s", onnxruntime.__version__, "CPUExecutionProvider", "\ndata  "):
        assert said in done.output
    facts = json.loads(kept.read_text())
    assert sum(facts["data"]["sizes"].values()) == 9
    assert facts["rates"]["float32"] > 0


def test_a_dataset_that_is_none_is_told_and_ends_nothing(tmp_path: Path) -> None:
    facts = module.data_facts(tmp_path / "nowhere")
    assert facts is not None
    assert "no such file or folder" in facts["error"]
    assert module.data_facts(None) is None


def test_encoders_are_found_where_commands_look(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENCODERS_CACHE", str(tmp_path / "empty"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "broken.onnx").write_bytes(b"no model")
    assert module.encoder_facts() == []
    assert (
        "captioning fetch inception-v3"
        in module.lines({"onnxruntime": module.runtime_facts(), "encoders": [], "data": None})["encoders"]
    )
