"""Chromium for tests, and pages that are watched: what they fetch, what they say, what goes wrong in them."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome")
PHONE = {"width": 390, "height": 844}
LAPTOP = {"width": 1280, "height": 850}


@contextmanager
def chromium() -> Iterator[Any]:
    """A headless browser; where there is none the test is skipped, or fails if SRPO_BROWSER_TESTS is "required"."""
    api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed: pip install playwright")
    path = next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        give_up = pytest.fail if os.environ.get("SRPO_BROWSER_TESTS") == "required" else pytest.skip
        give_up("no Chromium on this machine: make chromium, or apt-get install chromium")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


class Watched:
    """One page of a context of its own, and what happened in it.

    Attributes:
        page: Playwright's page.
        requests: addresses that it asked for, its own file left out.
        refused: requests that failed: address -> reason.
        said: console messages, errors, dialogs, new windows.
    """

    def __init__(self, browser: Any, *, viewport: dict[str, int] | None = None, scheme: str = "light") -> None:
        self.context = browser.new_context(viewport=viewport or LAPTOP, color_scheme=scheme)
        self.page = self.context.new_page()
        self.requests: list[str] = []
        self.refused: dict[str, str] = {}
        self.said: list[str] = []
        self.page.on("request", self._asked)
        self.page.on("requestfailed", lambda request: self.refused.update({request.url: request.failure}))
        self.page.on("console", lambda message: self.said.append(f"console: {message.text}"))
        self.page.on("pageerror", lambda error: self.said.append(f"error: {error}"))
        self.page.on("dialog", self._interrupted)
        self.page.on("popup", lambda popup: self.said.append(f"window: {popup.url}"))

    def open(self, file: Path, **state: Any) -> Any:
        """Open a report in a state; waits until its script is done."""
        address = "&".join(f"{name}={value}" for name, value in state.items())
        self.page.goto("about:blank")
        self.page.goto(f"{file.as_uri()}#{address}")
        self.page.wait_for_selector("#nav a[aria-current]")
        self.page.wait_for_selector("main [aria-busy]", state="detached")
        return self.page

    def check(self) -> None:
        """Nothing was fetched, said or gone wrong."""
        assert self.said == []
        assert self.requests == []

    def close(self) -> None:
        self.context.close()

    def _asked(self, request: Any) -> None:
        if not (request.is_navigation_request() and request.url.startswith(("file:", "about:"))) and not (
            request.url.startswith("data:")
        ):
            self.requests.append(request.url)

    def _interrupted(self, dialog: Any) -> None:
        self.said.append(f"dialog: {dialog.message}")
        dialog.dismiss()


def overflow(page: Any) -> float:
    """Pixels by which the page is wider than its window."""
    return page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
