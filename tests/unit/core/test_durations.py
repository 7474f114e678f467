"""
The grammar of TTL and DEADLINE.
"""

from contextlib import suppress
from email.utils import formatdate

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from supervisor.core import durations


@pytest.mark.parametrize(
    "text, seconds",
    [
        ("90", 90.0),
        ("90s", 90.0),
        (" 1.5h ", 5400.0),
        ("1h30m", 5400.0),
        ("7d", 604_800.0),
        ("10000d", 864_000_000.0),
        ("250ms", 0.25),
        ("2w", 1_209_600.0),
        ("0", 0.0),
    ],
)
def test_spans_are_read(text: str, seconds: float) -> None:
    """
    Numbers with units, and bare ones as seconds.
    """
    assert seconds == durations.parse_span(text)


@pytest.mark.parametrize(
    "text",
    ["", "soon", "-1", "1h 30m", "1x", "h", "1e9", "1_000", "٣s", "90\n0", "9" * 40, "nan", "inf"],
)
def test_what_is_no_span_is_refused(text: str) -> None:
    """
    A slip of the keyboard is told, never guessed at.
    """
    with pytest.raises(ValueError, match="expected a duration"):
        durations.parse_span(text)


@pytest.mark.parametrize("text", ["0", "never", "None", " OFF ", "0s", "0h"])
def test_no_limit_has_four_names(text: str) -> None:
    """
    A lifetime of nothing is a lifetime without limit.
    """
    assert durations.parse_ttl(text) is None


def test_a_lifetime_is_a_span() -> None:
    """
    Everything else is read as a span.
    """
    assert 5400.0 == durations.parse_ttl("1h30m")


@pytest.mark.parametrize(
    "text, epoch",
    [
        ("1800000000", 1.8e9),
        ("2027-01-15T08:00:00Z", 1.8e9),
        ("2027-01-15T09:00:00+01:00", 1.8e9),
        ("2027-01-15 08:00z", 1.8e9),
        ("2027-01-15T08:00:00.5Z", 1.8e9 + 0.5),
    ],
)
def test_instants_are_read(text: str, epoch: float) -> None:
    """
    RFC 3339 with its offset, or epoch seconds.
    """
    assert epoch == durations.parse_instant(text)


@pytest.mark.parametrize(
    "text",
    ["", "tomorrow", "2027-01-15T08:00:00", "2027-02-30T00:00:00Z", "0", "9" * 20, "2027-01-15"],
)
def test_what_is_no_instant_is_refused(text: str) -> None:
    """
    Without an offset the time zone would be a guess.
    """
    with pytest.raises(ValueError, match="expected a time"):
        durations.parse_instant(text)


@pytest.mark.parametrize(
    "seconds, text",
    [(0.25, "0.25s"), (4.0, "4s"), (5400.0, "1h30m"), (86_400.0, "1d"), (90_061.0, "1d1h1m1s")],
)
def test_spans_are_written_as_people_read_them(seconds: float, text: str) -> None:
    """
    The largest units first, and no zeros.
    """
    assert text == durations.format_span(seconds)


@given(st.integers(0, 10**9))
def test_what_is_written_can_be_read(seconds: int) -> None:
    """
    Writing and reading a span of whole seconds gives it back.
    """
    assert seconds == durations.parse_span(durations.format_span(seconds))


@given(st.integers(1, 253402300799))
def test_instants_too(epoch: int) -> None:
    """
    The same for instants.
    """
    assert epoch == durations.parse_instant(durations.format_instant(epoch))


@given(st.integers(0, 253402300799))
@example(951_782_400)
def test_dates_of_http_are_written_as_the_library_reads_them(epoch: int) -> None:
    """
    In the one form of RFC 9110, whatever the locale.
    """
    assert formatdate(epoch, usegmt=True) == durations.format_http_date(epoch)


@given(st.text(max_size=30))
def test_no_text_does_harm(text: str) -> None:
    """
    Whatever is given, the answer is a number or a ValueError.
    """
    for parse in (durations.parse_ttl, durations.parse_instant):
        with suppress(ValueError):
            parse(text)
