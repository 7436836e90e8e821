"""`captioning demo` in miniature: the whole story with a tiny encoder and a tiny recipe."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from captioning import demo
from captioning.config import Recipe, load_recipe
from tests.captioning.workshop import Outcome, captioning, one_error, read_json
from tests.encoders.tiny import tiny_encoder

demo_recipe = demo.demo_recipe


def small_recipe(seed: int) -> Recipe:
    """The demo's recipe with its smallest sizes."""
    smaller = {"model.hidden": 8, "model.dense": 8, "embedding.size": 6, "training.epochs": 2}
    return demo_recipe(seed).with_overrides(smaller)


def run_demo(folder: Path, *arguments: str) -> Outcome:
    return captioning("demo", "--folder", str(folder), "--pictures", "200", *arguments)


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Outcome]]:
    """The folder of a small demo, run once, and what it said; the demo stays small meanwhile."""
    place = tmp_path_factory.mktemp("demo")

    def encoder(seed: int) -> Path:
        path = place / f"tiny-{seed}.onnx"
        tiny_encoder(path)
        return path

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(demo, "default_encoder", encoder)
        patch.setattr(demo, "demo_recipe", small_recipe)
        yield place / "demo", run_demo(place / "demo")


def test_the_whole_story(told: tuple[Path, Outcome]) -> None:
    folder, done = told
    assert done.code == 0, done.err
    assert {path.name for path in folder.iterdir()} == {
        "scenes", "features", "LSTM", "GRU", "comparison.json", "comparison.md", "report.html", "demo.json",
    }  # fmt: skip
    assert len(list((folder / "scenes" / "pictures").iterdir())) == 200
    for cell in ("LSTM", "GRU"):
        assert re.search(rf"{cell}, beam 3, unseen scenes described rightly: objects \d+ %, colours \d+ %", done.out)
        assert f"{cell} epoch 2/2" in done.err
    shares = read_json(folder / "demo.json")["right words"]
    assert set(shares) == {"LSTM", "GRU"}
    assert all(0 <= share <= 1 for words in shares.values() for share in words.values())


def test_a_second_time_everything_is_used_again(told: tuple[Path, Outcome]) -> None:
    folder, _ = told
    encoded = folder / "features" / "features.bin"
    kept = [encoded, *(folder / cell / "checkpoint.safetensors" for cell in ("LSTM", "GRU"))]
    before = [(path.stat().st_mtime_ns, path.read_bytes()) for path in kept]
    systems = read_json(folder / "comparison.json")["systems"]
    again = run_demo(folder)
    assert again.code == 0, again.err
    assert "epoch" not in again.err, "nothing is trained a second time"
    assert "0 pictures encoded" in again.err
    assert [(path.stat().st_mtime_ns, path.read_bytes()) for path in kept] == before
    assert read_json(folder / "comparison.json")["systems"] == systems


def test_the_command_it_ends_with_works(told: tuple[Path, Outcome]) -> None:
    folder, done = told
    words = done.out.splitlines()[-1].split()
    assert words[0] == "captioning"
    said = captioning(*words[1:], "--encoder", str(folder.parent / "tiny-0.onnx"))
    assert said.code == 0, said.err
    assert len(said.out.splitlines()) == 1


@pytest.mark.parametrize("other", [["--seed", "1"], ["--pictures", "201"]])
def test_another_demo_in_its_folder_is_refused_and_harms_nothing(told: tuple[Path, Outcome], other: list[str]) -> None:
    folder, _ = told
    before = {path: path.read_bytes() for path in (folder / "scenes").rglob("*") if path.is_file()}
    message = one_error(run_demo(folder, *other))
    assert f"{folder} holds the demo of seed 0 with 200 pictures" in message
    assert "--folder" in message
    assert {path: path.read_bytes() for path in (folder / "scenes").rglob("*") if path.is_file()} == before


def test_quiet_tells_results_only(told: tuple[Path, Outcome]) -> None:
    done = run_demo(told[0], "--quiet")
    assert (done.code, done.err) == (0, "")
    assert "unseen scenes described rightly" in done.out


def test_the_real_recipe_of_the_demo_is_the_default_but_for_its_size() -> None:
    recipe, default = demo_recipe(3), load_recipe("default")
    assert recipe.name == "demo"
    assert recipe.training.seed == 3
    assert recipe.text == default.text
    assert recipe.decoding == default.decoding
    assert recipe.training.early_stopping == "CIDEr-D"


def test_fewer_than_200_pictures_are_too_few(tmp_path: Path) -> None:
    assert captioning("demo", "--folder", str(tmp_path / "demo"), "--pictures", "50").code == 2
    assert not (tmp_path / "demo").exists()
