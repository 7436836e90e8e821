"""ONNX Runtime's sessions: on which device they compute, chosen openly, and how arrays get there and back."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

from encoders.errors import EncoderError

CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
PROVIDERS = {"cpu": (CPU,), "cuda": (CUDA,)}
_REMEDY = (
    "it needs an NVIDIA GPU and its own build of ONNX Runtime in place of the other: "
    "pip uninstall onnxruntime, then pip install 'onnxruntime-gpu[cuda,cudnn]>=1.26'; or take the device 'cpu'"
)


def providers_of(device: str) -> tuple[str, ...]:
    """Return ONNX Runtime's providers for a device by name, 'cpu' or 'cuda'.

    Raises
    ------
    EncoderError
        If there is no such device, or ONNX Runtime here was built without it.
    """
    if device not in PROVIDERS:
        raise EncoderError(f"expected the device 'cpu' or 'cuda', got {device!r}")
    if not set(PROVIDERS[device]) <= set(ort.get_available_providers()):
        raise EncoderError(f"ONNX Runtime here cannot use the device {device!r}; {_REMEDY}")
    return PROVIDERS[device]


def open_session(model: Path, providers: Sequence[str], threads: int) -> Any:
    """Return a session that asks these providers in this order; all must be there, and the first must start."""
    have = ort.get_available_providers()
    unknown = [provider for provider in providers if provider not in have]
    if unknown or not providers:
        raise EncoderError(f"ONNX Runtime here has no provider {unknown}; it has {', '.join(have)}")
    if CUDA in providers and hasattr(ort, "preload_dlls"):
        ort.preload_dlls()  # CUDA's libraries where they were installed as packages
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads  # 0: one a core
    options.log_severity_level = 3
    try:
        session = ort.InferenceSession(str(model), options, providers=list(providers))
    except Exception as error:  # onnxruntime raises its own kinds, which share only Exception
        raise EncoderError(f"{model}: ONNX Runtime cannot load it, truncated or damaged? ({error})") from error
    if refused := set(providers) - set(session.get_providers()):
        remedy = _REMEDY if CUDA in refused else "name another --provider"
        raise EncoderError(f"ONNX Runtime could not start {', '.join(refused)}; {remedy}")
    return session


def run_bound(session: Any, feed: dict[str, Any], outputs: Sequence[str], device: str) -> list[Any]:
    """Run a session whose outputs stay on a device, 'cpu' or 'cuda', and return them as `onnxruntime.OrtValue`.

    feed : by input, a NumPy array, which is copied to where the session computes; or an array on the GPU, of CuPy or
        PyTorch for instance (anything with `__cuda_array_interface__`, rows without gaps), which is read where it lies.
        What computes it must have finished.
    """
    binding = session.io_binding()
    for name, x in feed.items():
        if isinstance(x, np.ndarray):
            binding.bind_cpu_input(name, x)
        else:
            there = x.__cuda_array_interface__
            if there["typestr"] != "<f4" or there.get("strides") is not None:
                raise EncoderError(f"{name}: expected float32 on the GPU, rows without gaps, got {there['typestr']}")
            binding.bind_input(name, "cuda", 0, np.float32, there["shape"], there["data"][0])
    for name in outputs:
        binding.bind_output(name, device)
    binding.synchronize_inputs()
    session.run_with_iobinding(binding)
    binding.synchronize_outputs()
    return list(binding.get_outputs())
