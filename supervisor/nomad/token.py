"""
The token, which may be replaced on disk at any time.

Nomad writes the file in place: it is empty for an instant and then holds a beginning.  Such a thing
is no token, and the last one counts on.
"""

from collections.abc import Callable
from pathlib import Path

from supervisor.core.config.settings import Settings

_LONGEST = 65536

#: How every JWT begins: the opening of a JSON object in base64.
_JWT = "eyJ"


class Token:
    """
    The token as it is known now; `redact` is told of each before it is used.
    """

    def __init__(self, settings: Settings, redact: Callable[[list[str]], None]) -> None:
        self._file = settings.nomad_token_file
        self._last = settings.nomad_token
        self._hide = redact

    def read(self) -> str:
        """Read the file anew; return the token, empty where there is none at all."""
        if self._file:
            found = _read(self._file)
            if _is_whole(found, self._last):
                self._last = found
        if self._last:
            self._hide([self._last])
        return self._last


def _read(path: str) -> str:
    try:
        with Path(path).open("rb") as file:
            data = file.read(_LONGEST + 1)
    except OSError:
        return ""
    try:
        return data.decode("ascii").strip() if len(data) <= _LONGEST else ""
    except ValueError:
        return ""


def _is_whole(found: str, last: str) -> bool:
    """Tell whether this is a token, and not the beginning of one that is being written."""
    if not found or not found.isprintable():
        return False
    if found != last and last.startswith(found):
        return False
    parts = found.split(".")
    return not found.startswith(_JWT) or (len(parts) >= 3 and all(parts))
