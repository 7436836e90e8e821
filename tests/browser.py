"""A headless Chromium for tests of pages: Debian's, driven by playwright; without either such tests are skipped."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from typing import Any

import pytest

#: Opens an address or a file and returns playwright's page, whose `problems` and `asked` are filled as it runs.
Open = Callable[..., Any]


def find_chromium() -> str | None:
    """Return the program: CHROMIUM, or the first of the usual names that is on the path."""
    names = ("chromium", "chromium-browser", "google-chrome", "chrome")
    return os.environ.get("CHROMIUM") or next((path for name in names if (path := shutil.which(name))), None)


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """One browser for all tests."""
    api = pytest.importorskip("playwright.sync_api", reason="pages are tested with playwright: pip install -e '.[dev]'")
    program = find_chromium()
    if program is None:
        pytest.skip("pages are tested in Chromium, which is not here: apt-get install chromium, or set CHROMIUM")
    with api.sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-gpu"])
        yield found
        found.close()


@pytest.fixture
def open_page(browser: Any) -> Iterator[Open]:
    """A function (address, width=1280, height=900, dark=False) that returns an open page.

    `page.problems` holds errors of its script and of its console; `page.asked` every address it loaded from.
    """
    contexts = []

    def opened(address: str, width: int = 1280, height: int = 900, dark: bool = False) -> Any:
        scheme = "dark" if dark else "light"
        context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
        contexts.append(context)
        page = context.new_page()
        page.problems, page.asked = [], []
        page.on("pageerror", lambda error: page.problems.append(str(error)))
        page.on("console", lambda line: page.problems.append(line.text) if line.type == "error" else None)
        page.on("request", lambda request: page.asked.append(request.url))
        page.goto(address)
        return page

    yield opened
    for context in contexts:
        context.close()
