"""
Variables and values that are valid and probably not meant: misspelt settings, contradicting times.
"""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import fields

from supervisor.core import durations
from supervisor.core.config.settings import Settings
from supervisor.core.durations import format_span

#: The similarity from which an unknown variable counts as a misspelt setting.
_MIN_SIMILARITY = 0.85

#: A name is also similar to a setting this short by a single typing error, if its value is a span.
_SHORT = 4

#: Time limits of some seconds; a number from here on is probably meant in milliseconds.
_SHORT_LIMITS = (
    "CONNECT_TIMEOUT",
    "HEALTH_INTERVAL",
    "HEALTH_TIMEOUT",
    "RELOAD_INTERVAL",
    "RELOAD_QUIET",
    "START_WAIT",
    "VERIFY_TIMEOUT",
)
_LONG_LIMIT = 250

#: A variable that a job file or a shell should have replaced.
_VARIABLE = re.compile(r"\$\{[A-Za-z_][A-Za-z0-9_.]{0,99}\}")

#: A TTL without a unit is in seconds; one below this is probably meant in minutes or hours.
_SHORT_TTL = 60.0


def suspects(environ: Mapping[str, str]) -> list[tuple[str, str]]:
    """
    Find variables that are probably misspelt settings, as (variable, setting).
    """
    settings = [item.name.upper() for item in fields(Settings) if item.metadata]
    known = [*settings, "DURATION"]
    found = []
    for name, value in sorted(environ.items()):
        if name in known or name.startswith("NOMAD_"):
            continue
        written = name.upper()
        similar = [each for each in known if _max_similarity(written, each) >= _MIN_SIMILARITY]
        meant = _closest(written, similar) or [
            each
            for each in known
            if len(each) <= _SHORT and _is_one_typing_error(written, each) and _is_span(value)
        ]
        found += [(_printable(name), setting) for setting in meant]
    return found


def hints(environ: Mapping[str, str], settings: Settings) -> list[tuple[str, str]]:
    """
    Return what is probably not meant in valid settings, as (variable, hint).
    """
    found = [(name, f"did you mean {meant}?") for name, meant in suspects(environ)]
    found += _literals(environ)
    found += _milliseconds(environ)
    found += _idle_hints(environ, settings)
    ttl, limit = settings.ttl, settings.max_ttl
    if settings.deadline is not None:
        return found
    given = {name: environ[name].strip() for name in ("TTL", "DURATION") if name in environ}
    if ttl is not None and ttl < _SHORT_TTL:
        found += [
            (name, f"{value} without a unit means {format_span(ttl)}; did you mean {value}h?")
            for name, value in given.items()
            if value.replace(".", "", 1).isdigit()
        ]
    if ttl is not None and limit is not None and limit < ttl:
        lifetime = f"the lifetime (TTL) of {format_span(ttl)}"
        hint = f"{format_span(limit)} is less than {lifetime}: `extend` can never move the deadline"
        found.append(("MAX_TTL", hint))
    return found


def why_literal(value: str) -> str:
    """
    Return why a value is probably not meant literally: quotes around it, or an unreplaced variable.
    """
    text = value.strip()
    if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'":
        return "the quotes are part of the value: remove them (`docker run --env-file` keeps them)"
    if _VARIABLE.search(text):
        return (
            f"{_VARIABLE.findall(text)[0]} was not replaced: Nomad replaces only its own variables,"
            " such as ${NOMAD_PORT_http} or ${meta.name}, and Docker none"
        )
    return ""


def _literals(environ: Mapping[str, str]) -> list[tuple[str, str]]:
    names = [item.name.upper() for item in fields(Settings) if item.metadata]
    return [
        (name, literal)
        for name in names
        if name in environ and (literal := why_literal(environ[name]))
    ]


def _milliseconds(environ: Mapping[str, str]) -> list[tuple[str, str]]:
    """Return short time limits that have a large number without a unit."""
    found = []
    for name in _SHORT_LIMITS:
        value = environ.get(name, "").strip()
        if value.isascii() and value.isdigit() and int(value) >= _LONG_LIMIT:
            means = format_span(float(value))
            hint = f"{value} without a unit means {means}; did you mean {value}ms?"
            found.append((name, hint))
    return found


def _idle_hints(environ: Mapping[str, str], settings: Settings) -> list[tuple[str, str]]:
    """Return what is probably not meant in IDLE_TIMEOUT, and what it does not end."""
    idle, hints_of_it = settings.idle_timeout, list[str]()
    if idle is None:
        return []
    value = environ.get("IDLE_TIMEOUT", "").strip()
    if idle < _SHORT_TTL and value.replace(".", "", 1).isdigit():
        shown = format_span(idle)
        hints_of_it.append(f"{value} without a unit means {shown}; did you mean {value}m?")
    if settings.deadline is None and settings.ttl is not None and idle >= settings.ttl:
        lifetime = f"the lifetime (TTL) of {format_span(settings.ttl)}"
        hints_of_it.append(
            f"{format_span(idle)} is not less than {lifetime}: unless it is moved, the deadline"
            " comes first"
        )
    if settings.nomad_job_id and not settings.stops_job:
        hints_of_it.append(
            "an idle end ends only the balancer, replicas run until their own deadline;"
            " AT_DEADLINE=stop-job ends the whole job"
        )
    return [("IDLE_TIMEOUT", hint) for hint in hints_of_it]


def _max_similarity(one: str, other: str) -> float:
    """Return an upper bound of the similarity of two names: by their letters, in any order."""
    common = Counter(one) & Counter(other)
    return 2.0 * common.total() / (len(one) + len(other))


def _closest(name: str, candidates: list[str]) -> list[str]:
    if not candidates:
        return []
    # Imported only here because it takes 0.2 MB and is rarely needed.
    from difflib import get_close_matches  # noqa: PLC0415

    return get_close_matches(name, candidates, n=1, cutoff=_MIN_SIMILARITY)


def _is_one_typing_error(written: str, meant: str) -> bool:
    """Return whether one letter is wrong, missing or too many, or two are exchanged."""
    if len(written) < len(meant):
        return _is_one_typing_error(meant, written)
    if len(written) > len(meant):
        return any(written[:at] + written[at + 1 :] == meant for at in range(len(written)))
    wrong = [at for at, pair in enumerate(zip(written, meant, strict=True)) if pair[0] != pair[1]]
    if len(wrong) == 2 and wrong[0] + 1 == wrong[1]:
        return written[wrong[0]] == meant[wrong[1]] and written[wrong[1]] == meant[wrong[0]]
    return len(wrong) == 1


def _is_span(value: str) -> bool:
    try:
        return bool(value.strip()) and durations.parse_ttl(value) != 0
    except ValueError:
        return False


def _printable(name: str) -> str:
    return "".join(each if each.isprintable() else "?" for each in name)
