"""`captioning compare` with several seeds, at equal units and parameters, one run or several at a time."""

import json
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from captioning.checkpoint import load_checkpoint
from captioning.compare import without_captions
from captioning.data import load_dataset
from captioning.evaluate import Scorer
from captioning.metrics import COCO
from captioning.metrics.significance import paired, welch
from captioning.metrics.statistics import METRICS, pooled
from tests.captioning.tiny import tiny_recipe
from tests.captioning.workshop import Outcome, Workshop, captioning, finish, one_error, read_json, start

CHOSEN = ("--cells", "LSTM,GRU", "--seeds", "3", "--equal", "units,parameters")


def figures(folder: Path) -> dict[str, Any]:
    """What must be equal however the runs were carried out: no times, no speeds, no memory."""
    found = without_captions(read_json(folder / "comparison.json"))
    text = json.dumps({key: found[key] for key in ("systems", "tests", "baselines")})
    return json.loads(text, object_hook=lambda d: {k: v for k, v in d.items() if not _measures_time(k)})


def _measures_time(key: str) -> bool:
    return "second" in key or key == "step_mib"


@pytest.fixture(scope="module")
def compared(workshop: Workshop, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Outcome]:
    folder = tmp_path_factory.mktemp("seeds") / "run"
    return folder, captioning(*workshop.compare(folder, *CHOSEN))


def test_every_run_is_trained_and_kept(compared: tuple[Path, Outcome]) -> None:
    folder, done = compared
    assert done.code == 0, done.err
    result = read_json(folder / "comparison.json")
    lstm, gru, larger = result["systems"]
    assert (lstm, gru) == ("LSTM", "GRU")
    units = result["systems"][larger]["units"]
    assert larger == f"GRU ({units} units)"
    for name, place in ((lstm, "LSTM"), (gru, "GRU"), (larger, f"GRU-{units}")):
        for seed in range(3):
            run = folder / (place if seed == 0 else f"{place}-seed-{seed}")
            stored, record = load_checkpoint(run / "checkpoint.safetensors"), read_json(run / "run.json")
            assert stored.recipe.training.seed == record["seed"] == seed
            line = result["systems"][name]["runs"][seed]
            assert line["losses"] == record["losses"]
            assert line["epochs"] == stored.history
    assert result["seeds"] == [0, 1, 2]
    assert set(result["equal"]) == {"units", "parameters"}
    assert result["systems"]["LSTM"]["equal"] == ["units", "parameters"]
    gap = abs(result["systems"][larger]["parameters"] - result["systems"]["LSTM"]["parameters"])
    assert gap < abs(result["systems"]["GRU"]["parameters"] - result["systems"]["LSTM"]["parameters"])


def test_systems_are_means_and_deviations_of_their_runs(compared: tuple[Path, Outcome]) -> None:
    folder, _ = compared
    system = read_json(folder / "comparison.json")["systems"]["GRU"]
    records = [read_json(folder / name / "run.json") for name in ("GRU", "GRU-seed-1", "GRU-seed-2")]
    losses = [record["losses"]["test"] for record in records]
    assert len(set(losses)) == 3, "the seeds must differ"
    assert system["losses"]["test"] == pytest.approx(np.mean(losses))
    assert system["deviations"]["losses"]["test"] == pytest.approx(np.std(losses, ddof=1))
    for decoder, block in system["decoders"].items():
        for metric, value in block["metrics"][COCO].items():
            values = [record["decoders"][decoder]["metrics"][COCO][metric] for record in records]
            assert value == pytest.approx(np.mean(values))
            assert block["deviations"][COCO][metric] == pytest.approx(np.std(values, ddof=1))
        assert block["captions"] == records[0]["decoders"][decoder]["captions"]
        assert block["further"]["length"] == pytest.approx(
            np.mean([record["decoders"][decoder]["further"]["length"] for record in records])
        )


def test_the_tests_are_those_of_the_runs_captions(workshop: Workshop, compared: tuple[Path, Outcome]) -> None:
    folder, done = compared
    result = read_json(folder / "comparison.json")
    assert len(result["tests"]) == 3 * len(METRICS)
    scorer = Scorer(load_dataset(workshop.scenes), "test", tiny_recipe())
    runs = {
        cell: [
            scorer.statistics(read_json(folder / f"{cell}{part}" / "run.json")["decoders"]["beam 3"]["captions"])
            for part in ("", "-seed-1", "-seed-2")
        ]
        for cell in ("LSTM", "GRU")
    }
    expected = paired(pooled(runs["LSTM"]), pooled(runs["GRU"]))
    for test in result["tests"][: len(METRICS)]:
        assert (test["first"], test["second"]) == ("LSTM", "GRU")
        assert test["difference"] == pytest.approx(expected[test["metric"]].difference)
        assert test["p_bootstrap"] == expected[test["metric"]].p_bootstrap
        values = [[run.scores()[test["metric"]] for run in runs[cell]] for cell in ("LSTM", "GRU")]
        assert test["p_runs"] == pytest.approx(welch(*values))
    assert result["conclusion"]
    assert " ".join(result["conclusion"].split()) in " ".join(done.out.split())
    assert result["conclusion"] in (folder / "comparison.md").read_text("utf-8")


def test_several_jobs_give_the_same_figures(workshop: Workshop, compared: tuple[Path, Outcome], tmp_path: Path) -> None:
    done = captioning(*workshop.compare(tmp_path / "run", *CHOSEN, "--jobs", "2"))
    assert done.code == 0, done.err
    assert "training 9 captioners, 2 at a time" in done.err
    for seed in range(3):
        assert done.err.count(f" of 9: LSTM, seed {seed}\n") == 1
    assert read_json(tmp_path / "run" / "comparison.json")["jobs"] == 2
    assert figures(tmp_path / "run") == figures(compared[0])


def test_more_seeds_go_on_from_fewer(workshop: Workshop, compared: tuple[Path, Outcome], tmp_path: Path) -> None:
    run, cells = tmp_path / "run", ("--cells", "LSTM,GRU", "--equal", "units,parameters")
    assert captioning(*workshop.compare(run, *cells)).code == 0
    kept = (run / "LSTM" / "run.json").read_bytes()
    done = captioning(*workshop.compare(run, *CHOSEN, "--resume"))
    assert done.code == 0, done.err
    assert "LSTM, seed 0 epoch" not in done.err
    assert "LSTM, seed 1 epoch 2/2" in done.err
    assert (run / "LSTM" / "run.json").read_bytes() == kept
    assert figures(run) == figures(compared[0])


def test_a_killed_comparison_of_several_jobs_goes_on(
    workshop: Workshop, compared: tuple[Path, Outcome], tmp_path: Path
) -> None:
    run = tmp_path / "run"
    process = start(*workshop.compare(run, *CHOSEN, "--jobs", "2", "-q"))
    until = time.monotonic() + 60
    while not (run / "LSTM" / "run.json").is_file():
        assert time.monotonic() < until, "nothing happened"
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    stopped = finish(process)
    assert stopped.code == 130, stopped
    assert "Traceback" not in stopped.err
    assert not (run / "comparison.json").exists()
    assert captioning(*workshop.compare(run, *CHOSEN, "--jobs", "2", "-q", "--resume")).code == 0
    assert figures(run) == figures(compared[0])


def test_a_record_of_another_checkpoint_is_measured_anew(workshop: Workshop, tmp_path: Path) -> None:
    run, cells = tmp_path / "run", ("--cells", "GRU", "-q")
    assert captioning(*workshop.compare(run, *cells)).code == 0
    before = read_json(run / "comparison.json")["systems"]["GRU"]
    more = (*cells, "--resume", "--set", "training.epochs=3")
    assert captioning(*workshop.compare(run, *more)).code == 0
    after = read_json(run / "comparison.json")["systems"]["GRU"]
    assert len(after["epochs"]) == 3
    assert after["losses"] != before["losses"]
    (run / "GRU" / "run.json").write_text("{ damaged", encoding="utf-8")
    assert "GRU/run.json: expected what a run left" in one_error(captioning(*workshop.compare(run, *more)))


def test_an_error_of_a_job_is_said_with_its_run(workshop: Workshop, tmp_path: Path) -> None:
    wrong = ("--set", "training.learning_rate=1e30", "--set", "training.clip_norm=0", "--jobs", "2", "-q")
    message = one_error(captioning(*workshop.compare(tmp_path / "run", "--cells", "RNN", *wrong)))
    assert "RNN, seed 0: the loss is" in message
    assert "lower training.learning_rate" in message


@pytest.mark.parametrize(
    ("wrong", "said"), [(("--equal", "size"), "--equal must be units"), (("--cells", "GRU,FOO"), "'FOO'")]
)
def test_what_cannot_be_compared_is_found_before_anything_is_trained(
    workshop: Workshop, tmp_path: Path, wrong: tuple[str, ...], said: str
) -> None:
    assert said in one_error(captioning(*workshop.compare(tmp_path / "run", *wrong)))
    assert not (tmp_path / "run").exists()
