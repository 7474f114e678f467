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
        #: Why the file has no usable token, for messages; empty if it has one.
        self.problem = ""

    def read(self) -> str:
        """Read the file again; return the token, empty if there is none."""
        if self._file:
            found, error = _read(self._file)
            is_complete = _is_complete(found, self._last)
            if is_complete:
                self._last = found
            reason = "" if is_complete else error or "it has no complete token"
            self.problem = reason and f"cannot use NOMAD_TOKEN_FILE={self._file!r}: {reason}"
        if self._last:
            self._redact([self._last])
        return self._last


def token_problem(settings: Settings) -> str:
    """
    Return why NOMAD_TOKEN_FILE has no usable token now, and what is used instead; or nothing.
    """
    token = Token(settings, lambda _: None)
    instead = "using NOMAD_TOKEN" if token.read() else "requests have no token until it has one"
    return token.problem and f"{token.problem}; {instead}"


def _read(path: str) -> tuple[str, str]:
    """Return the text of the file, and why it cannot be read."""
    try:
        with Path(path).open("rb") as file:
            data = file.read(_MAX_BYTES + 1)
    except OSError as error:
        return "", error.strerror or type(error).__name__
    try:
        return data.decode("ascii").strip() if len(data) <= _MAX_BYTES else "", ""
    except ValueError:
        return "", ""


def _is_complete(found: str, last: str) -> bool:
    """Return whether this is a token, and not the beginning of one that is being written."""
    if not found or not found.isprintable():
        return False
    if found != last and last.startswith(found):
        return False
    parts = found.split(".")
    return not found.startswith(_JWT) or (len(parts) >= 3 and all(parts))
