"""
The commands that the documentation shows for the image.
"""

import shlex
from collections.abc import Callable

import pytest

from tests.support.checkout import CHECKOUT
from tests.support.container import Container
from tests.support.engine import run_engine

Contain = Callable[..., Container]


def documented_options(page: str) -> list[str]:
    """
    Return the options of the page's `docker run` from `--read-only` on, without the image.
    """
    text = (CHECKOUT / page).read_text().replace("\\\n", "")
    (line,) = [
        each for each in text.splitlines() if "docker run " in each and "--read-only" in each
    ]
    words = shlex.split(line)
    return words[words.index("--read-only") : -1]


@pytest.mark.parametrize("page", ["README.md", "docs/image.md"])
def test_the_documented_options_keep_the_deadline(contain: Contain, page: str) -> None:
    """
    With them the deadline is saved, and a restart of the container keeps an extended one.
    """
    container = contain(options=tuple(documented_options(page)), TTL="2h")
    container.answers()
    moved = container.inside("autoexit-nginx", "extend", "1h")
    run_engine("restart", container.name)
    container.answers()

    assert [] == container.log_lines("state.not_saved")
    assert "the deadline is now" in moved
    first, second = container.log_lines("deadline.set")
    assert first["deadline"] != second["deadline"]
    assert second["deadline"] in moved
