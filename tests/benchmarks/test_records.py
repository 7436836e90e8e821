"""Records, the tables made of them, and what two of them say together."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from benchmarks import compare, record, tables
from rnncore import machine
from tests.benchmarks import made


def test_a_record_says_what_it_was_measured_with(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Haswell")
    about = record.setting("python -m benchmarks.peers")
    assert about["machine"]["blas"] == machine.blas()
    assert about["machine"]["environment"]["OPENBLAS_CORETYPE"] == "Haswell"
    assert record.is_held_back(about["machine"])
    monkeypatch.delenv("OPENBLAS_CORETYPE")
    monkeypatch.delenv("OPENBLAS_L2_SIZE", raising=False)
    assert not record.is_held_back(record.setting("it")["machine"])
    assert os.getcwd() not in json.dumps(about)


def test_whoever_is_held_back_is_warned(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    for name in record.HELD:
        monkeypatch.delenv(name, raising=False)
    record.warn_if_held_back()
    assert capfd.readouterr().err == ""
    monkeypatch.setenv("OPENBLAS_L2_SIZE", "512")
    record.warn_if_held_back()
    assert "OPENBLAS_L2_SIZE hold" in capfd.readouterr().err


def test_a_process_runs_with_and_without_the_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Zen")
    assert not set(record.HELD) & set(record.environment(held=False))
    assert record.environment(held=True)["OPENBLAS_CORETYPE"] == "Zen"
    monkeypatch.delenv("OPENBLAS_CORETYPE")
    assert record.environment(held=True)["OPENBLAS_CORETYPE"] == "Haswell"
    found = json.loads(record.run_module("rnncore", ["--json", "--seconds", "0.02"], held=False))
    assert not set(record.HELD) & set(found["variables"])
    with pytest.raises(RuntimeError, match="exit code 2"):
        record.run_module("rnncore", ["--no-such-option"])


def test_short_names_of_machines() -> None:
    assert record.slug({"cpu": "Intel(R) Xeon(R) Processor @ 2.10GHz", "cores": 2}) == "intel-xeon-2"
    assert record.slug({"cpu": "AMD EPYC", "cores": 64}) == "amd-epyc-64"


def test_what_is_saved_is_read_again_rounded_and_on_few_lines(tmp_path: Path) -> None:
    content = made.record("training", [made.training_row(0.0123456789, torch=0.02)])
    record.save(tmp_path / "a" / "it.json", content)
    back = record.load(tmp_path / "a" / "it.json")
    assert back["rows"][0]["seconds"]["ours"][0] == 0.01235
    assert '"ours": [0.01235, ' in (tmp_path / "a" / "it.json").read_text()
    assert back["machine"] == content["machine"]


@pytest.mark.parametrize("text", ["", "[1, 2]", '{"rows": []}', '{"rows": [], "date": '])
def test_what_is_no_record_is_refused_by_name(tmp_path: Path, text: str) -> None:
    (tmp_path / "odd.json").write_text(text)
    with pytest.raises(ValueError, match=r"odd\.json: expected"):
        record.load(tmp_path / "odd.json")


def test_a_figure_that_is_not_finite_is_not_kept(tmp_path: Path) -> None:
    with pytest.raises(ValueError):
        record.save(tmp_path / "it.json", {"rows": [float("nan")]})
    assert not (tmp_path / "it.json").exists()


def test_the_table_tells_ratio_bar_and_the_held_back_ratio() -> None:
    free = made.record("training", [made.training_row(9e-3, torch=10e-3, jax=18e-3)])
    held = made.record("training", [made.training_row(16e-3, torch=10e-3)], OPENBLAS_CORETYPE="Haswell")
    (row,) = [line for line in tables.markdown([free, held]).splitlines() if line.startswith("| (34, 64, 200, 256)")]
    for said in ("| 9.00 |", "| 10.0 |", "**0.90** (0.90 to 0.90)", "≤ 0.95 met", "**1.60**", "| 18.0 |"):
        assert said in row


def test_a_missed_bar_is_said_and_the_better_torch_is_the_peer() -> None:
    rows = [made.training_row(10e-3, bar=0.88, torch_packed=12e-3, torch_padded=11e-3)]
    text = tables.markdown([made.record("lengths", rows)])
    assert "**0.91**" in text
    assert "11.0 padded" in text
    assert "≤ 0.88 missed" in text


def test_torch_as_installed_and_its_single_cell_are_shown_but_are_no_peer() -> None:
    row = made.training_row(1e-4, torch=2e-4, torch_untuned=1e-5, torch_cell=1e-6)
    assert tables.reference(row) == ("torch", "PyTorch")
    assert "| torch cell, ms | torch untuned, ms |" in tables.time_table([row])


def test_whole_beams_are_shown_but_are_no_peer() -> None:
    row = made.training_row(9e-3, torch=8e-3) | {"beam": 3, "pictures": 1000}
    row["seconds"]["torch whole beams"] = [2e-3] * 7
    assert tables.reference(row) == ("torch", "PyTorch")
    assert "| torch whole beams, ms |" in tables.time_table([row])


def test_the_parts_of_a_step_are_told_below_its_times() -> None:
    rows = [made.training_row(9e-3, cell) | {"captions": 15} for cell in ("LSTM", "GRU")]
    rows[0]["parts"], rows[1]["parts"] = {"words": 0.626, "softmax": 0.374}, {"softmax": 0.7, "words": 0.3}
    lines = tables.markdown([made.record("captioner", rows)]).splitlines()
    first = lines.index("| of our step | cell | words | softmax |")
    assert [line.split(" | ")[1:] for line in lines[first + 2 : first + 4]] == [
        ["LSTM", "63 %", "37 % |"],
        ["GRU", "30 %", "70 % |"],
    ]


def test_a_record_without_any_peer_still_makes_a_table() -> None:
    text = tables.markdown([made.record("training", [made.training_row(9e-3)])])
    assert "| 9.00 |" in text
    assert "met" not in text


def test_memory_is_told_with_its_ratio_and_growth() -> None:
    megabytes = {"ours": {"peak": 30.0, "growth": 0.1}, "torch": {"peak": 40.0, "growth": 0.0}}
    row = {"cell": "GRU", "shape": [1, 2, 3, 4], "steps": 1000, "megabytes": megabytes}
    assert "| (1, 2, 3, 4) | GRU | 1000 | 30.0 | 40.0 | 0.75 | +0.1 / +0.0 |" in tables.memory_table([row])


def test_each_machine_gets_a_file_of_all_its_parts(tmp_path: Path) -> None:
    record.save(tmp_path / "amd-epyc-2-training.json", made.record("training", [made.training_row(1e-3, torch=2e-3)]))
    record.save(tmp_path / "amd-epyc-2-cost.json", made.record("cost", []))
    (tmp_path / "gpu-card.json").write_text('{"another": "record"}')
    assert [path.name for path in tables.write_tables(tmp_path)] == ["amd-epyc-2.md"]
    text = (tmp_path / "amd-epyc-2.md").read_text()
    assert text.startswith("### Forward and backward")
    assert "SkylakeX kernels on 2 threads; numpy 2.4" in text


def two(tmp_path: Path, before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    paths = [tmp_path / "before.json", tmp_path / "after.json"]
    for path, content in zip(paths, (before, after), strict=True):
        record.save(path, content)
    return [str(path) for path in paths]


def test_a_planted_slowdown_is_worse_and_a_slower_day_is_not() -> None:
    before = made.record("training", [made.training_row(9e-3, torch=10e-3)])
    slower = made.record("training", [made.training_row(12e-3, torch=10e-3)])
    slow_day = made.record("training", [made.training_row(18e-3, torch=20e-3)])
    quicker = made.record("training", [made.training_row(6e-3, torch=10e-3)])
    verdicts = {"worse": slower, "noise": slow_day, "better": quicker}
    for verdict, after in verdicts.items():
        (found,) = compare.changes(before, after)
        assert found.change.verdict == verdict
        assert found.peer == "torch"


def test_the_command_prints_a_verdict_a_row_and_ends_with_1_if_any_is_worse(tmp_path: Path) -> None:
    import typer

    app = typer.Typer()
    app.command()(compare.main)
    rows = [made.training_row(9e-3, torch=1e-2), made.training_row(9e-3, "GRU", torch=1e-2)]
    worse = [rows[0], made.training_row(2e-2, "GRU", torch=1e-2)]
    done = CliRunner().invoke(app, two(tmp_path, made.record("training", rows), made.record("training", worse)))
    assert done.exit_code == 1
    assert "worse" in done.output
    assert "noise" in done.output
    same = CliRunner().invoke(app, two(tmp_path, made.record("training", rows), made.record("training", rows)))
    assert same.exit_code == 0
    broken = CliRunner().invoke(app, [str(tmp_path / "before.json"), str(tmp_path / "nowhere.json")])
    assert broken.exit_code == 2


@pytest.mark.parametrize(
    ("after", "said"),
    [
        (made.record("forward", [made.training_row(1e-3, torch=1e-3)]), "part"),
        (made.record("training", [made.training_row(1e-3, torch=1e-3)], OPENBLAS_CORETYPE="Haswell"), "machine"),
        (made.record("training", [made.training_row(1e-3, jax=1e-3)]), "no row with the same peer"),
        (made.record("training", [made.training_row(1e-3, "GRU", torch=1e-3)]), "no row with the same peer"),
    ],
)
def test_what_cannot_be_compared_is_refused(after: dict[str, Any], said: str) -> None:
    before = made.record("training", [made.training_row(1e-3, torch=1e-3)])
    with pytest.raises(ValueError, match=said):
        list(compare.changes(before, after))
