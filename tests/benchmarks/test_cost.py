"""The cost report: its figures from made-up rows whose answers are known, and the command itself at tiny sizes."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from benchmarks import __main__ as command
from benchmarks import record
from benchmarks.cost import figures, measure, plots, report
from benchmarks.count import cost
from rnncore import Recurrent, doctor
from rnncore.cells import find_cell
from tests.benchmarks import made

BASE = (34, 64, 256)
TINY = measure.Plan((3, 2, 4), (2, 4), (1, 3), (2, 5), (4,), (3,), rounds=2, turn=0.0, pause=0.0)


def seconds_of(cell: str, shape: tuple[int, int, int, int]) -> float:
    """A machine of 1 TFLOP/s in products, and 0.1 ms a time step for calls whatever the cell."""
    T, B, D, H = shape
    return cost(cell, T * B, D, H).training / 1e12 + 1e-4 * T


def row(cell: str, shape: tuple[int, int, int, int], work: str = "training") -> dict[str, Any]:
    counted = cost(cell, shape[0] * shape[1], *shape[2:])
    seconds = {"ours": [seconds_of(cell, shape)] * 5, "products": [counted.training / 1e12] * 5}
    seconds |= {} if cell == "LSTM" else {"LSTM": [seconds_of("LSTM", shape)] * 5}
    return {"work": work, "cell": cell, "shape": list(shape), "cost": counted._asdict(), "seconds": seconds}


def rows() -> list[dict[str, Any]]:
    plan = measure.Plan()
    found = [row(cell, shape) for shape in plan.shapes() for cell in measure.CELLS]
    found += [row(cell, shape, "forward") for shape in plan.shapes() for cell in measure.CELLS]
    for cell in measure.CELLS:
        found += [row(cell, (34, 64, H, H), "training, equal parameters") for H in plan.equal]
        found += [row(cell, (1, 1, H, H), "one step of a stream") for H in plan.stream]
        found.append({**row(cell, (34, 1, 1, 1), "calls"), "seconds": {"ours": [34e-4] * 5}})
    return found


def cost_record() -> dict[str, Any]:
    about = made.record("cost", rows())
    return {**about, "base": list(BASE), "rates": {"float32": 1000.0, "memory": 30.0}}


def test_the_claim_holds_where_products_rule_and_not_where_calls_do() -> None:
    ratios = {tuple(r["shape"]): figures.to_lstm(r) for r in figures.select(rows(), "training", "GRU")}
    large, small = ratios[34, 64, 1024, 1024], ratios[34, 64, 32, 32]
    assert large.kind == "holds"
    assert small.kind == "dearer"
    assert small.median == pytest.approx(seconds_of("GRU", (34, 64, 32, 32)) / seconds_of("LSTM", (34, 64, 32, 32)))
    assert figures.Ratio((1, 1, 1, 1), 0.6, 0.5, 0.7).kind == "cheaper"
    said = figures.claim(rows(), "GRU")
    assert "Within 0.05 of 3/4 it is at" in said
    assert f"T=34, B=64, H=1024 ({large.median:.2f})" in said.partition("It is dearer")[0]
    assert "T=34, B=64, H=32 (0.99)" in said.partition("It is dearer")[2]
    assert "cheaper" not in said


def test_rows_along_an_axis_have_all_else_as_the_base() -> None:
    training = figures.select(rows(), "training", "LSTM")
    for axis, sizes in (("T", measure.Plan().T), ("B", measure.Plan().B), ("H", measure.Plan().H)):
        found = figures.along(training, axis, BASE)
        assert tuple(figures.size(r, axis) for r in found) == sizes
    assert {tuple(r["shape"][:2]) for r in figures.along(training, "H", BASE)} == {(34, 64)}


def test_exponents_are_those_of_the_work() -> None:
    training = figures.select(rows(), "training", "LSTM")
    assert figures.fitted(figures.along(training, "T", BASE), "T") == pytest.approx(1.0)
    assert 0.3 < figures.fitted(figures.along(training, "B", BASE), "B") < 1
    assert 1.8 < figures.fitted(figures.along(training, "H", BASE)[-2:], "H") < 2


def test_shares_add_up_and_are_those_planted() -> None:
    calls = {r["cell"]: r for r in figures.select(rows(), "calls")}
    for each in figures.select(rows(), "training"):
        parts = figures.share(each, calls[each["cell"]])
        assert sum(parts) == pytest.approx(1)
        assert parts.calls == pytest.approx(1e-4 * each["shape"][0] / figures.median(each))
        assert parts.elements == pytest.approx(0, abs=1e-9)


def test_products_that_take_longer_alone_than_the_whole_step_are_all_of_it() -> None:
    each = row("GRU", (34, 64, 8, 8))
    each["seconds"]["products"] = [1.0] * 5
    assert figures.share(each, {**each, "seconds": {"ours": [1.0]}}) == (1.0, 0.0, 0.0)


def test_the_replayed_products_are_those_that_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    counted = [0]
    matmul = measure.np.matmul

    def counting(a: Any, b: Any, out: Any) -> Any:
        counted[0] += 2 * a.shape[0] * a.shape[1] * b.shape[1]
        return matmul(a, b, out=out)

    shape = (5, 3, 4, 6)
    for cell in measure.CELLS:
        work = measure.products(Recurrent(find_cell(cell), 4, 6), shape)
        counted[0] = 0
        monkeypatch.setattr(measure.np, "matmul", counting)
        work()
        monkeypatch.undo()
        assert counted[0] == cost(cell, 15, 4, 6).training


def test_the_report_holds_every_table_and_picture(tmp_path: Path) -> None:
    content = cost_record()
    pictures = plots.draw(content, tmp_path, "it")
    text = report.markdown(content, pictures)
    for name in pictures.values():
        assert f"]({name})" in text
        assert (tmp_path / name).read_text().rstrip().endswith("</svg>")
    lstm = cost("LSTM", 34 * 64, 256, 256)
    assert f"| 256 | LSTM | {lstm.parameters:,} | {lstm.training / 1e9:.3g} |" in text
    assert "| LSTM |  | 1.00 (1.00) |" in text
    assert "LSTM 100 µs" in text
    assert "fused, ms |" not in text
    for each in figures.select(content["rows"], "training"):
        each["seconds"]["ours fused"] = [7e-3] * 5
    fused = report.markdown(content, pictures)
    assert "| GFLOP/s | fused, ms |" in fused
    assert fused.count("| 7.00 |") == len(measure.CELLS) * len(measure.Plan().H)


def test_pictures_of_equal_records_are_equal_to_the_last_byte(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        plots.draw(cost_record(), tmp_path / folder, "it")
    for file in (tmp_path / "a").iterdir():
        assert file.read_bytes() == (tmp_path / "b" / file.name).read_bytes()


def test_the_command_measures_keeps_and_reports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import typer

    monkeypatch.setattr(command, "QUICK", TINY)
    rates = doctor.rates
    monkeypatch.setattr(doctor, "rates", lambda: rates(0.02))
    app = typer.Typer()
    app.command()(command.main)
    missing = CliRunner().invoke(app, ["--quick", "--again", "--folder", str(tmp_path)])
    assert missing.exit_code == 2
    done = CliRunner().invoke(app, ["--quick", "--folder", str(tmp_path)])
    assert done.exit_code == 0, done.output
    (kept,) = tmp_path.glob("*-cost-quick.json")
    content = record.load(kept)
    works = {"training", "forward", "training, equal parameters", "one step of a stream", "calls"}
    assert {r["work"] for r in content["rows"]} == works
    assert all(min(times) > 0 for r in content["rows"] for times in r["seconds"].values())
    fused = {r["work"] for r in content["rows"] if "ours fused" in r["seconds"]}
    assert fused == ({"training"} if record.has_fused() else set())
    assert json.loads(kept.read_text())["base"] == [3, 2, 4]
    before = kept.with_suffix(".md").read_text()
    kept.with_suffix(".md").unlink()
    assert CliRunner().invoke(app, ["--quick", "--again", "--folder", str(tmp_path)]).exit_code == 0
    assert kept.with_suffix(".md").read_text() == before


def test_every_step_gives_rows_and_equal_parameters_are_about_equal() -> None:
    todo = measure.steps(TINY)
    assert len(todo) == len(TINY.shapes()) + len(TINY.equal) + len(TINY.stream) + len(measure.CELLS)
    found = [each for step in todo.values() for each in step()]
    parameters = {r["cell"]: r["cost"]["parameters"] for r in found if r["work"] == "training, equal parameters"}
    assert parameters["GRU"] == pytest.approx(parameters["LSTM"], rel=0.25)


def test_what_is_there_undisturbed_is_not_measured_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept, made_of, shares = tmp_path / "it.json", [], iter([0.0, 0.9, 0.0])

    def step(name: str) -> Any:
        def rows_of() -> Any:
            made_of.append(name)
            yield {"work": "calls", "seconds": {"ours": [1.0]}}

        return rows_of

    monkeypatch.setattr(command, "steps", lambda plan: {name: step(name) for name in ("quiet", "busy")})
    monkeypatch.setattr(doctor, "rates", lambda: {"float32": 1.0})
    monkeypatch.setattr(record.Others, "share", lambda self: next(shares))
    command.measure(TINY, kept, resume=False)
    command.measure(TINY, kept, resume=True)
    assert made_of == ["quiet", "busy", "busy"]
    assert [(r["step"], r["others"]) for r in record.load(kept)["rows"]] == [("quiet", 0.0), ("busy", 0.0)]
