"""Studies: equal units, equal parameters, seeds; the table, the pictures, and the command as a person types it."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rnncore.tasks import Adding, TemporalOrder, parameters_of, plots, report
from rnncore.tasks.__main__ import main
from rnncore.tasks.study import GREFF, Study, summary
from rnncore.tasks.training import Settings, Training, make_cell

ROOT = Path(__file__).resolve().parents[2]
QUICK = Settings(steps=40, batch=6, every=20, held_out=40, learning_rate=5e-3)
TINY = ["order", "--set", "length=10", "--hidden", "5", "--steps", "40", "--batch", "6", "--every", "20"]


def command(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *arguments: str
) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of a command, in this process."""
    monkeypatch.setattr(sys, "argv", ["python -m rnncore.tasks", *arguments])
    monkeypatch.setenv("COLUMNS", "200")
    code = 0
    try:
        main()
    except SystemExit as stop:
        code = int(stop.code or 0)
    said = capsys.readouterr()
    return code, said.out, said.err


@pytest.fixture(scope="module")
def result() -> dict[str, Any]:
    """Of a small study, trained in this process."""
    study = Study(TemporalOrder(length=10), ["LSTM", "GRU"], 5, ("units", "parameters"), 2, settings=QUICK)
    made = study.result({run.name: Training(run).finish() for run in study.runs()})
    return json.loads(json.dumps(made))  # type: ignore[no-any-return]


def test_equal_units_and_equal_parameters(result: dict[str, Any]) -> None:
    lstm, units, parameters = result["entries"]
    assert (lstm["hidden"], lstm["equal"]) == (5, ["units", "parameters"])
    assert (units["label"], units["hidden"], units["equal"]) == ("GRU", 5, ["units"])
    assert (parameters["label"], parameters["equal"]) == ("GRU", ["parameters"])
    assert parameters["hidden"] > 5
    for entry in result["entries"]:
        assert entry["parameters"] == parameters_of(TemporalOrder(10), make_cell(entry["cell"]), entry["hidden"])
        assert [seed["seed"] for seed in entry["seeds"]] == [0, 1]
    assert abs(parameters["parameters"] - lstm["parameters"]) < abs(units["parameters"] - lstm["parameters"])


def test_mean_and_deviation_over_the_seeds() -> None:
    def seed(at: int | None, *errors: float) -> dict[str, Any]:
        history = [{"step": 100 * (k + 1), "error": e, "seconds": 2.0 * (k + 1)} for k, e in enumerate(errors)]
        return {"solved_at": at, "failed": None, "history": history}

    found = summary([seed(200, 0.5, 0.1), seed(300, 0.5, 0.4, 0.3)])
    assert found["steps"] == pytest.approx((250, np.std([200, 300], ddof=1)))
    assert found["error"] == pytest.approx((0.2, np.std([0.1, 0.3], ddof=1)))
    assert found["seconds"] == pytest.approx(20)
    assert summary([seed(200, 0.1), seed(None, 0.5)])["steps"] is None
    assert summary([seed(200, 0.1)])["steps"] == (200, None)
    assert summary([seed(None)])["error"] is None


def test_forget_biases_and_variants_make_their_own_lines() -> None:
    study = Study(Adding(), ["LSTM", "GRU"], forget_biases=(0.0, 1.0), seeds=1)
    assert [run.label for run in study.runs()] == ["LSTM, forget bias 0", "LSTM, forget bias 1", "GRU"]
    variants = Study(Adding(), ["greff"]).entries()
    assert [entry.cell for entry in variants] == list(GREFF)
    assert len(GREFF) == 9


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"cells": ["LSTN"]}, "no cell 'LSTN'"),
        ({"cells": ["LSTM", "greff", "CIFG"]}, "CIFG stand there twice"),
        ({"seeds": 0}, "at least 1"),
        ({"equal": ()}, "got nothing"),
        ({"equal": ("size",)}, "units, parameters or both, got size"),
    ],
)
def test_studies_of_nothing_are_refused(given: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Study(Adding(), **{"cells": ["LSTM"], **given})


def test_the_tables_say_what_came_out(result: dict[str, Any]) -> None:
    tables = report.tables(result)
    assert list(tables) == ["equal units", "equal parameters"]
    assert [row[0] for row in tables["equal units"]] == ["cell", "LSTM", "GRU"]
    entry = {**result["entries"][0], "steps": (250.0, 50.0), "error": (0.004, None), "seconds": 1.25}
    entry["seeds"] = [{"solved_at": 200, "failed": None}, {"solved_at": None, "failed": None}, {"failed": "x"}]
    row = report.line(result, entry)
    assert row[3:] == ["200, not in 40, diverged", "250 ± 50", "0.0040", "1.2"]
    text = report.markdown(result)
    assert text.count("| LSTM | 5 |") == 2
    assert "1.3863" in text
    assert "new sequences." in text


def test_pictures_show_every_seed_and_the_threshold(result: dict[str, Any]) -> None:
    changed = json.loads(json.dumps(result))
    changed["entries"][0]["seeds"][0]["solved_at"] = 40
    axes = plots.curves(changed)
    drawn = [line for line in axes.get_lines() if len(line.get_xdata()) == 2 and list(line.get_xdata()) == [20, 40]]
    wanted = [[e["error"] for e in seed["history"]] for entry in changed["entries"] for seed in entry["seeds"]]
    assert [list(line.get_ydata()) for line in drawn] == wanted
    assert {line.get_linestyle() for line in drawn} == {"-", "--"}
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["LSTM (5)", "GRU (5)", "GRU (6)"]
    levels = [line.get_ydata()[0] for line in axes.get_lines() if list(line.get_xdata()) == [0, 1]]
    assert levels == [0.75, 0.01]
    dots = plots.thresholds(changed).get_lines()
    places = [(line.get_xdata()[0], line.get_marker()) for line in dots if len(line.get_xdata()) == 1]
    assert places == [(40, "o"), *[(40, ">")] * 5]


def test_the_command_from_end_to_end(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text("from rnncore.cells import GRU\n\n\nclass Mine(GRU):\n    '''My own.'''\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    run = ["study", *TINY, "--cells", "LSTM,mine:Mine", "--seeds", "2", "--run", "runs/a", "--jobs", "2"]
    code, out, err = command(capsys, monkeypatch, *run, "--json", "kept.json", "--figure", "kept.png")
    assert code == 0, err
    assert [line.partition(":")[0] for line in err.splitlines()] == [f"{k} of 6" for k in range(1, 7)]
    assert "mine:Mine" in out
    made = json.loads((tmp_path / "runs/a/result.json").read_text())
    assert made == json.loads((tmp_path / "kept.json").read_text())
    assert made["command"].startswith("python -m rnncore.tasks study order --set length=10")
    assert made["machine"]["cores"] >= 1
    assert (tmp_path / "kept.png").read_bytes()[:4] == b"\x89PNG"
    assert "<svg" in (tmp_path / "runs/a/result.svg").read_text()
    before = {file.name: file.stat().st_mtime_ns for file in (tmp_path / "runs/a").glob("order-*")}
    assert len(before) == 6
    assert command(capsys, monkeypatch, *run, "--quiet")[::2] == (0, "")
    assert before == {file.name: file.stat().st_mtime_ns for file in (tmp_path / "runs/a").glob("order-*")}
    code, shown, err = command(capsys, monkeypatch, "show", "kept.json", "--figure", "b.svg", "--markdown", "b.md")
    assert (code, err) == (0, "")
    assert shown == out
    assert (tmp_path / "b.svg").read_text() == (tmp_path / "runs/a/result.svg").read_text()
    assert (tmp_path / "b.md").read_text() == (tmp_path / "runs/a/result.md").read_text()


LATCH = '''
from dataclasses import dataclass
import numpy as np
from rnncore.tasks import Baseline, Batch, Task

@dataclass(frozen=True)
class Latch(Task):
    """Keep the first sign."""
    length: int = 5
    name, source, input_size, output_size = "latch", "nobody", 1, 2

    def baseline(self):
        return Baseline(0.6931, 0.5, "both alike")

    def batch(self, rng, size):
        first = rng.integers(0, 2, size)
        x = np.zeros((self.length, size, 1), np.float32)
        x[0, :, 0] = 2 * first - 1
        return Batch(x, first)
'''


def test_a_task_of_ones_own_is_studied_like_ours(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mytask.py").write_text(LATCH)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    line = ["study", "mytask:Latch", *TINY[1:3], "--hidden", "6", "--steps", "400", "--every", "50", "--seeds", "1"]
    code, out, err = command(capsys, monkeypatch, *line, "--cells", "GRU", "--equal", "units", "--run", "runs")
    assert code == 0, err
    result = json.loads((tmp_path / "runs/result.json").read_text())
    assert result["task"]["name"] == "mytask:Latch"
    assert result["task"]["length"] == 10
    assert result["entries"][0]["seeds"][0]["solved_at"] is not None
    assert "nobody" in out


def test_tasks_are_listed_and_shown(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    code, out, _ = command(capsys, monkeypatch, "list")
    assert code == 0
    for said in ("adding", "0.1667", "copy", "0.5199", "order", "parity", "reber", "0.5041", "text"):
        assert said in out
    _, out, _ = command(capsys, monkeypatch, "sample", "adding", "--set", "length=4", "--count", "2")
    assert len(re.findall("end  -> ", out)) == 2
    assert len(re.findall(r"^    3  ", out, re.MULTILINE)) == 2
    assert "-> 6" in command(capsys, monkeypatch, "sample", "reber")[1]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["study", "adds", "--run", "x"], "no task 'adds'"),
        (["study", "order", "--set", "length", "--run", "x"], "'length' is no setting; write name=value"),
        (["study", "order", "--cells", "LSTM,nothing:Cell", "--run", "x"], "cannot be loaded"),
        (["study", "order", "--forget-bias", "big", "--run", "x"], "takes numbers by commas"),
        (["study", "order", "--learning-rate", "-1", "--run", "x"], "learning_rate must be a number above 0"),
        (["show", "nothing.json"], "No such file"),
        (["show", "wrong.json"], "expected the result of a study"),
        (["show", "empty.json"], "expected the result of a study"),
    ],
)
def test_errors_are_one_line(
    arguments: list[str],
    said: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "wrong.json").write_text('{"title": 3}')
    (tmp_path / "empty.json").write_text("")
    code, out, err = command(capsys, monkeypatch, *arguments)
    assert (code, out) == (1, "")
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert said in err
    assert not (tmp_path / "x").exists()


def test_ctrl_c_keeps_what_was_measured_and_the_same_command_goes_on(tmp_path: Path) -> None:
    line = [sys.executable, "-m", "rnncore.tasks", "study", *TINY, "--cells", "GRU", "--seeds", "2", "--equal", "units"]
    line += ["--run", str(tmp_path), "--jobs", "2", "--to-the-end"]
    long = [*line, "--steps", "100000"]
    process = subprocess.Popen(long, cwd=ROOT, stderr=subprocess.PIPE, text=True, start_new_session=True)
    while len(list(tmp_path.glob("*.safetensors"))) < 2:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err.strip().splitlines()[-1].startswith("stopped; finished runs and the last measurement")
    assert "Traceback" not in err
    kept = list(tmp_path.glob("*.safetensors"))
    assert len(kept) == 2
    still = subprocess.run(["pgrep", "-f", f"workers {tmp_path}"], capture_output=True, text=True, check=False)
    assert still.stdout == ""
