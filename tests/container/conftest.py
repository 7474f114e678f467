"""
Fixtures of the tests of the image, which need a container engine.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from tests.support.container import Container
from tests.support.engine import why_no_image


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """
    Mark the tests of this folder.
    """
    for item in items:
        if "/tests/container/" in str(item.path):
            item.add_marker("container")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """
    Print the measurements of the tests.
    """
    for report in terminalreporter.getreports("passed"):
        for name, value in report.user_properties:
            terminalreporter.write_line(f"{name}: {value}")


@pytest.fixture
def contain() -> Iterator[Callable[..., Container]]:
    """
    Start containers of the image: `contain("settings", options=("--read-only",), TTL="5s")`.
    """
    if why_no_image():
        pytest.skip(why_no_image())
    with ExitStack() as stack:
        yield lambda *words, **options: stack.enter_context(Container(*words, **options))


@pytest.fixture
def run_command(contain: Callable[..., Container]) -> Callable[..., tuple[int, list[str]]]:
    """
    Run one command of the image to its end; return the exit code and the output lines.
    """

    def run(*words: str, **options: Any) -> tuple[int, list[str]]:
        container = contain(*words, **options)
        return container.code(), container.lines

    return run
