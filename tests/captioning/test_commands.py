"""The commands as a person uses them: the way through, exit codes, messages, interruption, bad input."""

import json
import resource
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from captioning.checkpoint import load_checkpoint
from captioning.data import load_dataset
from captioning.errors import CaptioningError
from encoders import Encoder, open_features
from tests.captioning.workshop import Workshop, captioning, finish, one_error, read_json, start, write_npz

FOREVER = ("--set", "training.epochs=1000000")


def losses(records: list[dict[str, Any]]) -> list[tuple[float, float]]:
    return [(record["train_loss"], record["validation_loss"]) for record in records]


def wait_for(condition: Callable[[], bool], seconds: float = 60) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "nothing happened"
        time.sleep(0.01)


def lines_of(path: Path) -> int:
    return path.read_text().count("\n") if path.is_file() else 0


def test_training_leaves_a_checkpoint_and_a_log(workshop: Workshop, tmp_path: Path) -> None:
    done = captioning(*workshop.train(tmp_path / "run", "--set", "model.cell=LSTM", "--set", "training.epochs=3"))
    assert done.code == 0
    assert {path.name for path in (tmp_path / "run").iterdir()} == {"checkpoint.safetensors", "log.jsonl"}
    stored = load_checkpoint(tmp_path / "run" / "checkpoint.safetensors")
    assert stored.recipe.model.cell == "LSTM"
    assert len(stored.history) == 3
    assert [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()] == stored.history
    best = min(record["validation_loss"] for record in stored.history)
    assert f"validation loss {best:.4f}" in done.out
    assert "24 training pictures" in done.err
    assert "epoch 3/3" in done.err
    assert str(f"{stored.model().parameter_counts()['total']:,} parameters") in done.err


def test_quiet_says_nothing_on_stderr(workshop: Workshop, tmp_path: Path) -> None:
    quiet = captioning(*workshop.train(tmp_path / "one", "-q"))
    assert (quiet.code, quiet.err) == (0, "")
    assert "validation loss" in quiet.out
    quiet = captioning(*workshop.compare(tmp_path / "two", "--cells", "GRU", "--quiet"))
    assert (quiet.code, quiet.err) == (0, "")
    assert "GRU, beam 3" in quiet.out


def test_a_log_in_a_file_holds_no_escape_codes(workshop: Workshop, tmp_path: Path) -> None:
    done = finish(start(*workshop.train(tmp_path / "run")))
    assert done.code == 0
    assert "\x1b" not in done.err + done.out
    assert done.err.count("GRU epoch") == 2


def test_help_teaches_with_an_example() -> None:
    top = captioning("--help")
    assert top.code == 0
    for command in ("demo", "encode", "train", "evaluate", "caption", "compare", "fetch"):
        assert f" {command} " in top.out
        page = captioning(command, "--help")
        assert page.code == 0
        assert f"Example: captioning {command}" in page.out


@pytest.mark.parametrize(
    "wrong", [["nonsense"], ["train"], ["train", "--wrong"], ["caption", "x.jpg", "-c", "x", "--beam", "0"]]
)
def test_wrong_usage_is_2(wrong: list[str]) -> None:
    done = captioning(*wrong)
    assert done.code == 2
    assert "Traceback" not in done.err


def test_debug_shows_the_traceback_wherever_it_stands(tmp_path: Path) -> None:
    wrong = ["evaluate", str(tmp_path / "nope"), "--data", "x", "--features", "x"]
    assert "no such checkpoint" in one_error(captioning(*wrong))
    with pytest.raises(CaptioningError, match="no such checkpoint"):
        captioning("--debug", *wrong)
    done = finish(start(*wrong, "--debug"))
    assert done.code == 1
    assert "Traceback" in done.err
    assert "no such checkpoint" in done.err.splitlines()[-1]


def test_ctrl_c_ends_with_130_and_the_run_goes_on(workshop: Workshop, tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    process = start(*workshop.train(tmp_path, *FOREVER, "-q"))
    wait_for(lambda: lines_of(log) >= 2)
    process.send_signal(signal.SIGINT)
    done = finish(process)
    assert done.code == 130
    assert done.err.startswith("stopped; ")
    assert len(done.err.splitlines()) == 1
    before = load_checkpoint(tmp_path / "checkpoint.safetensors").history
    more = f"training.epochs={len(before) + 1}"
    again = captioning(*workshop.train(tmp_path, "--resume", "--set", more))
    assert again.code == 0
    assert f"going on after epoch {len(before)}" in again.err
    after = load_checkpoint(tmp_path / "checkpoint.safetensors").history
    assert after[:-1] == before


def test_a_comparison_killed_and_resumed_is_the_uninterrupted_one(workshop: Workshop, tmp_path: Path) -> None:
    chosen = ("--set", "training.epochs=12", "-q")
    process = start(*workshop.compare(tmp_path / "killed", *chosen))
    wait_for(lambda: lines_of(tmp_path / "killed" / "GRU" / "log.jsonl") >= 3)
    process.kill()
    assert finish(process).code == -signal.SIGKILL
    assert not (tmp_path / "killed" / "comparison.json").exists()

    refused = captioning(*workshop.compare(tmp_path / "killed", *chosen))
    assert "give --resume" in one_error(refused)
    assert captioning(*workshop.compare(tmp_path / "killed", *chosen, "--resume")).code == 0
    assert captioning(*workshop.compare(tmp_path / "whole", *chosen)).code == 0
    killed, whole = (read_json(tmp_path / name / "comparison.json") for name in ("killed", "whole"))
    for cell in ("LSTM", "GRU"):
        one, other = killed["systems"][cell], whole["systems"][cell]
        assert len(other["epochs"]) == 12
        assert losses(one["epochs"]) == losses(other["epochs"])
        assert one["losses"] == other["losses"]
        assert one["decoders"] == other["decoders"]


def test_a_full_disk_is_said_and_loses_nothing(workshop: Workshop, tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert captioning(*workshop.train(run, "-q")).code == 0
    kept = (run / "checkpoint.safetensors").read_bytes()

    def small_files() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(kept) // 2, len(kept) // 2))

    full = finish(start(*workshop.train(run, "--resume", "--set", "training.epochs=4", "-q"), limit=small_files))
    message = one_error(full)
    assert str(run / "checkpoint.safetensors") in message
    assert "File too large" in message
    assert (run / "checkpoint.safetensors").read_bytes() == kept
    assert {path.name for path in run.iterdir()} == {"checkpoint.safetensors", "log.jsonl"}


def npz_with_nan(workshop: Workshop, folder: Path) -> list[str]:
    rows = np.ones((30, 5), np.float32)
    rows[4, 2] = np.nan
    return ["--features", str(write_npz(folder / "nan.npz", workshop, features=rows))]


def npz_cut_short(workshop: Workshop, folder: Path) -> list[str]:
    whole = write_npz(folder / "whole.npz", workshop).read_bytes()
    (folder / "cut.npz").write_bytes(whole[: len(whole) // 2])
    return ["--features", str(folder / "cut.npz")]


def npz_without_some(workshop: Workshop, folder: Path) -> list[str]:
    kept = np.array([f"scene-{k:05d}.jpg" for k in range(1, 30)])
    path = write_npz(folder / "few.npz", workshop, names=kept, features=np.ones((29, 5), np.float32))
    return ["--features", str(path)]


def checkpoint_there(workshop: Workshop, folder: Path) -> list[str]:
    assert captioning(*workshop.train(folder / "there", "-q")).code == 0
    return ["--run", str(folder / "there")]


def folder_below_a_file(workshop: Workshop, folder: Path) -> list[str]:
    (folder / "file").write_text("")
    return ["--run", str(folder / "file" / "run")]


def glove_of_three(workshop: Workshop, folder: Path) -> list[str]:
    (folder / "glove.txt").write_text("ball 1 2 3\nhouse 4 5 6\n")
    return ["--set", "embedding.vectors=glove", "--glove", str(folder / "glove.txt")]


def fixed(*arguments: str) -> Callable[[Workshop, Path], list[str]]:
    return lambda workshop, folder: list(arguments)


BAD = {
    "unknown key": (fixed("--set", "training.epoch=5"), ["'epoch'", "did you mean 'epochs'"]),
    "unknown section": (fixed("--set", "trainin.epochs=5"), ["'trainin'", "did you mean 'training'"]),
    "value of another type": (fixed("--set", "training.epochs=many"), ["training.epochs", "whole number", "'many'"]),
    "no setting": (fixed("--set", "epochs=5"), ["'epochs=5'", "section.key=value"]),
    "no recipe": (fixed("--recipe", "papper"), ["'papper'", "default, paper"]),
    "no data": (fixed("--data", "nowhere"), ["nowhere", "no such file or folder"]),
    "no features": (fixed("--features", "nowhere"), ["nowhere", "no such features", "encoders encode"]),
    "features cut short": (npz_cut_short, ["cut.npz", "expected a feature store or an .npz"]),
    "features with NaN": (npz_with_nan, ["nan.npz", "scene-00004.jpg", "not finite"]),
    "features that lack a picture": (npz_without_some, ["1 of 24 pictures", "scene-00000.jpg", "Encode them"]),
    "checkpoint there already": (checkpoint_there, ["there/checkpoint.safetensors", "give --resume"]),
    "nothing to resume": (fixed("--resume"), ["no such checkpoint"]),
    "folder below a file": (folder_below_a_file, ["file/run", "Not a directory"]),
    "GloVe not given": (fixed("--set", "embedding.vectors=glove"), ["--glove FILE"]),
    "GloVe not there": (fixed("--set", "embedding.vectors=glove", "--glove", "no.txt"), ["no.txt", "glove.6B.zip"]),
    "GloVe of another size": (glove_of_three, ["glove.txt, line 1", "3 numbers where a row has 6"]),
    "no device": (fixed("--device", "gpu"), ["'gpu'", "'cpu' or 'cuda'"]),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_clear_message(workshop: Workshop, tmp_path: Path, case: str) -> None:
    make, expected = BAD[case]
    message = one_error(captioning(*workshop.train(tmp_path / "run", "-q"), *make(workshop, tmp_path)))
    for part in expected:
        assert part in message
    assert not (tmp_path / "run" / "checkpoint.safetensors").exists()


def test_pictures_that_are_missing_or_damaged_are_listed_and_the_rest_encoded(
    workshop: Workshop, tmp_path: Path
) -> None:
    scenes = tmp_path / "scenes"
    shutil.copytree(workshop.scenes, scenes)
    gone, damaged = sorted(load_dataset(scenes).names("train"))[3:5]
    (scenes / "pictures" / gone).unlink()
    (scenes / "pictures" / damaged).write_bytes(b"no picture")
    arguments = ["--data", str(scenes), "--model", str(workshop.encoder), "--store", str(tmp_path / "store")]
    done = captioning("encode", *arguments, "--output", "features", "--output", "grid")
    assert done.code == 1
    assert "2 could not be read" in done.err
    assert f"{scenes / 'pictures' / gone}: no such file" in done.err
    assert f"{scenes / 'pictures' / damaged}: not a picture" in done.err
    stored = open_features(tmp_path / "store")
    assert len(stored) == 28
    assert set(stored.outputs) == {"features", "grid"}
    shutil.copy(workshop.scenes / "pictures" / gone, scenes / "pictures" / gone)
    shutil.copy(workshop.scenes / "pictures" / damaged, scenes / "pictures" / damaged)
    assert captioning("encode", *arguments, "--output", "features", "--output", "grid").code == 0
    assert len(open_features(tmp_path / "store")) == 30


def test_encoding_on_a_gpu_that_is_not_there_is_one_error(workshop: Workshop, tmp_path: Path) -> None:
    chosen = ["--model", str(workshop.encoder), "--store", str(tmp_path / "store"), "--device", "cuda"]
    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("here it is")
    message = one_error(captioning("encode", "--data", str(workshop.scenes), *chosen))
    assert "pip install 'onnxruntime-gpu[cuda,cudnn]>=1.26'" in message
    assert not (tmp_path / "store").exists()


def test_ctrl_c_while_encoding_is_130_and_says_what_is_kept(
    workshop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches: list[int] = []
    encode = Encoder.encode_arrays

    def interrupted(encoder: Encoder, batch: Any) -> Any:
        batches.append(len(batch))
        if len(batches) == 3:
            raise KeyboardInterrupt
        return encode(encoder, batch)

    monkeypatch.setattr(Encoder, "encode_arrays", interrupted)
    chosen = ["--model", str(workshop.encoder), "--store", str(tmp_path / "store")]
    done = captioning("encode", "--data", str(workshop.scenes), *chosen)
    assert done.code == 130
    assert f"{sum(batches[:2])} new rows are kept" in done.err
    assert len(open_features(tmp_path / "store")) == sum(batches[:2])


def test_missing_pictures_of_a_dataset_are_said_before_encoding(workshop: Workshop, tmp_path: Path) -> None:
    csv = tmp_path / "captions.csv"
    csv.write_text("image,caption\n" + "".join(f"{k}.jpg,a dog\n" for k in range(8)))
    arguments = ["--model", str(workshop.encoder), "--store", str(tmp_path / "store")]
    assert "no folder with the pictures" in one_error(captioning("encode", "--data", str(csv), *arguments))
    assert not (tmp_path / "store").exists()
