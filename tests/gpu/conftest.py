"""The same tests on a GPU where there is one, and on its stand-in everywhere."""

import sys
from functools import cache

import pytest

from rnncore.kernels import blas, launch
from tests.gpu import host_compiler, stand_in, stand_in_cuda


@cache
def real_gpu() -> str:
    """Say why CuPy cannot be used here, or nothing."""
    try:
        import cupy

        cupy.cuda.runtime.getDeviceCount()
    except Exception as error:
        return f"no GPU through CuPy: {error}"
    return ""


@pytest.fixture(params=["stand-in", pytest.param("card", marks=pytest.mark.gpu)])
def gpu(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Makes `device="cuda"` work: on the card, or on the stand-in."""
    if request.param == "card":
        if missing := real_gpu():
            pytest.skip(missing)
    else:
        install(monkeypatch)
    return request.param


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """What the stand-in counted; there is no such count on a card."""
    install(monkeypatch)
    return stand_in.counts


def install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put the stand-in in CuPy's place."""
    monkeypatch.setitem(sys.modules, "cupy", stand_in.module())
    monkeypatch.setattr(blas, "library", stand_in_cuda.Cublas)
    launch.compiled.cache_clear()
    stand_in.counts.clear()


@pytest.fixture
def kernels(gpu: str) -> str:
    """As `gpu`, for what compiles kernels: the stand-in needs a C++ compiler for that."""
    if gpu == "stand-in" and host_compiler.compiler() is None:
        pytest.skip("no C++ compiler to run kernels on the processor")
    return gpu
