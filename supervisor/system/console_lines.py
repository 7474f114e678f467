"""
Log lines for a person at a terminal: LOG_FORMAT=console.

The time comes first, spans have units, and colours only repeat the level.  Text from outside cannot
start a line, end a quoted value or control the terminal.
"""

import math
import re
from collections.abc import Mapping

from supervisor.core.durations import format_span

#: The colour of a level and of names, as parameters of the terminal's SGR sequence.
_COLOURS = {"debug": "2", "info": "32", "warning": "33", "error": "31"}
_BOLD, _DIM = "1", "2"

#: Written without quotes.
_WORD = re.compile(r"[^\s\"'=]+")

#: A traceback has a line for each of its lines.
_MARGIN = "    | "


def wants_colours(environ: Mapping[str, str], *, is_terminal: bool) -> bool:
    """
    Return whether to colour lines: only on a terminal that can, and not with NO_COLOR.
    """
    return is_terminal and not environ.get("NO_COLOR") and environ.get("TERM") != "dumb"


def console_line(fields: Mapping[str, object], *, colours: bool) -> str:
    """
    Format a line: time, level, event and the other fields; without the newline at its end.
    """
    others = dict(fields)
    moment, level, event = (str(others.pop(name)) for name in ("time", "level", "event"))
    traceback = others.pop("traceback", None)
    parts = [
        _coloured(moment.replace("T", " "), _DIM, colours=colours),
        _coloured(f"{level:<7}", _COLOURS.get(level, ""), colours=colours),
        _coloured(f"{_printable(event):<17}", _BOLD, colours=colours),
    ]
    for name, value in others.items():
        parts.append(f"{_coloured(f'{name}=', _DIM, colours=colours)}{_text(value)}")
    lines = [" ".join(parts).rstrip()]
    if traceback is not None:
        lines += [_MARGIN + _printable(line) for line in str(traceback).splitlines()]
    return "\n".join(lines)


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float) and math.isfinite(value):  # all of them are seconds
        return _span(value)
    if isinstance(value, list | tuple | set | frozenset):
        return _quoted(",".join(map(str, value)))
    return _quoted(str(value))


def _span(seconds: float) -> str:
    if seconds < 0:
        return f"-{_span(-seconds)}"
    return f"{seconds * 1000:.3g}ms" if 0 < seconds < 1 else format_span(seconds)


def _quoted(text: str) -> str:
    if _WORD.fullmatch(text) and text.isprintable():
        return text
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{_printable(escaped)}"'


def _printable(text: str) -> str:
    """Escape what a terminal would obey, and what reorders text."""
    if text.isprintable():
        return text
    return "".join(
        each if each.isprintable() else each.encode("unicode_escape").decode() for each in text
    )


def _coloured(text: str, colour: str, *, colours: bool) -> str:
    return f"\x1b[{colour}m{text}\x1b[0m" if colours and colour else text
