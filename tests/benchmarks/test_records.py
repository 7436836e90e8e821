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
    assert set(about["machine"]["fused"]) == {"compiler", "threads", "shared", "why"}


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
    assert record.slug({"cpu": "AMD EPYC", "cores": 64, "simd": "AVX-512"}) == "amd-epyc-avx512-64"
    assert record.slug({"cpu": "AMD EPYC", "cores": 2, "simd": None}) == "amd-epyc-2"


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
    for said in ("| 9.00 |", "| 10.0 |", "**0.90** (0.90 to 0.90)", "| ≤ 0.95 met |", "**1.60**", "| 18.0 (0.50) |"):
        assert said in row


def cells(text: str, first: str = "(34, 64, 200, 256)") -> dict[str, str]:
    """The one line of a table that begins so, by its heads."""
    heads, _, line = (each[2:-2].split(" | ") for each in text.splitlines() if each.startswith("|"))
    assert line[0] == first
    return dict(zip(heads, line, strict=True))


def test_fused_kernels_stand_beside_ours_and_the_bar_says_who_met_it() -> None:
    free = [made.training_row(10e-3, torch=10e-3, jax=20e-3, ours_fused=6e-3)]
    held = [made.training_row(16e-3, torch=10e-3, ours_fused=14e-3)]
    told = cells(tables.time_table(free, made.record("training", held)))
    assert [told[head] for head in ("ours, ms", "fused, ms", "PyTorch, ms")] == ["10.0", "6.00", "10.0"]
    assert told["ratio (95 %)"].startswith("**1.00** (")
    assert told["fused ratio (95 %)"].startswith("**0.60** (")
    assert told["bar"] == "≤ 0.95 met by fused"
    assert told["ratio, AVX2"].startswith("**1.60**")
    assert told["fused ratio, AVX2"].startswith("**1.40**")
    assert told["jax, ms (ratio)"] == "20.0 (0.50, 0.30)"


@pytest.mark.parametrize(
    ("ours", "fused", "said"),
    [(9e-3, 8e-3, "met by both"), (9e-3, 10e-3, "met by ours"), (10e-3, 9.9e-3, "missed")],
)
def test_whichever_is_under_the_bar_meets_it(ours: float, fused: float, said: str) -> None:
    row = made.training_row(ours, torch=10e-3, ours_fused=fused)
    assert cells(tables.time_table([row]))["bar"] == f"≤ 0.95 {said}"


def test_records_from_before_there_were_fused_kernels_are_read_and_stand_beside_later_ones() -> None:
    before, after = made.training_row(9e-3, torch=10e-3), made.training_row(9e-3, "GRU", torch=1e-2, ours_fused=1e-3)
    text = tables.time_table([before, after])
    assert "| 9.00 |  | 10.0 |" in text
    assert "| ≤ 0.95 met |" in text
    assert "| ≤ 0.95 met by both |" in text
    assert "fused" not in tables.time_table([before])
    held = made.record("training", [before], OPENBLAS_CORETYPE="Haswell")
    fused = made.training_row(9e-3, torch=1e-2, ours_fused=1e-3)
    assert cells(tables.time_table([fused], held))["fused ratio, AVX2"] == ""


def test_why_fused_kernels_took_no_part_is_said_below_the_table() -> None:
    content = made.record("training", [made.training_row(9e-3, torch=10e-3)])
    content["machine"]["fused"] = {"compiler": None, "why": "there is no C compiler\n  here"}
    assert tables.markdown([content]).endswith(" Without fused kernels: there is no C compiler here.\n")
    content["machine"]["fused"] = {"compiler": "cc 12", "why": None}
    assert "Without" not in tables.markdown([content])


def test_a_missed_bar_is_said_and_the_better_torch_is_the_peer() -> None:
    rows = [made.training_row(10e-3, bar=0.88, torch_packed=12e-3, torch_padded=11e-3)]
    text = tables.markdown([made.record("lengths", rows)])
    assert "**0.91**" in text
    assert "11.0 padded" in text
    assert "≤ 0.88 missed" in text


def test_torch_as_installed_and_its_single_cell_are_shown_but_are_no_peer() -> None:
    row = made.training_row(1e-4, torch=2e-4, torch_untuned=1e-5, torch_cell=1e-6)
    assert tables.reference(row) == ("torch", "PyTorch")
    assert "| torch cell, ms (ratio) | torch untuned, ms (ratio) |" in tables.time_table([row])


def test_whole_beams_are_shown_but_are_no_peer() -> None:
    row = made.training_row(9e-3, torch=8e-3) | {"beam": 3, "pictures": 1000}
    row["seconds"]["torch whole beams"] = [2e-3] * 7
    assert tables.reference(row) == ("torch", "PyTorch")
    assert "| torch whole beams, ms (ratio) |" in tables.time_table([row])


def test_the_parts_of_a_step_are_told_below_its_times() -> None:
    rows = [made.training_row(9e-3, cell) | {"captions": 15} for cell in ("LSTM", "GRU")]
    rows[0]["parts"], rows[1]["parts"] = {"words": 0.626, "softmax": 0.374}, {"softmax": 0.7, "words": 0.3}
    rows[0]["parts fused"] = {"words": 0.5, "softmax": 0.5}
    lines = tables.markdown([made.record("captioner", rows)]).splitlines()
    first = lines.index("| of our step | cell | words | softmax |")
    assert [line.split(" | ")[1:] for line in lines[first + 2 : first + 5]] == [
        ["LSTM", "63 %", "37 % |"],
        ["LSTM fused", "50 %", "50 % |"],
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
    megabytes["ours fused"] = {"peak": 20.0, "growth": 0.2}
    told = cells(tables.memory_table([row]), "(1, 2, 3, 4)")
    assert [told[head] for head in ("ours, MB", "fused, MB", "PyTorch, MB")] == ["30.0", "20.0", "40.0"]
    assert (told["ratio"], told["fused ratio"]) == ("0.75", "0.50")
    assert told["growth, ours / fused / PyTorch"] == "+0.1 / +0.2 / +0.0"


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
        assert (found.side, found.peer) == ("ours", "torch")


def test_each_side_is_held_to_itself_and_one_that_only_the_later_record_has_to_nothing() -> None:
    before = made.record("training", [made.training_row(9e-3, torch=10e-3, ours_fused=6e-3)])
    slower = made.record("training", [made.training_row(9e-3, torch=10e-3, ours_fused=9e-3)])
    verdicts = {found.side: found.change.verdict for found in compare.changes(before, slower)}
    assert verdicts == {"ours": "noise", "fused": "worse"}
    old = made.record("training", [made.training_row(9e-3, torch=10e-3)])
    assert [found.side for found in compare.changes(old, slower)] == ["ours"]


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
