"""The same tests on a GPU where there is one, and on its stand-in everywhere."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import pytest

from rnncore import packing
from rnncore.kernels import blas, launch, persistent
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
def gpu(request: pytest.FixtureRequest) -> Iterator[str]:
    """Makes `device="cuda"` work: on the card, or on the stand-in."""
    if request.param == "card":
        if missing := real_gpu():
            pytest.skip(missing)
        yield request.param
        return
    with installed():
        yield request.param


@pytest.fixture
def counted() -> Iterator[dict[str, int]]:
    """What the stand-in counted; there is no such count on a card."""
    with installed():
        yield stand_in.counts


@contextmanager
def installed() -> Iterator[None]:
    """The stand-in in CuPy's place, of which nothing is left afterwards, and before which nothing of a card is."""
    real_gpu()  # asked, and remembered, while CuPy is CuPy
    forget()
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "cupy", stand_in.module())
        patch.setattr(blas, "library", stand_in_cuda.Cublas)
        stand_in.counts.clear()
        yield
    forget()


def forget() -> None:
    """Empty what the library keeps for as long as it runs: functions and arrays of one device are no other's."""
    for kept in (launch.compiled, persistent.prepared, packing._dense, blas.handle):
        kept.cache_clear()


@pytest.fixture
def kernels(gpu: str) -> str:
    """As `gpu`, for what compiles kernels: the stand-in needs a C++ compiler for that."""
    if gpu == "stand-in" and host_compiler.compiler() is None:
        pytest.skip("no C++ compiler to run kernels on the processor")
    return gpu
