"""The same tests on a GPU where there is one, and on its stand-in everywhere."""

import sys
from functools import cache

import pytest

from tests.gpu import stand_in


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
        monkeypatch.setitem(sys.modules, "cupy", stand_in.module())
    stand_in.counts.clear()
    return request.param


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """What the stand-in counted; there is no such count on a card."""
    monkeypatch.setitem(sys.modules, "cupy", stand_in.module())
    stand_in.counts.clear()
    return stand_in.counts
