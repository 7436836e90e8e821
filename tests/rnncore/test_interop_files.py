"""Weights in files: what is written is read, whatever is damaged is refused, whatever fails leaves the old file."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from rnncore import LSTM, Params, Recurrent
from rnncore.cells import LSTM as LSTMCell
from rnncore.interop import Bundle, load, save
from rnncore.interop import files as module


class Own(LSTMCell):
    """A user's own cell."""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "lstm.safetensors"
    save(path, LSTM(3, 4, layers=2, bidirectional=True, seed=1), about={"corpus": "Flickr8k", "epoch": 3})
    return path


def test_a_layer_comes_back(file: Path) -> None:
    layer = LSTM(3, 4, layers=2, bidirectional=True, seed=1)
    bundle = load(file)
    assert bundle.about == {"corpus": "Flickr8k", "epoch": 3}
    assert list(bundle.params) == list(layer.params)
    np.testing.assert_array_equal(bundle.layer().params.flat, layer.params.flat)
    assert os.listdir(file.parent) == [file.name]


def test_any_safetensors_tool_reads_the_file_and_its_header(file: Path) -> None:
    with safe_open(file, framework="numpy") as opened:
        header = json.loads(opened.metadata()["header"])
    assert {k: v for k, v in header.items() if k not in ("shapes", "about")} == {
        "cell": "LSTM",
        "input_size": 3,
        "hidden_size": 4,
        "layers": 2,
        "directions": 2,
    }
    assert header["shapes"]["layer1.reverse.W"] == [16, 8]
    assert load_file(file)["layer1.reverse.W"].shape == (16, 8)


@settings(max_examples=30, deadline=None)
@given(
    st.dictionaries(st.text("abc.é0", min_size=1, max_size=6), st.lists(st.integers(0, 4), max_size=3), max_size=5),
    st.sampled_from(["float32", "float64"]),
)
def test_any_params_come_back(tmp_path_factory: pytest.TempPathFactory, shapes: Any, dtype: str) -> None:
    path = tmp_path_factory.mktemp("params") / "p.safetensors"
    params = Params({name: tuple(shape) for name, shape in shapes.items()}, dtype)
    params.flat[...] = np.random.default_rng(0).normal(size=params.size)
    save(path, params)
    bundle = load(path)
    assert (bundle.cell, list(bundle.params)) == (None, list(params))
    fresh = params.like()
    fresh.assign(bundle.params)
    np.testing.assert_array_equal(fresh.flat, params.flat)


def test_nan_is_kept_as_it_is(tmp_path: Path) -> None:
    layer = LSTM(2, 2)
    layer.params.flat[3] = np.nan
    save(tmp_path / "a", layer)
    np.testing.assert_array_equal(load(tmp_path / "a").layer().params.flat, layer.params.flat)


def test_a_users_own_cell_is_named(tmp_path: Path) -> None:
    layer = Recurrent(Own(), 2, 3)
    save(tmp_path / "a", layer)
    assert str(load(tmp_path / "a").cell).endswith("Own")
    np.testing.assert_array_equal(load(tmp_path / "a").layer(Own()).params.flat, layer.params.flat)


def test_every_truncation_is_refused(file: Path) -> None:
    data = file.read_bytes()
    for size in {0, 4, 8, 100, len(data) // 2, len(data) - 1}:
        file.write_bytes(data[:size])
        with pytest.raises(ValueError, match=r"lstm.safetensors: expected a whole safetensors file"):
            load(file)


@pytest.mark.parametrize("place", [0.0, 0.5, 0.999])
@pytest.mark.parametrize("bit", [1, 128])
def test_every_flipped_bit_is_refused(file: Path, place: float, bit: int) -> None:
    data = bytearray(file.read_bytes())
    start = 8 + int.from_bytes(data[:8], "little")
    data[start + int(place * (len(data) - start))] ^= bit
    file.write_bytes(data)
    with pytest.raises(ValueError, match=r"lstm.safetensors: the arrays do not match their sha256"):
        load(file)


def test_a_file_without_a_hash_is_read(file: Path) -> None:
    with safe_open(file, framework="numpy") as opened:
        meta = {key: value for key, value in opened.metadata().items() if key != "sha256"}
    save_file(load_file(file), file, meta)
    assert load(file).layer().layers == 2


def test_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no such file; rnncore.save writes one"):
        load(tmp_path / "none")
    save_file({"weight_ih_l0": np.zeros(3)}, tmp_path / "torch")
    with pytest.raises(ValueError, match=r"expected the format .* got None; .*from_pytorch"):
        load(tmp_path / "torch")


def test_a_header_that_lies_is_refused(file: Path) -> None:
    with safe_open(file, framework="numpy") as opened:
        meta = opened.metadata()
    tensors = load_file(file)
    save_file({name: a for name, a in tensors.items() if name != "layer1.b"}, file, meta)
    with pytest.raises(ValueError, match="the arrays are not those that its header lists"):
        load(file)
    header = json.loads(meta["header"]) | {"cell": "GRU"}
    save_file(tensors, file, {**meta, "header": json.dumps(header)})
    with pytest.raises(ValueError, match="weights of GRU: expected"):
        load(file)


def test_about_holds_json_alone(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="JSON"):
        save(tmp_path / "a", LSTM(2, 2), about={"x": object()})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("step", ["fsync", "replace", "chmod"])
def test_what_fails_leaves_the_old_file_and_nothing_else(
    file: Path, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = file.read_bytes()

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module.os, step, full)
    with pytest.raises(OSError, match=r"No space left on device: .*lstm.safetensors"):
        save(file, LSTM(2, 2))
    assert file.read_bytes() == before
    assert os.listdir(file.parent) == [file.name]


def test_the_file_is_an_ordinary_one(file: Path) -> None:
    (file.parent / "other").write_bytes(b"")
    assert file.stat().st_mode == (file.parent / "other").stat().st_mode


def test_a_bundle_keeps_what_it_was_about(file: Path) -> None:
    save(file, load(file), about={"epoch": 4})
    assert load(file).about == {"corpus": "Flickr8k", "epoch": 4}
    assert isinstance(load(file), Bundle)
