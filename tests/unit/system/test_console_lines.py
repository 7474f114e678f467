"""
Log lines for a person.
"""

import re

import pytest

from supervisor.system.console_lines import console_line, wants_colours


def line(*, colours: bool = False, **fields: object) -> str:
    """
    Return a line with these fields.
    """
    head = {"time": "2026-12-01T00:38:10.123Z", "level": "warning", "event": "reload.failed"}
    return console_line({**head, **fields}, colours=colours)


def value(given: object) -> str:
    """
    Return how a value is written.
    """
    return line(it=given).partition(" it=")[2]


def test_the_time_comes_first() -> None:
    """
    Then level and event, in columns, and the fields in their order.
    """
    assert "2026-12-01 00:38:10.123Z warning reload.failed     endpoints=3 why=first" == line(
        endpoints=3, why="first"
    )
    assert "2026-12-01 00:38:10.123Z warning reload.failed" == line()


@pytest.mark.parametrize(
    "given, written",
    [
        (86399.999, "23h59m59s"),
        (0.111, "111ms"),
        (4.2, "4.2s"),
        (0.0, "0s"),
        (-90.0, "-1m30s"),
        (float("inf"), "inf"),
        (True, "yes"),
        (False, "no"),
        (58231, "58231"),
        ("10.0.0.1:80", "10.0.0.1:80"),
        ("", '""'),
        ("two words", '"two words"'),
        ("a=b", '"a=b"'),
        ('say "x" \\', '"say \\"x\\" \\\\"'),
        (["one", "two"], "one,two"),
        (("one", 2), "one,2"),
        (frozenset({"b"}), "b"),
        ("Zürich", "Zürich"),
    ],
)
def test_values_are_written_as_people_write_them(given: object, written: str) -> None:
    """
    Spans with units, yes and no, lists with commas, and quotes only where they are needed.
    """
    assert written == value(given)


@pytest.mark.parametrize("hostile", ["a\nb", "\x1b[2J", "\x9b31m", "\u202egnp.exe", "\u2028", "\r"])
def test_text_controls_no_terminal(hostile: str) -> None:
    """
    In a value, an event or a traceback: no line break, no escape sequence, no reversed text.
    """
    for text in (
        value(hostile),
        value([hostile]),
        line(traceback=f"one {hostile[1:]}"),
        line(event=hostile),
    ):
        assert hostile not in text
        assert all(each.isprintable() for part in text.split("\n") for each in part)
    assert 1 == len(value(hostile).splitlines())


def test_a_traceback_keeps_its_lines() -> None:
    """
    Each is indented, so that none looks like a line of the log.
    """
    first, *others = line(
        reason="KeyError: 'x'", traceback="Traceback\n  File 1\nKeyError\n"
    ).split("\n")

    assert first.endswith("""reason="KeyError: 'x'\"""")
    assert ["    | Traceback", "    |   File 1", "    | KeyError"] == others


def test_colours_only_repeat_what_the_text_shows() -> None:
    """
    Without them the line is the same.
    """
    coloured = line(colours=True, endpoints=3)

    assert "\x1b[33mwarning\x1b[0m" in coloured
    assert line(endpoints=3) == re.sub(r"\x1b\[[0-9;]*m", "", coloured)


@pytest.mark.parametrize(
    "environ, is_terminal, expected",
    [
        ({}, True, True),
        ({"TERM": "xterm"}, True, True),
        ({"NO_COLOR": ""}, True, True),
        ({"NO_COLOR": "1"}, True, False),
        ({"TERM": "dumb"}, True, False),
        ({}, False, False),
    ],
)
def test_when_lines_are_coloured(
    environ: dict[str, str],
    *,
    is_terminal: bool,
    expected: bool,
) -> None:
    """
    On a terminal that can, unless NO_COLOR has a value.
    """
    assert expected is wants_colours(environ, is_terminal=is_terminal)
