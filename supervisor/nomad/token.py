"""
The Nomad token, which may be replaced on disk at any time.

Nomad writes the file in place: it is empty for an instant and then incomplete.  Such content is
ignored, and the previous token stays in use.
"""

from collections.abc import Callable
from pathlib import Path

from supervisor.core.config.settings import Settings

_MAX_BYTES = 65536

#: The start of every JWT: the opening of a JSON object in base64.
_JWT = "eyJ"


class Token:
    """
    The current token; each one is passed to `redact` before it is used.
    """

    def __init__(self, settings: Settings, redact: Callable[[list[str]], None]) -> None:
        self._file = settings.nomad_token_file
        self._last = settings.nomad_token
        self._redact = redact

    def read(self) -> str:
        """Read the file again; return the token, empty if there is none."""
        if self._file:
            found = _read(self._file)
            if _is_complete(found, self._last):
                self._last = found
        if self._last:
            self._redact([self._last])
        return self._last


def _read(path: str) -> str:
    try:
        with Path(path).open("rb") as file:
            data = file.read(_MAX_BYTES + 1)
    except OSError:
        return ""
    try:
        return data.decode("ascii").strip() if len(data) <= _MAX_BYTES else ""
    except ValueError:
        return ""


def _is_complete(found: str, last: str) -> bool:
    """Return whether this is a token, and not the beginning of one that is being written."""
    if not found or not found.isprintable():
        return False
    if found != last and last.startswith(found):
        return False
    parts = found.split(".")
    return not found.startswith(_JWT) or (len(parts) >= 3 and all(parts))
