"""Fixtures that every test may use."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from threadpoolctl import threadpool_limits

from tests.browser import browser, open_page

__all__ = ["browser", "open_page"]

# A job in the background of a shell ignores Ctrl-C, and so would every process that tests start and interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)

ROOT = Path(__file__).resolve().parent.parent


def find_data() -> Path | None:
    """The folder of the real data: CAPTIONING_DATA, or shared/data beside the checkout."""
    named = os.environ.get("CAPTIONING_DATA")
    folder = Path(named) if named else ROOT.parent / "shared" / "data"
    return folder if (folder / "flickr8k" / "Flickr8k.token.txt").is_file() else None


@pytest.fixture(scope="module")
def two_threads() -> Iterator[None]:
    """Let NumPy and fused kernels work on two threads, though each process of the tests may have been given one."""
    with threadpool_limits(2):
        yield


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The real Flickr8k data, GloVe rows and Inception model; skips where they are missing."""
    folder = find_data()
    if folder is None:
        pytest.skip("the real data is not here: set CAPTIONING_DATA to its folder")
    return folder
