"""A run of a toy task: it learns, goes on exactly where it was killed, and says so when it diverges."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rnncore.tasks import Adding, Reber, TemporalOrder, training, workers
from rnncore.tasks.training import Settings, Training, Trial, make_cell, takes_forget_bias, uniform_starts
from rnncore.tasks.workers import carry_out, finish, load_record

ROOT = Path(__file__).resolve().parents[2]
QUICK = Settings(steps=60, batch=8, learning_rate=5e-3, every=20, held_out=50)
RUN = Trial(TemporalOrder(length=12), "GRU", 6, 1, QUICK)


def untimed(record: dict[str, Any]) -> dict[str, Any]:
    history = [{k: v for k, v in entry.items() if k != "seconds"} for entry in record["history"]]
    return {**record, "history": history}


def test_a_run_learns_and_stops_when_it_is_solved() -> None:
    run = replace(RUN, hidden=16, settings=replace(QUICK, steps=2000, every=10))
    record = Training(run).finish()
    assert record["solved_at"] == record["history"][-1]["step"] < 2000
    assert record["history"][0]["error"] > 0.3
    assert record["history"][-1]["error"] < 0.01
    whole = replace(run, settings=replace(run.settings, until_solved=False, steps=record["solved_at"] + 10))
    on = Training(whole).finish()
    assert [e["step"] for e in on["history"]] == [*(e["step"] for e in record["history"]), record["solved_at"] + 10]
    assert on["solved_at"] == record["solved_at"]


@pytest.mark.parametrize("task", [RUN.task, Adding(length=6), Reber()], ids=lambda task: task.name)
def test_a_run_that_is_stopped_anywhere_goes_on_to_the_last_bit(task: Any, tmp_path: Path) -> None:
    run = replace(RUN, task=task, cell="LSTM", settings=replace(QUICK, until_solved=False, steps=50))
    whole = Training(run)
    expected = whole.finish()
    assert [e["step"] for e in expected["history"]] == [20, 40, 50]

    def stop(at: int) -> Any:
        def report(step: int) -> None:
            if step == at:
                raise KeyboardInterrupt

        return report

    checkpoint = tmp_path / "run.safetensors"
    for at in (5, 25, 39, 41):
        with pytest.raises(KeyboardInterrupt):
            Training(run, checkpoint).finish(stop(at))
    last = Training(run, checkpoint)
    assert last.optimiser.steps == 40
    assert untimed(last.finish()) == untimed(expected)
    assert np.array_equal(last.network.params.flat, whole.network.params.flat)


def test_the_resume_test_can_fail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the optimiser's moments a run goes on, but not as it would have."""
    run = replace(RUN, settings=replace(QUICK, until_solved=False, steps=40))
    expected, checkpoint = Training(run).finish(), tmp_path / "run.safetensors"
    with pytest.raises(KeyboardInterrupt):
        Training(run, checkpoint).finish(lambda step: signal.raise_signal(signal.SIGINT) if step == 21 else None)
    monkeypatch.setattr(training.Adam, "load_state_dict", lambda self, state: setattr(self, "steps", state["steps"]))
    assert untimed(Training(run, checkpoint).finish()) != untimed(expected)


def test_seeds_differ_and_equal_seeds_do_not() -> None:
    first, again, other = (untimed(Training(replace(RUN, seed=seed)).finish()) for seed in (1, 1, 2))
    assert first == again
    assert first["history"] != other["history"]


def test_a_run_that_diverges_says_so_and_keeps_what_it_had(monkeypatch: pytest.MonkeyPatch) -> None:
    exact = training.Network.loss_and_gradients

    def spoiled(network: Any, batch: Any) -> float:
        loss = exact(network, batch)
        spoiled.calls += 1  # type: ignore[attr-defined]
        return float("nan") if spoiled.calls == 30 else loss  # type: ignore[attr-defined]

    spoiled.calls = 0  # type: ignore[attr-defined]
    monkeypatch.setattr(training.Network, "loss_and_gradients", spoiled)
    record = Training(RUN).finish()
    assert "step 29: the loss is nan" in record["failed"]
    assert [e["step"] for e in record["history"]] == [20]
    assert record["solved_at"] is None


def test_names_tell_runs_apart() -> None:
    others = [replace(RUN, seed=2), replace(RUN, hidden=7), replace(RUN, cell="LSTM"), replace(RUN, start="uniform")]
    others += [replace(RUN, settings=replace(QUICK, clip=2.0)), replace(RUN, task=TemporalOrder(length=13))]
    others += [replace(RUN, cell="LSTM", forget_bias=0.0), replace(RUN, cell="LSTM", forget_bias=1.0)]
    names = [RUN.name, *(run.name for run in others)]
    assert len(set(names)) == len(names)
    assert RUN.name.startswith("order-GRU-6-seed-1-")
    assert all(Trial.of(json.loads(json.dumps(run.to_dict()))) == run for run in (RUN, *others))


def test_first_values_are_those_that_were_asked_for() -> None:
    biased = Training(replace(RUN, cell="LSTM", forget_bias=2.5)).network.params["rnn.b"].reshape(4, 6)
    assert (biased[1] == 2.5).all()
    assert not biased[[0, 2, 3]].any()
    even = Training(replace(RUN, cell="LSTM", hidden=100, start="uniform")).network.params
    assert 0.09 < np.abs(even["rnn.W"]).max() <= 0.1
    assert 0.09 < np.abs(even["rnn.U"]).max() <= 0.1
    b = even["rnn.b"].reshape(4, 100)
    assert b[1].min() >= 0.9
    assert np.abs(b[[0, 2, 3]]).max() <= 0.1
    assert np.std(even["rnn.U"]) == pytest.approx(0.1 / 3**0.5, rel=0.02)
    assert set(uniform_starts(make_cell("GRU"), 4)) == set(make_cell("GRU").shapes(1, 1))


def test_cells_without_a_forget_gate_take_no_bias() -> None:
    assert [name for name in ("LSTM", "GRU", "RNN", "CIFG", "Greff-NFG", "Greff-NOG") if takes_forget_bias(name)] == [
        "LSTM",
        "CIFG",
        "Greff-NOG",
    ]
    with pytest.raises(ValueError, match="GRU takes no forget_bias"):
        make_cell("GRU", 1.0)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"steps": 0}, "steps must be at least 1"),
        ({"learning_rate": float("nan")}, "learning_rate must be a number above 0"),
        ({"clip": 0.0}, "clip must be a number above 0"),
    ],
)
def test_settings_that_make_no_sense_are_refused(change: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Settings(**change)
    with pytest.raises(ValueError, match="start must be one of own, uniform"):
        replace(RUN, start="zeros")


def test_a_checkpoint_of_another_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        Training(RUN, tmp_path / "c").finish(lambda step: signal.raise_signal(signal.SIGINT) if step == 21 else None)
    with pytest.raises(ValueError, match="of another run"):
        Training(replace(RUN, seed=5), tmp_path / "c")
    (tmp_path / "c").write_bytes((tmp_path / "c").read_bytes()[:100])
    with pytest.raises(ValueError, match="whole safetensors file"):
        Training(RUN, tmp_path / "c")


def start_worker(run: Trial, folder: Path) -> subprocess.Popen[str]:
    """The process that a study starts for a run."""
    folder.mkdir(exist_ok=True)
    process = subprocess.Popen(
        [sys.executable, "-m", workers.__name__, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    assert process.stdin is not None
    process.stdin.write(json.dumps(run.to_dict()))
    process.stdin.close()
    return process


def test_kill_9_costs_no_more_than_what_was_not_yet_measured(tmp_path: Path) -> None:
    run = replace(RUN, settings=replace(QUICK, steps=3000, every=10, until_solved=False))
    expected = Training(run).finish()
    kept = tmp_path / f"{run.name}.safetensors"
    with start_worker(run, tmp_path) as process:
        while not kept.is_file():
            time.sleep(0.01)
        process.kill()
    assert load_record(tmp_path, run) is None
    assert 0 < len(Training(run, kept).history) < 300
    records = finish([run], tmp_path, 1)
    assert untimed(records[run.name]) == untimed(expected)
    assert [file.name for file in tmp_path.iterdir() if file.suffix != ".tmp"] == [f"{run.name}.json"]


def test_a_worker_ends_when_nobody_reads_it(tmp_path: Path) -> None:
    run = replace(RUN, settings=replace(QUICK, steps=10**6, until_solved=False))
    with start_worker(run, tmp_path) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.wait(timeout=60) == 1


def test_workers_keep_what_is_finished_and_name_what_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    carry_out(RUN, tmp_path)
    kept = (tmp_path / f"{RUN.name}.json").stat().st_mtime_ns
    wrong = replace(RUN, cell="no_such_module:Cell")
    with pytest.raises(RuntimeError, match=r"no_such_module:Cell, 6 units, seed 1: .*cannot be loaded"):
        finish([RUN, wrong], tmp_path, 2)
    seen = []
    records = finish(
        [RUN, replace(RUN, seed=7)], tmp_path, 2, lambda job, *progress: seen.append((job.label, progress))
    )
    assert set(records) == {RUN.name, replace(RUN, seed=7).name}
    assert {label for label, _ in seen} == {"GRU, 6 units, seed 7"}
    assert seen[-1][1][0] == seen[-1][1][1]
    assert all(done < total for _, (done, total) in seen[:-1])
    assert (tmp_path / f"{RUN.name}.json").stat().st_mtime_ns == kept
    (tmp_path / f"{RUN.name}.json").write_text('{"run": ')
    with pytest.raises(ValueError, match="remove the file to run it again"):
        finish([RUN], tmp_path, 1)
    with pytest.raises(ValueError, match="jobs must be at least 1"):
        finish([RUN], tmp_path, 0)
