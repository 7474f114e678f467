"""
Tests of parsing and formatting durations and instants.
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
def test_spans_are_parsed(text: str, seconds: float) -> None:
    """
    A span is a sequence of numbers with units, or a bare number of seconds.
    """
    assert seconds == durations.parse_span(text)


@pytest.mark.parametrize(
    "text",
    ["", "soon", "-1", "1h 30m", "1x", "h", "1e9", "1_000", "٣s", "90\n0", "9" * 40, "nan", "inf"],
)
def test_an_invalid_span_is_refused(text: str) -> None:
    """
    A typing error raises ValueError with the expected form.
    """
    with pytest.raises(ValueError, match="expected a duration"):
        durations.parse_span(text)


@pytest.mark.parametrize("text", ["0", "never", "None", " OFF ", "0s", "0h"])
def test_no_limit_can_be_written_in_several_ways(text: str) -> None:
    """
    A lifetime of zero is no limit.
    """
    assert durations.parse_ttl(text) is None


def test_a_lifetime_is_a_span() -> None:
    """
    Any other TTL is parsed as a span.
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
def test_instants_are_parsed(text: str, epoch: float) -> None:
    """
    An instant is RFC 3339 with an offset, or epoch seconds.
    """
    assert epoch == durations.parse_instant(text)


@pytest.mark.parametrize(
    "text",
    ["", "tomorrow", "2027-01-15T08:00:00", "2027-02-30T00:00:00Z", "0", "9" * 20, "2027-01-15"],
)
def test_an_invalid_instant_is_refused(text: str) -> None:
    """
    A time without an offset is refused too, because its time zone is ambiguous.
    """
    with pytest.raises(ValueError, match="expected a time"):
        durations.parse_instant(text)


@pytest.mark.parametrize(
    "seconds, text",
    [(0.25, "0.25s"), (4.0, "4s"), (5400.0, "1h30m"), (86_400.0, "1d"), (90_061.0, "1d1h1m1s")],
)
def test_spans_are_formatted_with_the_largest_units(seconds: float, text: str) -> None:
    """
    The largest unit comes first, and zero units are left out.
    """
    assert text == durations.format_span(seconds)


@given(st.integers(0, 10**9))
def test_a_formatted_span_parses_to_the_same_value(seconds: int) -> None:
    """
    Formatting and parsing a span of whole seconds returns the same span.
    """
    assert seconds == durations.parse_span(durations.format_span(seconds))


@given(st.integers(1, 253402300799))
def test_a_formatted_instant_parses_to_the_same_value(epoch: int) -> None:
    """
    Formatting and parsing an instant in whole seconds returns the same instant.
    """
    assert epoch == durations.parse_instant(durations.format_instant(epoch))


@given(st.integers(0, 253402300799))
@example(951_782_400)
def test_http_dates_match_the_standard_library(epoch: int) -> None:
    """
    The format is that of RFC 9110, independent of the locale.
    """
    assert formatdate(epoch, usegmt=True) == durations.format_http_date(epoch)


@given(st.text(max_size=30))
def test_any_text_yields_a_number_or_a_value_error(text: str) -> None:
    """
    No other exception is raised for any text.
    """
    for parse in (durations.parse_ttl, durations.parse_instant):
        with suppress(ValueError):
            parse(text)
