"""Encoding: right numbers in the right rows, bad pictures listed, interrupted runs continued."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from encoders import (
    Encoder,
    EncoderError,
    Header,
    PictureError,
    StoreError,
    StoreWriter,
    encode_into,
    open_features,
)
from encoders.encode import Progress
from encoders.pictures import load_picture
from tests.encoders.tiny import HOW, expected_features, make_pictures, tiny_encoder


@pytest.fixture
def encoder(tmp_path: Path) -> Encoder:
    tiny_encoder(tmp_path / "tiny.onnx")
    return Encoder(tmp_path / "tiny.onnx", outputs=("features", "grid"))


def store_for(folder: Path, encoder: Encoder) -> StoreWriter:
    return StoreWriter(folder, Header(encoder.spec.hash, "tiny", encoder.shapes, "float32"))


@pytest.mark.parametrize("batch", [1, 3, 7, 100])
def test_files_give_the_features_of_their_own_picture(tmp_path: Path, encoder: Encoder, batch: int) -> None:
    paths = make_pictures(tmp_path / "p", 7)
    got = encoder.encode_files(paths[::-1], batch)
    assert got["grid"].shape == (7, 5, 4, 4)
    expected = np.stack([expected_features(load_picture(path, HOW)) for path in paths[::-1]])
    np.testing.assert_allclose(got["features"], expected, atol=1e-5)
    assert encoder.provider == "CPUExecutionProvider"


def test_no_files_give_no_rows(encoder: Encoder) -> None:
    assert encoder.encode_files([])["features"].shape == (0, 5)


def test_a_bad_file_stops_encode_files_by_name(tmp_path: Path, encoder: Encoder) -> None:
    paths = make_pictures(tmp_path / "p", 5)
    paths[3].write_bytes(b"")
    with pytest.raises(PictureError, match=r"03\.png: the file is empty"):
        encoder.encode_files(paths, 2)


def test_bad_pictures_are_collected_and_the_run_goes_on(tmp_path: Path, encoder: Encoder) -> None:
    paths = make_pictures(tmp_path / "p", 20)
    for bad in (0, 5, 6, 7, 19):
        paths[bad].write_bytes(b"no picture")
    reports: list[tuple[int, int]] = []

    def report(now: Progress) -> None:
        reports.append((now.done, len(now.bad)))

    with store_for(tmp_path / "s", encoder) as store:
        done = encode_into(store, encoder, {path.name: path for path in paths}, 3, report)
    assert (done.done, done.skipped, len(done.bad), done.total) == (15, 0, 5, 20)
    assert [Path(str(error).split(":")[0]).name for error in done.bad] == [
        "00.png",
        "05.png",
        "06.png",
        "07.png",
        "19.png",
    ]
    assert reports[-1] == (15, 5)
    features = open_features(tmp_path / "s")
    for name in ("01.png", "18.png"):
        expected = expected_features(load_picture(tmp_path / "p" / name, HOW))
        np.testing.assert_allclose(features.rows([name])[0], expected, atol=1e-5)


def test_a_second_run_does_only_what_is_missing(tmp_path: Path, encoder: Encoder) -> None:
    paths = make_pictures(tmp_path / "p", 9)
    with store_for(tmp_path / "s", encoder) as store:
        encode_into(store, encoder, {path.name: path for path in paths[:4]}, 2)
        done = encode_into(store, encoder, {path.name: path for path in paths}, 2)
    assert (done.done, done.skipped) == (5, 4)
    assert len(open_features(tmp_path / "s")) == 9


def test_ctrl_c_keeps_finished_rows(tmp_path: Path, encoder: Encoder) -> None:
    paths = make_pictures(tmp_path / "p", 30)

    def interrupt(now: Progress) -> None:
        if now.done >= 8:
            raise KeyboardInterrupt

    with store_for(tmp_path / "s", encoder) as store, pytest.raises(KeyboardInterrupt):
        encode_into(store, encoder, {path.name: path for path in paths}, 4, interrupt)
    assert len(open_features(tmp_path / "s")) == 8
    assert not [t for t in threading.enumerate() if t.name.startswith("decode")]


def test_decoding_runs_while_inference_runs(tmp_path: Path, encoder: Encoder, monkeypatch: pytest.MonkeyPatch) -> None:
    """An inference that waits for another picture to be decoded gets one."""
    paths, real = make_pictures(tmp_path / "p", 24), encoder.encode_arrays
    news, decoded, met = threading.Condition(), 0, False

    def load(*arguments: Any) -> Any:
        nonlocal decoded
        time.sleep(0.01)
        found = load_picture(*arguments)
        with news:
            decoded += 1
            news.notify_all()
        return found

    def infer(*arguments: Any) -> Any:
        nonlocal met
        with news:
            before = decoded
            met = met or news.wait_for(lambda: decoded > before, timeout=2)
        return real(*arguments)

    monkeypatch.setattr("encoders.encode.load_picture", load)
    monkeypatch.setattr(encoder, "encode_arrays", infer)
    encoder.encode_files(paths, 4)
    assert met


def test_wrong_arrays_are_refused_with_the_expected_shape(encoder: Encoder) -> None:
    with pytest.raises(EncoderError, match=re.escape("(N, (3, 8, 8)), got (2, 8, 8, 3)")):
        encoder.encode_arrays(np.zeros((2, 8, 8, 3), np.float32))


def test_providers_are_explicit(tmp_path: Path) -> None:
    tiny_encoder(tmp_path / "tiny.onnx")
    with pytest.raises(EncoderError, match=r"no provider.*NoSuchProvider.*CPUExecutionProvider"):
        Encoder(tmp_path / "tiny.onnx", providers=("NoSuchProvider", "CPUExecutionProvider"))


def test_unknown_outputs_and_damaged_models_are_named(tmp_path: Path) -> None:
    spec = tiny_encoder(tmp_path / "tiny.onnx")
    with pytest.raises(EncoderError, match="no output 'pool'; it has features, grid"):
        Encoder(tmp_path / "tiny.onnx", outputs=("pool",))
    (tmp_path / "cut.onnx").write_bytes((tmp_path / "tiny.onnx").read_bytes()[:200])
    with pytest.raises(EncoderError, match=r"cut\.onnx: ONNX Runtime cannot load it"):
        Encoder(tmp_path / "cut.onnx", spec)


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "encoders", *map(str, arguments)]


def run(*arguments: object) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(command(*arguments), capture_output=True, text=True, timeout=60)


def test_the_command_encodes_continues_and_lists_bad_pictures(tmp_path: Path) -> None:
    tiny_encoder(tmp_path / "tiny.onnx")
    paths = make_pictures(tmp_path / "p", 6)
    good = paths[2].read_bytes()
    paths[2].write_bytes(good[:60])
    todo = ("encode", tmp_path / "p", "-m", tmp_path / "tiny.onnx", "-s", tmp_path / "s", "--output", "features")
    first = run(*todo, "--output", "grid", "--quiet")
    assert first.returncode == 1
    assert "1 could not be read" in first.stderr
    assert "02.png" in first.stderr
    assert "Traceback" not in first.stderr
    paths[2].write_bytes(good)
    second = run(*todo, "--output", "grid")
    assert second.returncode == 0, second.stderr
    assert "1 pictures encoded" in second.stderr
    assert "5 were there before" in second.stderr
    assert "CPUExecutionProvider" in second.stderr
    assert open_features(tmp_path / "s").outputs == {"features": (5,), "grid": (5, 4, 4)}
    third = run(*todo)
    assert third.returncode == 1
    assert "was made with outputs" in third.stderr
    assert run("inspect", tmp_path / "s").stdout.count("6 pictures") == 1


def test_errors_of_the_command_are_one_message(tmp_path: Path) -> None:
    missing = run("encode", tmp_path / "gone", "-m", tmp_path / "m.onnx", "-s", tmp_path / "s")
    assert missing.returncode == 1
    assert missing.stderr.startswith("error: ")
    assert "no such file or folder" in missing.stderr
    assert "Traceback" not in missing.stderr
    debug = run("--debug", "encode", tmp_path / "gone", "-m", tmp_path / "m.onnx", "-s", tmp_path / "s")
    assert debug.returncode == 1
    assert "Traceback" in debug.stderr
    assert run("encode").returncode == 2
    assert run("--help").returncode == 0


def test_interrupting_the_command_keeps_rows_and_says_so(tmp_path: Path) -> None:
    tiny_encoder(tmp_path / "tiny.onnx")
    make_pictures(tmp_path / "p", 800)
    todo = command("encode", tmp_path / "p", "-m", tmp_path / "tiny.onnx", "-s", tmp_path / "s", "--batch", "1")
    with subprocess.Popen(todo, stderr=subprocess.PIPE, text=True) as process:
        journal = tmp_path / "s" / "journal.jsonl"
        while not journal.exists() or journal.stat().st_size < 200:
            assert process.poll() is None
            time.sleep(0.01)
        os.kill(process.pid, signal.SIGINT)
        assert process.stderr is not None
        said = process.stderr.read()
    assert process.returncode == 130
    kept = len(open_features(tmp_path / "s"))
    assert 0 < kept < 800
    assert f"stopped: {kept} new rows are kept" in said
    assert "Traceback" not in said


@pytest.mark.data
def test_the_real_network_gives_the_shipped_features(real_data: Path) -> None:
    """24 of the 8,091 pictures; `encoders compare` on all of them is in docs/results/encoder-flickr8k.json."""
    shipped = open_features(real_data / "flickr8k" / "inception_v3_2015_trunk2048_f16.npz")
    assert shipped.description == "Inception v3 trunk features (mixed_7 + mixed_9)"
    encoder = Encoder(real_data / "models" / "inception_v3_2015_trunk2048.onnx")
    assert shipped.made_by == encoder.spec.hash
    names = shipped.names[:: len(shipped) // 23][:24]
    ours = encoder.encode_files([real_data / "flickr8k" / "images224" / name for name in names])["features"]
    theirs = shipped.rows(names)
    cosine = (ours * theirs).sum(1) / np.linalg.norm(ours, axis=1) / np.linalg.norm(theirs, axis=1)
    assert len(cosine) == 24
    assert cosine.min() > 0.9995


def test_a_store_of_another_encoder_is_refused(tmp_path: Path, encoder: Encoder) -> None:
    with store_for(tmp_path / "s", encoder):
        pass
    with pytest.raises(StoreError, match="was made with encoder"):
        StoreWriter(tmp_path / "s", Header("0" * 64, "tiny", encoder.shapes, "float32"))
