"""`captioning fetch`: what lies there is checked, what is missing is explained."""

import shutil
from pathlib import Path

import pytest

from captioning import fetch
from tests.captioning.workshop import Outcome, captioning, one_error


def run_fetch(what: str, folder: Path, *arguments: str) -> Outcome:
    return captioning("fetch", what, "--folder", str(folder), *arguments)


def test_what_cannot_be_fetched_is_said(tmp_path: Path) -> None:
    message = one_error(run_fetch("imagenet", tmp_path))
    assert "'imagenet'" in message
    assert "inception-v3, flickr8k, flickr30k, coco and glove" in message


@pytest.mark.parametrize("there", [True, False])
def test_missing_flickr8k_is_explained(tmp_path: Path, there: bool) -> None:
    folder = tmp_path if there else tmp_path / "nowhere"
    message = one_error(run_fetch("flickr8k", folder))
    for part in (f"{folder} has no Flickr8k.token.txt", "Hodosh", "unpack Flickr8k_Dataset.zip", "image,caption"):
        assert part in message


@pytest.mark.data
def test_the_published_flickr8k_is_accepted(real_data: Path) -> None:
    done = run_fetch("flickr8k", real_data / "flickr8k")
    assert done.code == 0
    assert "the published Flickr8k, 6,000 train, 1,000 validation, 1,000 test, with its pictures" in done.out
    assert "2258277193_586949ec62.jpg.1" in done.out


@pytest.mark.data
def test_its_captions_alone_are_accepted_and_said_to_be_alone(real_data: Path, tmp_path: Path) -> None:
    for path in (real_data / "flickr8k").glob("*.txt"):
        shutil.copy(path, tmp_path)
    done = run_fetch("flickr8k", tmp_path)
    assert done.code == 0
    assert "without its pictures" in done.out


@pytest.mark.data
def test_one_altered_letter_is_refused(real_data: Path, tmp_path: Path) -> None:
    raw = bytearray((real_data / "flickr8k" / "Flickr8k.token.txt").read_bytes())
    raw[1000] ^= 1
    (tmp_path / "Flickr8k.token.txt").write_bytes(raw)
    message = one_error(run_fetch("flickr8k", tmp_path))
    assert "expected the published file of sha256 1e1f3a37" in message
    assert f"{tmp_path / 'Flickr8k.token.txt'}" in message


def glove(folder: Path, rows: int, last: int = 200) -> Path:
    lines = [f"word{k}" + " 0.5" * 200 for k in range(rows - 1)] + ["word" + " 0.5" * last]
    (folder / "glove.6B.200d.txt").write_text("\n".join(lines) + "\n")
    return folder


def test_missing_glove_is_explained(tmp_path: Path) -> None:
    message = one_error(run_fetch("glove", tmp_path))
    for part in (f"{tmp_path / 'glove.6B.200d.txt'} is missing", "Pennington", "glove.6B.zip"):
        assert part in message


def test_glove_is_accepted_whole_and_refused_cut_short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch, "GLOVE_ROWS", 1000)
    done = run_fetch("glove", glove(tmp_path, 1000))
    assert (done.code, done.err) == (0, "")
    assert "all 1,000 rows of 200 numbers" in done.out
    for rows, last in ((999, 200), (1000, 120), (1001, 200)):
        message = one_error(run_fetch("glove", glove(tmp_path, rows, last)))
        assert f"expected 1,000 rows of 200 numbers, got {rows:,} rows of {last} to 200" in message


def test_an_empty_glove_is_refused(tmp_path: Path) -> None:
    (tmp_path / "glove.6B.200d.txt").write_bytes(b"")
    assert "got 0 rows of 0 to 0" in one_error(run_fetch("glove", tmp_path))


def test_a_wrong_inception_brought_from_elsewhere_is_refused(tmp_path: Path) -> None:
    wrong = tmp_path / "brought.onnx"
    wrong.write_bytes(b"something else")
    message = one_error(run_fetch("inception-v3", tmp_path / "data", "--from", str(wrong)))
    assert "brought.onnx" in message
    assert "sha256" in message
    assert not (tmp_path / "data" / "inception-v3.onnx").exists()


def test_inception_brought_from_nowhere(tmp_path: Path) -> None:
    message = one_error(run_fetch("inception-v3", tmp_path / "data", "--from", str(tmp_path / "gone.onnx")))
    assert "gone.onnx" in message
    assert not (tmp_path / "data" / "inception-v3.onnx").exists()


@pytest.mark.parametrize("what", ["glove", "flickr8k"])
def test_a_file_brought_from_elsewhere_is_not_ignored(tmp_path: Path, what: str) -> None:
    assert "--from works with inception-v3 only" in one_error(run_fetch(what, tmp_path, "--from", "brought.txt"))
