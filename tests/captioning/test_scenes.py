"""The demo's scenes: equal seeds, whole folders, captions that tell what is drawn."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from captioning.data import load_flickr8k
from captioning.errors import CaptioningError
from captioning.scenes import (
    Scene,
    captions,
    check_caption,
    describe,
    draw_scene,
    make_scene,
    make_scenes,
    word_accuracy,
)
from captioning.scenes.draw import SIDE
from captioning.scenes.world import COLOURS, KINDS, PLACES, Thing


def _bytes(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("scenes") / "set"
    make_scenes(made, 60, seed=5)
    return made


def test_equal_seeds_give_equal_bytes_and_others_do_not(folder: Path, tmp_path: Path) -> None:
    make_scenes(tmp_path / "same", 60, seed=5)
    make_scenes(tmp_path / "other", 60, seed=6)
    assert _bytes(tmp_path / "same") == _bytes(folder)
    ours, others = _bytes(folder), _bytes(tmp_path / "other")
    assert all(ours[name] != others[name] for name in ours if name.endswith("0.jpg"))


def test_the_flickr8k_loader_reads_the_folder(folder: Path) -> None:
    data = load_flickr8k(folder)
    assert {name: len(members) for name, members in data.splits.items()} == {
        "train": 48,
        "validation": 6,
        "test": 6,
    }
    assert not data.problems
    for name, sentences in data.captions.items():
        assert len(set(sentences)) == 5
        with Image.open(data.picture(name)) as picture:
            assert picture.size == (SIDE, SIDE)


def test_every_human_caption_of_a_scene_is_right(folder: Path) -> None:
    data = load_flickr8k(folder)
    for k in range(5):
        found = word_accuracy({name: sentences[k] for name, sentences in data.captions.items()}, folder)
        assert found == {"objects": 1.0, "colours": 1.0, "coloured objects": 1.0}


def test_captions_of_other_pictures_score_low(folder: Path) -> None:
    data = load_flickr8k(folder)
    names = list(data.captions)
    moved = {name: data.captions[other][0] for name, other in zip(names, names[1:] + names[:1], strict=True)}
    found = word_accuracy(moved, folder)
    assert found["objects"] < 0.4
    assert found["coloured objects"] < 0.2


def test_swapped_colours_are_right_words_on_wrong_things() -> None:
    things = [{"kind": "ball", "colour": "red"}, {"kind": "car", "colour": "blue"}]
    assert check_caption("a blue ball and a red car", things) == {
        "objects": True,
        "colours": True,
        "coloured objects": False,
    }
    assert not check_caption("a red ball", things)["objects"]
    assert check_caption("two red balls beside a blue car", things)["coloured objects"]


@pytest.mark.parametrize("stop", [1, 60])
def test_an_interrupted_run_starts_over_cleanly(folder: Path, tmp_path: Path, stop: int) -> None:
    def interrupt(done: int, count: int) -> None:
        if done == stop:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_scenes(tmp_path / "set", 60, 5, interrupt)
    make_scenes(tmp_path / "set", 60, 5)
    assert _bytes(tmp_path / "set") == _bytes(folder)


def test_a_folder_half_overwritten_by_another_seed_is_not_taken_for_whole(tmp_path: Path) -> None:
    def interrupt(done: int, count: int) -> None:
        if done == 4:
            raise KeyboardInterrupt

    make_scenes(tmp_path, 10, 1)
    whole = _bytes(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        make_scenes(tmp_path, 10, 2, interrupt)
    make_scenes(tmp_path, 10, 1)
    assert _bytes(tmp_path) == whole


def test_a_whole_folder_is_reused_and_a_damaged_one_made_again(tmp_path: Path) -> None:
    calls: list[int] = []
    make_scenes(tmp_path, 10, 1)
    make_scenes(tmp_path, 10, 1, lambda done, count: calls.append(done))
    assert calls == []
    (tmp_path / "pictures" / "scene-00003.jpg").unlink()
    make_scenes(tmp_path, 10, 1, lambda done, count: calls.append(done))
    assert calls == list(range(1, 11))


def test_a_smaller_set_leaves_no_picture_of_the_larger_one(tmp_path: Path) -> None:
    make_scenes(tmp_path, 12, 1)
    (tmp_path / "pictures" / "mine.jpg").write_bytes(b"somebody's own file")
    make_scenes(tmp_path, 10, 1)
    names = {path.name for path in (tmp_path / "pictures").iterdir()}
    assert names == {f"scene-{k:05d}.jpg" for k in range(10)} | {"mine.jpg"}


def test_bad_arguments_say_what_to_do(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(CaptioningError, match="at least 10 pictures"):
        make_scenes(tmp_path, 9, 1)
    with pytest.raises(CaptioningError, match="make the scenes first"):
        word_accuracy({"scene-00000.jpg": "a red ball"}, tmp_path)
    with pytest.raises(CaptioningError, match=r"called 'nobody\.jpg'"):
        word_accuracy({"nobody.jpg": "a red ball"}, folder)
    with pytest.raises(CaptioningError, match="no captions"):
        word_accuracy({}, folder)


def test_scenes_use_every_kind_colour_and_place_and_stay_in_the_frame() -> None:
    scenes = [make_scene(np.random.default_rng([9, k])) for k in range(600)]
    things = [thing for scene in scenes for thing in scene.things]
    assert {thing.kind for thing in things} == set(KINDS)
    assert {thing.colour for thing in things} == set(COLOURS)
    assert all(thing.colour in KINDS[thing.kind].colours for thing in things)
    assert {scene.place for scene in scenes} == set(PLACES)
    assert {len(scene.things) for scene in scenes} == {1, 2, 3}
    for thing in things:
        assert thing.radius <= thing.x <= 1 - thing.radius
        assert thing.radius <= thing.y <= 1 - thing.radius
    json.dumps([describe(scene) for scene in scenes])


@pytest.mark.parametrize("kind", list(KINDS))
def test_a_thing_is_drawn_where_and_in_the_colour_that_the_scene_says(kind: str) -> None:
    place = next(name for name, p in PLACES.items() if kind in p.ground + p.air)
    for colour in KINDS[kind].colours:
        rgb = COLOURS[colour]
        thing = Thing(kind, colour, "large", 0.5, 0.5, 0.3, 0.0, False)
        picture = draw_scene(Scene(place, "alone", (thing,)), np.random.default_rng(0))
        pixels = np.asarray(picture, dtype=float)
        close = np.abs(pixels - rgb).max(axis=-1) < 40
        inside = np.s_[int(0.2 * SIDE) : int(0.8 * SIDE), int(0.2 * SIDE) : int(0.8 * SIDE)]
        assert close[inside].mean() > 0.12, f"{colour} {kind} hardly shows its colour"


def test_the_left_and_the_upper_thing_are_where_their_captions_say() -> None:
    for k in range(300):
        scene = make_scene(np.random.default_rng([3, k]))
        first, last = scene.things[0], scene.things[-1]
        if scene.relation == "left of":
            assert first.x < last.x
        if scene.relation == "above":
            assert first.y < last.y
        for text in captions(scene, np.random.default_rng(k)):
            if "left of" in text:
                assert text.index(f"{first.colour} {first.kind}") < text.index(f"{last.colour} {last.kind}")
            if re.search("is (below|under|to the right of)", text):
                assert text.index(f"{last.colour} {last.kind}") < text.index(f"{first.colour} {first.kind}")
