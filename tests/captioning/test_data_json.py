"""Karpathy's JSON of Flickr30k and COCO, JSON lines of one's own, and everything that can be wrong in them."""

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from captioning.data import load_dataset, load_flickr8k, load_json_lines, load_karpathy
from captioning.errors import CaptioningError
from captioning.fetch import unreadable
from tests.captioning.workshop import captioning, one_error


def karpathy(name: str = "flickr30k", **changes: Any) -> dict[str, Any]:
    """A corpus of four pictures in the shape of Karpathy's files; changes replace keys of the last picture."""
    images = [
        {
            "filename": f"{k}.jpg",
            "imgid": k,
            "split": split,
            "sentids": [2 * k, 2 * k + 1],
            "sentences": [{"raw": f"Caption {c} of {k} .", "tokens": [], "sentid": c, "imgid": k} for c in range(2)],
        }
        for k, split in enumerate(("train", "val", "test", "restval"))
    ]
    images[-1] |= changes
    return {"dataset": name, "images": images}


def write(folder: Path, content: dict[str, Any]) -> Path:
    path = folder / f"dataset_{content['dataset']}.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def write_lines(folder: Path, *lines: Any, name: str = "captions.jsonl") -> Path:
    path = folder / name
    path.write_text("".join((x if isinstance(x, str) else json.dumps(x)) + "\n" for x in lines), encoding="utf-8")
    return path


def line(k: int, **more: Any) -> dict[str, Any]:
    return {"image": f"{k}.jpg", "caption": f"Caption of {k}", **more}


def test_flickr30k_as_karpathy_splits_it(tmp_path: Path) -> None:
    (tmp_path / "flickr30k_images").mkdir()
    for k in range(4):
        (tmp_path / "flickr30k_images" / f"{k}.jpg").write_bytes(b"x")
    write(tmp_path, karpathy())
    data = load_dataset(tmp_path)
    assert data.name == "Flickr30k"
    assert data.splits == {"train": ("0.jpg", "3.jpg"), "validation": ("1.jpg",), "test": ("2.jpg",)}
    assert data.captions["1.jpg"] == ("Caption 0 of 1 .", "Caption 1 of 1 .")
    assert data.pictures == tmp_path / "flickr30k_images"
    assert data.problems == ()
    assert load_dataset(tmp_path / "dataset_flickr30k.json") == data


def test_coco_names_its_pictures_with_their_folder(tmp_path: Path) -> None:
    content = karpathy("coco")
    for image in content["images"]:
        image["filepath"] = "val2014"
    (tmp_path / "val2014").mkdir()
    (tmp_path / "val2014" / "2.jpg").write_bytes(b"x")
    data = load_karpathy(write(tmp_path, content))
    assert data.name == "COCO"
    assert data.names("test") == ("val2014/2.jpg",)
    assert data.picture("val2014/2.jpg").is_file()
    assert data.problems == (
        f"3 captioned names have no picture in {tmp_path.name}: val2014/0.jpg, val2014/1.jpg, val2014/3.jpg",
    )


def test_problems_are_counted_in_karpathys_files_too(tmp_path: Path) -> None:
    content = karpathy(sentences=[{"raw": "A dog ."}, {"raw": " "}, {"raw": "A  dog ."}])
    content["images"].append({"filename": "9.jpg", "split": "train", "sentences": []})
    (tmp_path / "images").mkdir()
    for k in range(4):
        (tmp_path / "images" / f"{k}.jpg").write_bytes(b"x" * k)
    assert load_karpathy(write(tmp_path, content)).problems == (
        "1 empty caption dropped: 3.jpg",
        "1 picture is an empty file (no bytes): 0.jpg",
        "1 picture has the same caption more than once (kept): 3.jpg",
        "1 name of the split 'train' without captions (left out): 9.jpg",
    )


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"split": "training"}, "picture 4 of 4: .* split of train, restval, val, test; there is no 'training'"),
        ({"filename": "../3.jpg"}, "picture 4: '../3.jpg' is no picture name inside the picture folder"),
        ({"sentences": None}, "picture 4 of 4: expected filename, sentences"),
        ({"sentences": [{"tokens": ["a"]}]}, "picture 4 of 4: .* there is no 'raw'"),
        ({"sentences": [{"raw": 3}]}, "picture 4 of 4: .* a caption is 3, no text"),
        ({"filename": None}, "picture 4"),
    ],
)
def test_a_wrong_picture_of_karpathys_file_is_named(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(CaptioningError, match=said):
        load_karpathy(write(tmp_path, karpathy(**changes)))


@pytest.mark.parametrize("text", ["", "[]", "{", '{"images": 3}', '{"images": [], "dataset": "coco"', "{}"])
def test_what_is_no_file_of_karpathys_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "dataset_coco.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(CaptioningError, match=r"dataset_coco\.json: expected \{\"dataset\""):
        load_dataset(path)


def test_a_truncated_file_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, karpathy())
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(CaptioningError, match="expected"):
        load_dataset(tmp_path)


def test_json_lines_with_their_own_splits(tmp_path: Path) -> None:
    lines = [line(0, split="train"), line(1, split="dev"), line(2, split="test"), line(1, split="dev")]
    lines += [{"image": "5.jpg", "captions": ["A dog .", "A  cat ."], "split": "train"}]
    data = load_json_lines(write_lines(tmp_path, *lines))
    assert data.splits == {"train": ("0.jpg", "5.jpg"), "validation": ("1.jpg",), "test": ("2.jpg",)}
    assert data.captions["5.jpg"] == ("A dog .", "A cat .")
    assert data.captions["1.jpg"] == ("Caption of 1", "Caption of 1")
    assert data.problems == ("1 picture has the same caption more than once (kept): 1.jpg",)


def test_json_lines_without_splits_are_drawn_as_csv_is(tmp_path: Path) -> None:
    path = write_lines(tmp_path, *(line(k) for k in range(40)), "", name="mine.jsonl")
    data = load_dataset(tmp_path)
    assert {split: len(names) for split, names in data.splits.items()} == {"train": 30, "validation": 5, "test": 5}
    csv = tmp_path / "mine.csv"
    csv.write_text("image,caption\n" + "".join(f"{k}.jpg,Caption of {k}\n" for k in range(40)), encoding="utf-8")
    assert load_dataset(csv).splits == load_json_lines(path).splits == data.splits
    with pytest.raises(CaptioningError, match=r"several datasets: mine\.csv, mine\.jsonl; give one file"):
        load_dataset(tmp_path)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("{", "line 2: expected"),
        ("[1]", "line 2: expected"),
        ('"text"', "line 2: expected"),
        ({"image": "1.jpg"}, "line 2: .* there is no 'caption'"),
        ({"caption": "A dog"}, "line 2: .* there is no 'image'"),
        (line(1, split="trial"), "line 2: .* there is no 'trial'"),
        ({"image": "1.jpg", "caption": None}, "line 2: .* a caption is None, no text"),
        ({"image": "1.jpg", "captions": "A dog"}, "line 2: expected"),
        ({"image": "/1.jpg", "caption": "A dog"}, "line 2: '/1.jpg' is no picture name inside the picture folder"),
        (line(1, split="test"), "line 2 names a split and line 1 does not"),
    ],
)
def test_a_wrong_line_is_named(tmp_path: Path, wrong: Any, said: str) -> None:
    with pytest.raises(CaptioningError, match=said):
        load_dataset(write_lines(tmp_path, line(0), wrong, line(2)))


def test_fetch_says_where_to_ask_and_checks_every_picture(tmp_path: Path) -> None:
    for what, told in (("flickr30k", "Young, Lai, Hodosh and Hockenmaier"), ("coco", "terms of use")):
        message = one_error(captioning("fetch", what, "--folder", str(tmp_path)))
        assert f"dataset_{what}.json is missing" in message
        assert told in message
    write(tmp_path, karpathy())
    (tmp_path / "images").mkdir()
    for k in range(3):
        Image.new("RGB", (64, 64), (k, 90, 30)).save(tmp_path / "images" / f"{k}.jpg")
    whole = (tmp_path / "images" / "1.jpg").read_bytes()
    (tmp_path / "images" / "1.jpg").write_bytes(whole[: len(whole) // 2])
    done = captioning("fetch", "flickr30k", "--folder", str(tmp_path))
    assert done.code == 0, done.err
    assert "note: 1 captioned name has no picture in images: 3.jpg" in done.out
    assert "note: 1 pictures cannot be read: 1.jpg" in done.out
    assert "Flickr30k in Karpathy's splits, 2 train, 1 validation, 1 test, with its pictures" in done.out
    seen: list[tuple[int, int]] = []
    assert unreadable(load_dataset(tmp_path), lambda done, everything: seen.append((done, everything))) == ["1.jpg"]
    assert seen == [(1, 3), (2, 3), (3, 3)]


@pytest.mark.data
def test_the_real_corpus_in_karpathys_shape_is_the_same(real_data: Path, tmp_path: Path) -> None:
    official = load_flickr8k(real_data / "flickr8k")
    owner = {name: split for split, names in official.splits.items() for name in names}
    images = [
        {"filename": name, "split": {"validation": "val"}.get(owner[name], owner[name]),
         "sentences": [{"raw": caption} for caption in official.captions[name]]}
        for split in official.splits for name in official.splits[split]
    ]  # fmt: skip
    data = load_karpathy(write(tmp_path, {"dataset": "flickr8k", "images": images}), official.pictures)
    assert data.splits == official.splits
    assert all(
        [" ".join(c.split()) for c in official.captions[name]] == list(data.captions[name]) for name in data.captions
    )
