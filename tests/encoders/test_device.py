"""Encoding on a GPU: chosen openly, refused with what to install; what goes there and what stays there."""

import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
from typer.testing import CliRunner

from encoders import Encoder, EncoderError, open_features, session
from encoders.cli import app
from encoders.session import CPU, CUDA, providers_of, run_bound
from tests.encoders.tiny import HOW, make_pictures, tiny_encoder


class CudaSession:
    """A session that says that it runs on CUDA and notes how it is bound; numbers come from a real one on the host."""

    def __init__(self, model: str, options: Any, providers: list[str]) -> None:
        self.real = ort_session(model, options, providers=[CPU])
        self.asked = providers
        self.bound: list[tuple[Any, ...]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)

    def get_providers(self) -> list[str]:
        return [*self.asked, CPU]

    def io_binding(self) -> Any:
        binding, noted = self.real.io_binding(), self.bound
        bind_input, bind_output = binding.bind_input, binding.bind_output

        def note_input(name: str, device: str, number: int, kind: Any, shape: tuple[int, ...], pointer: int) -> None:
            noted.append((name, device, number))
            bind_input(name, "cpu", number, kind, shape, pointer)

        def note_output(name: str, device: str) -> None:
            noted.append((name, device))
            bind_output(name, "cpu")

        binding.bind_input, binding.bind_output = note_input, note_output
        return binding


ort_session = ort.InferenceSession


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    """An ONNX Runtime with CUDA, as far as can be seen from outside."""
    monkeypatch.setattr(ort, "get_available_providers", lambda: [CUDA, CPU])
    monkeypatch.setattr(ort, "InferenceSession", CudaSession)
    monkeypatch.setattr(ort, "preload_dlls", lambda: None, raising=False)


class OnTheGpu:
    """An array as CuPy shows it to others."""

    def __init__(self, host: np.ndarray, strides: Any = None) -> None:
        self.host, self.shape = host, host.shape
        self.__cuda_array_interface__ = {
            "typestr": host.dtype.str, "shape": host.shape, "data": (host.ctypes.data, False), "strides": strides,
        }  # fmt: skip


def pictures(count: int = 3) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(count, *HOW.shape)).astype(np.float32)


def test_a_device_that_is_not_there_is_refused_with_what_to_install(tmp_path: Path) -> None:
    if CUDA in ort.get_available_providers():
        pytest.skip("here it is")
    with pytest.raises(EncoderError, match=r"cannot use the device 'cuda'; .*pip install 'onnxruntime-gpu"):
        providers_of("cuda")
    with pytest.raises(EncoderError, match="expected the device 'cpu' or 'cuda', got 'gpu'"):
        providers_of("gpu")
    tiny_encoder(tmp_path / "tiny.onnx")
    make_pictures(tmp_path / "p", 2)
    ended = encode(tmp_path, "--device", "cuda")
    assert isinstance(ended.exception, EncoderError)
    assert not (tmp_path / "s").exists()


def test_a_provider_that_does_not_start_is_refused_with_what_to_install(
    cuda: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny_encoder(tmp_path / "tiny.onnx")
    monkeypatch.setattr(CudaSession, "get_providers", lambda self: [CPU])  # as when cuDNN is not found
    with pytest.raises(EncoderError, match=r"could not start CUDAExecutionProvider; it needs .*onnxruntime-gpu"):
        Encoder(tmp_path / "tiny.onnx", device="cuda")


def test_what_to_install_is_at_least_what_the_package_needs() -> None:
    root = Path(__file__).parents[2]
    needed = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))["project"]["dependencies"]
    (least,) = (each.removeprefix("onnxruntime") for each in needed if each.startswith("onnxruntime"))
    words = f"pip install 'onnxruntime-gpu[cuda,cudnn]{least}'"
    assert words in session._REMEDY
    assert words in (root / "docs" / "gpu.md").read_text("utf-8")


@pytest.mark.parametrize("where", ["host", "device"])
def test_features_stay_on_the_device(cuda: None, tmp_path: Path, where: str) -> None:
    tiny_encoder(tmp_path / "tiny.onnx")
    encoder, x = Encoder(tmp_path / "tiny.onnx", outputs=("features", "grid"), device="cuda"), pictures()
    assert encoder.provider == CUDA
    found = encoder.encode_on_device(x if where == "host" else OnTheGpu(x))
    expected = Encoder(tmp_path / "tiny.onnx", outputs=("features", "grid")).encode_arrays(x)
    for name, value in found.items():
        np.testing.assert_array_equal(np.from_dlpack(value), expected[name])
    inputs = [("input", "cuda", 0)] if where == "device" else []
    assert encoder._session.bound == [*inputs, ("features", "cuda"), ("grid", "cuda")]


def test_on_the_host_they_are_handed_over_too(tmp_path: Path) -> None:
    tiny_encoder(tmp_path / "tiny.onnx")
    encoder, x = Encoder(tmp_path / "tiny.onnx"), pictures()
    (value,) = encoder.encode_on_device(x.astype(np.float64)).values()
    np.testing.assert_array_equal(np.from_dlpack(value), encoder.encode_arrays(x)["features"])
    with pytest.raises(EncoderError, match="expected prepared pictures of shape"):
        encoder.encode_on_device(x[:, :2])


@pytest.mark.parametrize("wrong", [OnTheGpu(np.ones((1, 3, 8, 8))), OnTheGpu(pictures(), strides=(4, 4, 4, 4))])
def test_arrays_on_the_gpu_that_it_would_misread_are_refused(cuda: None, tmp_path: Path, wrong: OnTheGpu) -> None:
    tiny_encoder(tmp_path / "tiny.onnx")
    encoder = Encoder(tmp_path / "tiny.onnx", device="cuda")
    with pytest.raises(EncoderError, match="input: expected float32 on the GPU, rows without gaps"):
        encoder.encode_on_device(wrong)


def test_nothing_is_bound_for_features_on_the_host(cuda: None, tmp_path: Path) -> None:
    tiny_encoder(tmp_path / "tiny.onnx")
    make_pictures(tmp_path / "p", 3)
    assert encode(tmp_path, "--device", "cuda", "--dtype", "float32").exit_code == 0
    record = (tmp_path / "s" / "run.json").read_text()
    assert '"provider": "CUDAExecutionProvider"' in record
    host = tmp_path / "host"
    host.mkdir()
    (tmp_path / "tiny.onnx").rename(host / "tiny.onnx")
    for beside in tmp_path.glob("tiny.*"):
        beside.rename(host / beside.name)
    (tmp_path / "p").rename(host / "p")
    assert encode(host, "--dtype", "float32").exit_code == 0
    names = open_features(host / "s").names
    np.testing.assert_array_equal(open_features(tmp_path / "s").rows(names), open_features(host / "s").rows(names))


def test_a_device_and_providers_are_not_given_together(cuda: None, tmp_path: Path) -> None:
    tiny_encoder(tmp_path / "tiny.onnx")
    assert encode(tmp_path, "--device", "cuda", "--provider", CPU).exit_code == 2


def test_sessions_are_bound_by_name(tmp_path: Path) -> None:
    tiny_encoder(tmp_path / "tiny.onnx")
    encoder, x = Encoder(tmp_path / "tiny.onnx", outputs=("features", "grid")), pictures()
    grid, features = run_bound(encoder._session, {"input": x}, ["grid", "features"], "cpu")
    assert (tuple(grid.shape()), tuple(features.shape())) == ((3, 5, 4, 4), (3, 5))


def encode(folder: Path, *options: str) -> Any:
    """Run the command over the pictures of a folder."""
    arguments = ["encode", folder / "p", "--model", folder / "tiny.onnx", "--store", folder / "s", "-q", *options]
    return CliRunner().invoke(app, [str(argument) for argument in arguments])
