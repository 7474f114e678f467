"""
One browser for all tests of this tier, and a window for each.
"""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:  # where it cannot be imported, the tests are skipped and this file is not
    from playwright.sync_api import Browser

    from tests.support.chromium import Shown


@pytest.fixture(scope="session")
def browser() -> "Iterator[Browser]":
    """
    The browser, started once; where there is none, whoever needs it is skipped.
    """
    from tests.support.chromium import chromium, why_no_chromium  # noqa: PLC0415 - see above

    if why_no_chromium():
        pytest.skip(why_no_chromium())
    with chromium() as started:
        yield started


@pytest.fixture
def show(browser: "Browser") -> "Iterator[Callable[..., Shown]]":
    """
    Make a window for a port: `show(port, color_scheme="dark")`; no script may fail in it.
    """
    from tests.support.chromium import Shown  # noqa: PLC0415 - see above

    windows: list[Shown] = []

    def make(port: int, **options: Any) -> Shown:
        window = Shown(browser, port, **options)
        windows.append(window)
        return window

    yield make
    troubles = [trouble for window in windows for trouble in window.troubles]
    for window in windows:
        window.close()
    assert [] == troubles
