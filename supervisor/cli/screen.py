"""
Text that is repeatedly drawn in place on a terminal, as by `status --watch`.

Each line is overwritten and cleared only behind its end, and the screen is never emptied, so
nothing flickers; text that does not fit is cut, so nothing scrolls.
"""

import os
from collections.abc import Sequence

_HOME, _CLEAR_SCREEN = "\x1b[H", "\x1b[2J"
_CLEAR_LINE_END, _CLEAR_BELOW = "\x1b[K", "\x1b[J"

#: Terminals that support it show everything between these at once; others ignore them.
_BEGIN, _END = "\x1b[?2026h", "\x1b[?2026l"


class Screen:
    """
    The whole screen of the terminal behind a descriptor.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._is_drawn = False

    def draw(self, text: str) -> None:
        """Show this text in place of the last one."""
        try:
            columns, rows = os.get_terminal_size(self._descriptor)
        except OSError:
            columns, rows = 0, 0
        lines = fitting(text.split("\n"), columns or 80, rows or 24)
        start = _HOME if self._is_drawn else _CLEAR_SCREEN + _HOME
        self._is_drawn = True
        body = f"{_CLEAR_LINE_END}\r\n".join(lines)
        left = f"{_BEGIN}{start}{body}{_CLEAR_LINE_END}{_CLEAR_BELOW}{_END}".encode()
        while left:
            left = left[os.write(self._descriptor, left) :]

    def leave(self) -> None:
        """Move below the text, for what is printed next."""
        if self._is_drawn:
            os.write(self._descriptor, b"\r\n")


def fitting(lines: Sequence[str], columns: int, rows: int) -> list[str]:
    """
    Return the lines cut to the size; the last row is left for the cursor.
    """
    most = max(1, rows - 1)
    shown = list(lines)
    if len(lines) > most:
        more = len(lines) - most + 1
        shown = [*lines[: most - 1], f"and {more} more lines; enlarge the window to see them"]
    return [line if len(line) < columns else f"{line[: columns - 2]}…" for line in shown]
