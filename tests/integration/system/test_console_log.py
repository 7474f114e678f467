"""
The log of a real run for a person.
"""

import re

import pytest

from tests.support.launched import Stdout
from tests.support.supervised import Supervised
from tests.support.waiting import eventually

HEAD = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}Z info    supervisor.started "


@pytest.mark.parametrize(
    "stdout, settings, is_coloured",
    [
        ("tty", {"LOG_FORMAT": ""}, True),
        ("tty", {"LOG_FORMAT": "console", "NO_COLOR": "1"}, False),
        ("read", {"LOG_FORMAT": "console"}, False),
    ],
)
def test_the_console_log(stdout: Stdout, settings: dict[str, str], *, is_coloured: bool) -> None:
    """
    The time is first, a terminal has colours unless NO_COLOR is set, and a pipe has none.
    """
    with Supervised(pid1=False, stdout=stdout, TTL="5h", TERM="xterm", **settings) as subject:
        lines = subject.run.output.plain
        eventually(lambda: any("deadline.set" in line for line in lines), what="a line")
        started = next(line for line in lines if "supervisor.started" in line)
        deadline = next(line for line in lines if "deadline.set" in line)

    assert is_coloured == ("\x1b[" in started)
    assert re.match(HEAD, re.sub(r"\x1b\[[0-9;]*m", "", started))
    assert re.search(r"remaining=(\x1b\[0m)?(5h|4h59m5\d)", deadline)
