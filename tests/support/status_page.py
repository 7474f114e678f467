"""
The status page in the distribution's chromium, headless.

Playwright drives the browser; its own browsers are not installed.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Self

import pytest

from tests.support.checkout import CHECKOUT
from tests.support.waiting import eventually

# Before the imports, so that tests are skipped on machines where these fail.
pytest.importorskip("playwright", reason="no playwright for this machine")
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import (
    Browser,
    ConsoleMessage,
    Locator,
    Page,
    sync_playwright,
)

#: No sandbox, because a test may run as root; and no connections except to the tests.
_ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
)

#: The folder of screenshots; without it none are written.
SCREENSHOTS = os.environ.get("SCREENSHOTS", "")

#: The rules that axe-core checks.
_RULES = ("wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice")

#: The browser's own message when the server is gone, which some tests cause.
_NETWORK = "Failed to load resource"


def find_chromium() -> str:
    """
    Return the path of the browser, or an empty string; CHROMIUM sets it.
    """
    names = (os.environ.get("CHROMIUM", ""), "chromium", "chromium-browser", "google-chrome")
    return next((path for name in names if name and (path := shutil.which(name))), "")


def why_no_chromium() -> str:
    """
    Return why no page can be shown on this machine, or an empty string.
    """
    return "" if find_chromium() else "no chromium: apt-get install chromium"


@contextmanager
def chromium() -> Iterator[Browser]:
    """
    Start the browser, with an empty profile.
    """
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=find_chromium(), args=[*_ARGUMENTS], chromium_sandbox=False
        )
        try:
            yield browser
        finally:
            browser.close()


class StatusPage:
    """
    The status page in its own browser window; errors of the page are in `problems`.
    """

    def __init__(self, browser: Browser, port: int, script: str = "", **options: Any) -> None:
        options = {"viewport": {"width": 1280, "height": 900}, "timezone_id": "UTC", **options}
        self.context = browser.new_context(**options)
        self.problems: list[str] = []
        self.page: Page = self.context.new_page()
        self.page.set_default_timeout(10_000)
        self.page.on("pageerror", lambda error: self.problems.append(str(error)))
        self.page.on("console", self._on_console)
        self.page.on("dialog", lambda dialog: self.problems.append(f"dialog {dialog.message}"))
        if script:
            self.page.add_init_script(script)
        self._address = f"http://127.0.0.1:{port}/"

    def open(self) -> Self:
        """
        Load the page and wait until it shows the first status.
        """
        self.page.goto(self._address)
        self.page.locator("#columns").wait_for(state="visible")
        return self

    def close(self) -> None:
        """
        Close the window.
        """
        self.context.close()

    def __getitem__(self, name: str) -> Locator:
        return self.page.locator(f"#{name}")

    def text(self, name: str) -> str:
        """
        Return the text of an element, or an empty string if it is hidden.
        """
        found = self[name]
        return found.inner_text() if found.is_visible() else ""

    def wait_for_text(self, name: str, words: str, within: float = 10.0) -> str:
        """
        Wait until an element contains this text, and return the whole text.
        """
        return eventually(
            lambda: (found := self.text(name)) if words in self.text(name) else "",
            within,
            0.05,
            f"{words!r} in #{name}",
        )

    def status(self, answer: str) -> None:
        """
        Answer each request for the status with this JSON from now on.
        """
        self.page.unroute("**/status")
        kind = "application/json"
        self.page.route("**/status", lambda route: route.fulfill(body=answer, content_type=kind))

    def accessibility_violations(self) -> list[str]:
        """
        Return the accessibility violations that axe-core finds, one line per element.
        """
        found = Axe().run(self.page, options={"runOnly": list(_RULES)}).response
        assert len(found["passes"]) > 20
        return [
            f"{violation['id']}: {node['target']} {node['failureSummary']}"
            for violation in found["violations"]
            for node in violation["nodes"]
        ]

    def screenshot_to(self, name: str) -> None:
        """
        Write a screenshot of the whole page, if SCREENSHOTS is set.
        """
        if SCREENSHOTS:
            folder = CHECKOUT / SCREENSHOTS
            folder.mkdir(exist_ok=True)
            path = folder / f"{name}.png"
            self.page.screenshot(path=path, full_page=True, animations="disabled")

    def _on_console(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"} and not message.text.startswith(_NETWORK):
            self.problems.append(message.text)


def seconds(text: str) -> int:
    """
    Return the seconds of a countdown such as `2:14:03`, without days.
    """
    total = 0
    for part in text.split(":"):
        total = total * 60 + int(part)
    return total
