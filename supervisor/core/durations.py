"""
Parse and format durations and instants, such as those of TTL and DEADLINE.

Standard library only, no import of this package and Python 3.9: it ships with `cli/exec` as a
single file for the images of replicas.
"""

from __future__ import annotations

import math
import re
from datetime import datetime, timezone

NEVER = frozenset({"0", "never", "none", "off"})

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|[smhdw])")
_NUMBER = re.compile(r"[0-9]+(?:\.[0-9]+)?")
_RFC3339 = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})[Tt ]([0-9]{2}:[0-9]{2})(?:(:[0-9]{2})(\.[0-9]{1,6})?)?"
    r"(?:[Zz]|([+-][0-9]{2}:[0-9]{2}))"
)

# strftime would use the names of the locale.
_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")

#: A thousand years; a longer duration is a typing error.
LONGEST = 1000 * 365.25 * 86400


def parse_span(text: str) -> float:
    """
    Parse a span such as `90`, `90s`, `1.5h`, `1h30m` or `7d`, and return its seconds.

    A bare number means seconds.  Raises ValueError with the expected form.
    """
    text = text.strip()
    if _NUMBER.fullmatch(text):
        seconds = float(text)
    else:
        parts = _PART.findall(text)
        if not parts or "".join(number + unit for number, unit in parts) != text:
            raise ValueError("expected a duration such as 90, 1.5h or 1h30m")
        seconds = sum(float(number) * _UNITS[unit] for number, unit in parts)
    if not math.isfinite(seconds) or seconds > LONGEST:
        raise ValueError("expected a duration of at most 1000 years")
    return seconds


def parse_ttl(text: str) -> float | None:
    """
    Parse a lifetime: return its seconds, or None for `0`, `never`, `none` and `off`.
    """
    if text.strip().lower() in NEVER:
        return None
    return parse_span(text) or None


def parse_instant(text: str) -> float:
    """
    Parse an instant, RFC 3339 with its offset or epoch seconds, and return epoch seconds.

    A time without an offset is refused: a wrong time zone could end a service an hour early.
    Raises ValueError with the expected form.
    """
    text = text.strip()
    matched = _RFC3339.fullmatch(text)
    if _NUMBER.fullmatch(text):
        instant = float(text)
    elif matched:
        day, minute, second, fraction, offset = matched.groups()
        # Before 3.11 Python parses no Z, and only fractions of three or six digits.
        clean = f"{day}T{minute}{second or ':00'}{fraction or '.':0<7}{offset or '+00:00'}"
        try:
            instant = datetime.fromisoformat(clean).timestamp()
        except (ValueError, OverflowError) as error:
            raise ValueError(f"expected a time that exists ({error})") from None
    else:
        raise ValueError("expected a time such as 2027-01-31T18:00:00Z or epoch seconds")
    if not 0 < instant < 253402300800:
        raise ValueError("expected a time between 1970 and 9999")
    return instant


def format_span(seconds: float) -> str:
    """
    Format a span of seconds: `1d2h`, `1h30m`, `4.2s`.
    """
    if seconds < 60:
        return f"{seconds:.3g}s"
    whole, text = int(seconds), ""
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        count, whole = divmod(whole, size)
        if count:
            text += f"{count}{unit}"
    return text


def format_instant(epoch: float) -> str:
    """
    Format an instant as RFC 3339 in UTC, to the second.
    """
    return datetime.fromtimestamp(epoch, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def format_moment(epoch: float) -> str:
    """
    Format an instant for the log: RFC 3339 in UTC, to the millisecond.
    """
    moment = datetime.fromtimestamp(epoch, timezone.utc)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03d}Z"


def format_http_date(epoch: float) -> str:
    """
    Format an instant for an HTTP header: `Tue, 24 Nov 2026 02:00:00 GMT`.
    """
    at = datetime.fromtimestamp(epoch, timezone.utc)
    return f"{_DAYS[at.weekday()]}, {at:%d} {_MONTHS[at.month - 1]} {at:%Y %H:%M:%S} GMT"
