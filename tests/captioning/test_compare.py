"""`captioning compare`: its outputs, a cell of one's own, and what it finds out before training."""

import inspect
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import rnncore.cells.lstm
from captioning.checkpoint import load_checkpoint
from captioning.compare import PAPER, Comparison, command_line, without_captions
from captioning.config import Decoding, load_recipe
from captioning.data import FLICKR8K, load_dataset
from captioning.evaluate import Evaluator
from captioning.metrics import COCO
from encoders import Features, open_features
from tests.captioning.tiny import tiny_dataset, tiny_features, tiny_recipe
from tests.captioning.workshop import Outcome, Workshop, captioning, one_error, read_json, write_npz


@pytest.fixture(scope="module")
def compared(workshop: Workshop, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Outcome]:
    """The folder of a comparison of LSTM and GRU, and what the command said."""
    folder = tmp_path_factory.mktemp("compared")
    return folder, captioning(*workshop.compare(folder / "run", "--json", str(folder / "kept" / "figures.json")))


def test_the_result_is_whole(compared: tuple[Path, Outcome]) -> None:
    folder, done = compared
    assert done.code == 0
    result = read_json(folder / "run" / "comparison.json")
    assert result["command"].startswith("captioning compare --data scenes --features features")
    assert str(folder) not in result["command"]
    assert result["machine"]["cores"] >= 1
    assert result["recipe"]["training"]["epochs"] == 2
    assert result["dataset"] | {"vocabulary": 0} == {
        "name": "scenes", "train": 24, "validation": 3, "test": 3, "vocabulary": 0,
    }  # fmt: skip
    assert result["encoder"]["description"] == "a tiny encoder"
    assert list(result["systems"]) == ["LSTM", "GRU"]
    for name, system in result["systems"].items():
        stored = load_checkpoint(folder / "run" / name / "checkpoint.safetensors")
        assert stored.recipe.model.cell == system["cell"] == name
        assert system["parameters"] == stored.model().params.size
        assert system["losses"]["train"] == stored.history[stored.best_epoch - 1]["train_loss"]
        assert list(system["decoders"]) == ["greedy", "beam 3"]
        for block in system["decoders"].values():
            assert set(block["captions"]) == set(load_dataset(folder.parent / "workshop0" / "scenes").names("test"))
            assert {"BLEU-1", "BLEU-4", "ROUGE-L", "CIDEr-D"} <= set(block["metrics"][COCO])
    assert set(result["baselines"]) == {
        "best constant caption", "one human against the other 4", "pictures shuffled (LSTM)", "pictures shuffled (GRU)",
    }  # fmt: skip
    assert "paper" not in result


def test_the_two_differ_in_their_cell_only(compared: tuple[Path, Outcome]) -> None:
    folder, _ = compared
    lstm, gru = (load_checkpoint(folder / "run" / cell / "checkpoint.safetensors") for cell in ("LSTM", "GRU"))
    assert lstm.recipe.hash != gru.recipe.hash
    assert lstm.recipe.with_overrides({"model.cell": "GRU"}).hash == gru.recipe.hash
    assert lstm.vocabulary.hash == gru.vocabulary.hash
    assert lstm.features == gru.features


def test_the_page_needs_nothing_else(compared: tuple[Path, Outcome]) -> None:
    folder, done = compared
    page = (folder / "run" / "report.html").read_text(encoding="utf-8")
    assert f"open {folder / 'run' / 'report.html'} in a browser" in done.out
    assert not re.search(r"https?://", page)
    assert not re.search(r"""(?:src|href)\s*=\s*["'](?!data:|#)""", page)
    assert "@import" not in page
    assert page.count("data:image/jpeg;base64,") == 3
    assert page.rstrip().endswith("</html>")


def test_the_tables_are_written_and_said(compared: tuple[Path, Outcome]) -> None:
    folder, done = compared
    table = (folder / "run" / "comparison.md").read_text(encoding="utf-8")
    result = read_json(folder / "run" / "comparison.json")
    for name in ("LSTM, greedy", "LSTM, beam 3", "GRU, greedy", "GRU, beam 3", "best constant caption"):
        assert f"| {name} |" in table
    score = result["systems"]["GRU"]["decoders"]["beam 3"]["metrics"][COCO]["BLEU-1"]
    assert f"{score:.1f}" in table
    assert f"{score:.1f}" in done.out
    assert f"{result['systems']['GRU']['losses']['test']:.4f}" in done.out


def test_the_terminal_of_80_columns_holds_every_table(compared: tuple[Path, Outcome]) -> None:
    _, done = compared
    assert max(len(line) for line in done.out.splitlines()[:-1]) <= 80  # the last one names the page's path
    for word in ("validation", "Parameters", "Training", "words/s", "best epoch", "CIDEr-D", "unsmoothed"):
        assert word in done.out


def test_the_figures_to_be_kept_hold_no_single_pictures(compared: tuple[Path, Outcome]) -> None:
    folder, _ = compared
    kept, result = read_json(folder / "kept" / "figures.json"), read_json(folder / "run" / "comparison.json")
    assert "scene-000" not in str(kept)
    assert kept == without_captions(result)
    for name, system in kept["systems"].items():
        for decoder, block in system["decoders"].items():
            whole = result["systems"][name]["decoders"][decoder]
            assert block == {key: whole[key] for key in ("metrics", "intervals", "further")}
    assert "per_picture" in result["systems"]["GRU"], "the whole result must stay as it was"


def test_a_finished_comparison_resumed_trains_nothing(compared: tuple[Path, Outcome], workshop: Workshop) -> None:
    folder, _ = compared
    before = read_json(folder / "run" / "comparison.json")
    stamps = [(folder / "run" / cell / "checkpoint.safetensors").stat().st_mtime_ns for cell in ("LSTM", "GRU")]
    done = captioning(*workshop.compare(folder / "run", "--resume"))
    assert done.code == 0
    assert "epoch" not in done.err
    assert stamps == [(folder / "run" / cell / "checkpoint.safetensors").stat().st_mtime_ns for cell in ("LSTM", "GRU")]
    assert read_json(folder / "run" / "comparison.json")["systems"] == before["systems"]


def test_a_cell_of_ones_own_from_the_folder_where_one_stands(
    workshop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = inspect.getsource(rnncore.cells.lstm).replace("class LSTM:", "class MyCell:")
    (tmp_path / "mymodule.py").write_text(source)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "mymodule", raising=False)
    done = captioning(*workshop.compare(Path("run"), "--cells", "LSTM, mymodule:MyCell"))
    sys.modules.pop("mymodule", None)
    assert done.code == 0, done.err
    assert "mymodule:MyCell" in done.out
    systems = read_json(tmp_path / "run" / "comparison.json")["systems"]
    assert systems["mymodule:MyCell"]["losses"] == systems["LSTM"]["losses"]
    assert (tmp_path / "run" / "mymodule.MyCell" / "checkpoint.safetensors").is_file()
    assert "mymodule:MyCell" in (tmp_path / "run" / "comparison.md").read_text()


@pytest.mark.parametrize(
    ("cells", "said"),
    [
        ("LSTM,FOO", ["'FOO'", "RNN, LSTM, GRU, GRU-before", "module:Class"]),
        ("LSTM,nowhere:Cell", ["'nowhere:Cell'", "No module named 'nowhere'"]),
        ("LSTM,json:Cell", ["'json:Cell'", "no attribute 'Cell'"]),
        ("GRU,LSTM,GRU", ["GRU stands there twice"]),
        ("LSTM,", ["model.cell", "''"]),
    ],
)
def test_a_wrong_cell_is_found_before_anything_is_trained(
    workshop: Workshop, tmp_path: Path, cells: str, said: list[str]
) -> None:
    message = one_error(captioning(*workshop.compare(tmp_path / "run", "--cells", cells)))
    for part in said:
        assert part in message
    assert not (tmp_path / "run").exists()


def test_an_old_run_of_any_cell_is_found_before_anything_is_trained(workshop: Workshop, tmp_path: Path) -> None:
    assert captioning(*workshop.train(tmp_path / "GRU", "-q")).code == 0
    message = one_error(captioning(*workshop.compare(tmp_path)))
    assert f"{tmp_path / 'GRU' / 'checkpoint.safetensors'} is there already" in message
    assert not (tmp_path / "LSTM").exists()


def test_a_test_picture_without_features_is_found_before_anything_is_trained(
    workshop: Workshop, tmp_path: Path
) -> None:
    kept = np.array([f"scene-{k:05d}.jpg" for k in range(29)])
    few = write_npz(tmp_path / "few.npz", workshop, names=kept, features=np.ones((29, 5), np.float32))
    message = one_error(captioning(*workshop.compare(tmp_path / "run"), "--features", str(few)))
    assert "1 of 3 pictures have no features: scene-00029.jpg" in message
    assert not (tmp_path / "run").exists()


def test_the_command_line_is_kept_without_folders(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["/usr/bin/captioning", "train", "--data", "/home/me/my data/", "--set", "a.b=1"])
    assert command_line() == "captioning train --data 'my data' --set a.b=1"


def test_the_shuffled_row_is_of_the_last_decoder_and_the_features_of_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, asked = tiny_dataset(), []
    search = Evaluator.search

    def recorded(evaluator: Evaluator, decoding: Decoding, shuffled: int | None = None) -> Any:
        asked.append((decoding.beam, shuffled is not None))
        return search(evaluator, decoding, shuffled)

    def perfect(evaluator: Evaluator, decoding: Decoding, shuffled: int) -> dict[str, str]:
        evaluator.search(decoding, shuffled)  # captions that can be told from all others
        return {name: data.captions[name][0] for name in evaluator.split.names}

    monkeypatch.setattr(Evaluator, "search", recorded)
    monkeypatch.setattr(Evaluator, "captions", perfect)
    comparison = Comparison(tiny_recipe(), ["GRU"], data, tiny_features(data), tmp_path)
    row = comparison.run(lambda line: None, lambda cell: lambda progress: None)["baselines"]["pictures shuffled (GRU)"]
    assert asked == [(1, False), (2, False), (2, True)]
    assert row["metrics"][COCO]["BLEU-1"] == pytest.approx(100)


def test_the_paper_stands_beside_flickr8k_only(tmp_path: Path) -> None:
    data = tiny_dataset()
    for name, expected in ((FLICKR8K, PAPER), ("tiny", None)):
        named = type(data)(name, data.captions, data.splits, None)
        comparison = Comparison(tiny_recipe(), ["GRU"], named, tiny_features(data), tmp_path / name)
        assert comparison.run(lambda line: None, lambda cell: lambda progress: None).get("paper") == expected


@pytest.mark.data
@pytest.mark.slow
def test_real_pictures_features_and_captions(real_data: Path, tmp_path: Path) -> None:
    """The first 200 test pictures of Flickr8k as a CSV of one's own, from captions to a report to a caption."""
    flickr = load_dataset(real_data / "flickr8k")
    names = flickr.names("test")[:200]
    rows = "".join(f'{name},"{caption}"\n' for name in names for caption in flickr.captions[name] if '"' not in caption)
    (tmp_path / "captions.csv").write_text("image,caption\n" + rows, encoding="utf-8")
    features = real_data / "flickr8k" / "inception_v3_2015_trunk2048_f16.npz"
    settings: list[Any] = ["model.hidden=16", "model.dense=16", "embedding.size=8", "training.pictures_per_batch=25"]
    settings += ["training.epochs=6", "training.learning_rate=0.01", "training.early_stopping=none"]
    arguments = [part for setting in settings for part in ("--set", setting)]
    run = tmp_path / "run"
    given = ["--data", str(tmp_path), "--features", str(features), "--run", str(run), "--cells", "GRU"]
    done = captioning("compare", *given, *arguments)
    assert done.code == 0, done.err
    result = read_json(run / "comparison.json")
    assert result["dataset"]["train"] == 150
    assert "mixed_7" in result["encoder"]["description"]
    epochs = result["systems"]["GRU"]["epochs"]
    assert epochs[-1]["train_loss"] < epochs[0]["train_loss"] - 0.5
    picture = real_data / "flickr8k" / "images224" / names[0]
    model = real_data / "models" / "inception_v3_2015_trunk2048.onnx"
    kept = tmp_path / "captions.json"
    chosen = ["--checkpoint", str(run / "GRU"), "--encoder", str(model), "--json", str(kept)]
    said = captioning("caption", str(picture), *chosen)
    assert said.code == 0, said.err
    captions = read_json(kept)["captions"][0]["captions"]
    assert said.out.strip() == captions[0][0]
    assert len(captions) == 3
    assert any(text.startswith("a ") for text, _ in captions)


def test_a_comparison_of_features_that_are_no_vectors_is_refused(workshop: Workshop, tmp_path: Path) -> None:
    stored = open_features(workshop.features)
    grid = Features(stored.names, {"grid": np.zeros((len(stored), 5, 4, 4), np.float32)}, "e", "grids")
    comparison = Comparison(
        load_recipe(workshop.recipe), ["GRU"], load_dataset(workshop.scenes), grid, tmp_path / "run"
    )
    with pytest.raises(Exception, match="'features'"):
        comparison.run(lambda line: None, lambda cell: lambda progress: None)
    assert not (tmp_path / "run").exists()
