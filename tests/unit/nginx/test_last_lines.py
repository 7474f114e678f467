"""
Which of nginx's lines give the reason of an exit.
"""

import pytest

from supervisor.nginx.last_lines import LastLines

MASTER, WORKER = 7, 8
REFUSED = '*3 connect() failed (111: Connection refused), client: 10.0.0.9, request: "GET /?key=x"'
BIND = "bind() to 0.0.0.0:8080 failed (98: Address already in use)"


def reason(*lines: tuple[float, int | None, str | None, str], at: float = 100.0) -> str:
    """
    Return the reason of the master's exit at this time, with 10 s for its own lines.
    """
    last = LastLines(10.0)
    for line in lines:
        last.add(*line)
    found = last.take_reason(MASTER, at)
    assert "" == last.take_reason(MASTER, at)
    return found


@pytest.mark.parametrize(
    "line",
    [
        (99.9, WORKER, "error", REFUSED),
        (99.9, MASTER, "error", REFUSED),
        (99.9, WORKER, "alert", "open socket #3 left in connection 5"),
        (99.9, WORKER, "error", 'send() failed, client: 10.0.0.9, server: , request: "GET /"'),
        (99.9, MASTER, "alert", "worker process 8 exited on signal 9"),
        (99.9, MASTER, "warn", "conflicting server name"),
        (99.9, None, None, ""),
        (99.9, MASTER, "emerg", "still could not bind()"),
        (89.0, MASTER, "emerg", BIND),
        (96.0, None, None, "text of a long time ago"),
    ],
)
def test_a_line_about_something_else_is_no_reason(line: tuple[float, int, str, str]) -> None:
    """
    A request, a worker, a warning, another process, or an earlier time.
    """
    assert "" == reason(line)


@pytest.mark.parametrize(
    "text", [BIND, "worker process 8 exited with fatal code 2 and cannot be respawned"]
)
def test_an_error_of_the_master_itself_is_the_reason(text: str) -> None:
    """
    The last one, although lines about requests follow.
    """
    assert text == reason(
        (92.0, MASTER, "emerg", "an earlier one"),
        (92.1, MASTER, "emerg", text),
        (92.2, MASTER, "emerg", "still could not bind()"),
        (99.9, WORKER, "error", REFUSED),
        (99.9, None, None, "a line without a format"),
    )


def test_the_last_words_of_a_library_are_the_reason() -> None:
    """
    They do not have nginx's format: a line of the last seconds counts.
    """
    assert "double free or corruption" == reason(
        (99.8, None, None, "an earlier one"),
        (99.9, None, None, "double free or corruption"),
        (99.9, WORKER, "error", REFUSED),
    )


def test_many_lines_about_requests_do_not_hide_the_reason() -> None:
    """
    Nor does their number cost memory.
    """
    lines = [(99.0, WORKER, "error", f"*{n}{REFUSED[2:]}") for n in range(1000)]

    assert BIND == reason((98.0, MASTER, "emerg", BIND), *lines)
