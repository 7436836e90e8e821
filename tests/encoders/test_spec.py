"""An encoder's description: hashed whole, kept beside the file, refused when it does not fit."""

import dataclasses
import errno
import json
from pathlib import Path

import numpy as np
import pytest

from encoders import Encoder, EncoderError, Output, Preprocessing, load_spec, open_features
from encoders.files import atomic_write, sha256_file
from encoders.known import TRUNK
from encoders.sidecar import sidecar
from tests.encoders.tiny import tiny_encoder


@pytest.mark.parametrize(
    "change",
    [
        {"sha256": "0" * 64},
        {"input": "x"},
        {"outputs": (Output("features", "features", (2047,)),)},
        {"outputs": (Output("features", "pooled", (2048,)),)},
        *(
            {"preprocessing": Preprocessing(**{field: value})}
            for field, value in {
                "size": (224, 299),
                "resampling": "bicubic",
                "mean": (127.5, 127.5, 127.0),
                "std": (127.5, 127.5, 128.0),
                "channels": "BGR",
                "layout": "NHWC",
            }.items()
        ),
    ],
)
def test_the_hash_covers_everything_that_decides_a_number(change: dict[str, object]) -> None:
    assert dataclasses.replace(TRUNK, **change).hash != TRUNK.hash


def test_the_label_is_no_part_of_the_hash() -> None:
    assert dataclasses.replace(TRUNK, description="renamed").hash == TRUNK.hash


def test_the_sidecar_brings_the_same_spec_back(tmp_path: Path) -> None:
    spec = tiny_encoder(tmp_path / "m.onnx")
    assert load_spec(tmp_path / "m.onnx") == spec
    assert load_spec(tmp_path / "m.onnx").hash == spec.hash


def test_a_sidecar_of_other_bytes_is_refused(tmp_path: Path) -> None:
    tiny_encoder(tmp_path / "m.onnx")
    with open(tmp_path / "m.onnx", "ab") as file:
        file.write(b"\0")
    with pytest.raises(EncoderError, match="describes a file with sha256"):
        load_spec(tmp_path / "m.onnx")


def test_an_unknown_file_is_not_guessed_at(tmp_path: Path) -> None:
    tiny_encoder(tmp_path / "m.onnx", describe=False)
    with pytest.raises(EncoderError, match="which preprocessing it expects is not known"):
        Encoder(tmp_path / "m.onnx")
    with pytest.raises(EncoderError, match="no such model file"):
        load_spec(tmp_path / "gone.onnx")


@pytest.mark.parametrize("damage", ["unknown key", "missing key", "bad value", "no JSON", "a list"])
def test_a_damaged_sidecar_is_named(tmp_path: Path, damage: str) -> None:
    tiny_encoder(tmp_path / "m.onnx")
    beside = sidecar(tmp_path / "m.onnx")
    content = json.loads(beside.read_text())
    if damage == "unknown key":
        content["colour"] = "blue"
    elif damage == "missing key":
        del content["preprocessing"]["layout"]
    elif damage == "bad value":
        content["preprocessing"]["channels"] = "RBG"
    text = {"no JSON": "{", "a list": "[]"}.get(damage, json.dumps(content))
    beside.write_text(text)
    with pytest.raises(EncoderError):
        load_spec(tmp_path / "m.onnx")


@pytest.mark.parametrize(
    "wrong",
    [{"size": (0, 3)}, {"resampling": "magic"}, {"std": (1.0, 0.0, 1.0)}, {"mean": (1.0,)}, {"layout": "HWC"}],
)
def test_impossible_preprocessing_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(EncoderError, match="preprocessing: "):
        Preprocessing(**wrong)


def test_atomic_write_leaves_the_old_file_when_it_fails(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"old")

    def fails() -> None:
        with atomic_write(tmp_path / "f") as file:
            file.write(b"half of the new")
            raise OSError("the disk is full")

    with pytest.raises(OSError, match="the disk is full"):
        fails()
    assert (tmp_path / "f").read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["f"]
    with atomic_write(tmp_path / "f", "w") as file:
        file.write("new ü")
    assert (tmp_path / "f").read_bytes() == "new ü".encode()
    with pytest.raises(ValueError, match="mode"), atomic_write(tmp_path / "f", "a"):
        pass
    assert len(sha256_file(tmp_path / "f")) == 64


def test_atomic_write_says_for_which_file_the_disk_was_full(tmp_path: Path) -> None:
    def fails() -> None:
        with atomic_write(tmp_path / "f"):
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match=r"No space left on device: '.*/f'"):
        fails()


def npz(path: Path, **arrays: np.ndarray) -> Path:
    np.savez(path, **arrays)
    return path


def test_an_npz_reads_like_a_store(tmp_path: Path) -> None:
    rows = np.arange(6, dtype=np.float16).reshape(2, 3)
    path = npz(tmp_path / "f.npz", names=np.array(["a", "b"]), features=rows)
    features = open_features(path)
    assert features.names == ("a", "b")
    assert features.encoder == f"npz:{sha256_file(path)}"
    assert features.outputs == {"features": (3,)}
    assert features.made_by is None
    got = features.rows(["b"])
    assert got.dtype == np.float32
    assert got.tolist() == [[3, 4, 5]]
    with pytest.raises(EncoderError, match="no output 'grid'"):
        features.rows(["a"], "grid")


@pytest.mark.parametrize(
    ("arrays", "why"),
    [
        ({"names": np.array(["a"])}, "features"),
        ({"names": np.array(["a"]), "features": np.zeros((2, 3))}, "1 names but 2 rows"),
        ({"names": np.array(["a", "a"]), "features": np.zeros((2, 3))}, "twice"),
        ({"names": np.array([1, 2]), "features": np.zeros((2, 3))}, "expected names"),
        ({"names": np.array(["a"]), "features": np.zeros((1, 3, 2))}, "expected names"),
        ({"names": np.array(["a", "b"]), "features": np.array([[0.0], [np.nan]])}, "of b are not finite"),
        ({"names": np.array(["a"], object), "features": np.zeros((1, 3))}, "expected a feature store"),
    ],
)
def test_a_wrong_npz_is_named(tmp_path: Path, arrays: dict[str, np.ndarray], why: str) -> None:
    with pytest.raises(EncoderError, match=why):
        open_features(npz(tmp_path / "f.npz", **arrays))


@pytest.mark.parametrize("content", [b"", b"not a zip", b"PK\x03\x04 half"])
def test_a_damaged_npz_is_named(tmp_path: Path, content: bytes) -> None:
    whole = npz(tmp_path / "w.npz", names=np.array(["a"]), features=np.zeros((1, 3))).read_bytes()
    for damaged in (content, whole[: len(whole) // 2], whole[:-5]):
        (tmp_path / "f.npz").write_bytes(damaged)
        with pytest.raises(EncoderError, match=r"f\.npz"):
            open_features(tmp_path / "f.npz")
    with pytest.raises(EncoderError, match="no such features"):
        open_features(tmp_path / "gone")
