"""A page of a real browser: the Chromium that is installed, without a window and without a network beyond this machine."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

# a name that is given must lead to one: where CHROMIUM is set, nothing is left out
CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
WITHOUT = pytest.mark.skip(reason="no Chromium is installed (or name one in the variable CHROMIUM)")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything here wants a browser."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.browser)
            if CHROMIUM is None:
                item.add_marker(WITHOUT)


@pytest.fixture(scope="session")
def _browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        # no sandbox: as root, as in a container, Chromium has none
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def page(_browser: Browser) -> Iterator[Page]:
    """An empty page of 1280 × 800; the test fails where a page that it opened raised an error or asked the network."""
    context = _browser.new_context(viewport={"width": 1280, "height": 800})
    context.set_default_timeout(20_000)
    page = context.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    outside = lambda url: not url.startswith(("file:", "data:", "blob:", "http://127.0.0.1:", "http://localhost:"))  # noqa: E731
    page.on("request", lambda request: errors.append(f"asked for {request.url}") if outside(request.url) else None)
    yield page
    context.close()
    assert errors == []
