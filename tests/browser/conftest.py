"""
One browser for all browser tests, and a window for each.
"""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:  # if it cannot be imported, the tests are skipped but this file is loaded
    from playwright.sync_api import Browser

    from tests.support.status_page import StatusPage


@pytest.fixture(scope="session")
def browser() -> "Iterator[Browser]":
    """
    The browser, started once; without one, tests that need it are skipped.
    """
    from tests.support.status_page import chromium, why_no_chromium  # noqa: PLC0415 - see above

    if why_no_chromium():
        pytest.skip(why_no_chromium())
    with chromium() as started:
        yield started


@pytest.fixture
def show(browser: "Browser") -> "Iterator[Callable[..., StatusPage]]":
    """
    Open a window on a port: `show(port, color_scheme="dark")`; a script error in it fails the test.
    """
    from tests.support.status_page import StatusPage  # noqa: PLC0415 - see above

    windows: list[StatusPage] = []

    def make(port: int, **options: Any) -> StatusPage:
        window = StatusPage(browser, port, **options)
        windows.append(window)
        return window

    yield make
    errors = [error for window in windows for error in window.problems]
    for window in windows:
        window.close()
    assert [] == errors
