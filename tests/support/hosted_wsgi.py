"""
A WSGI application that allows one host, as Django's ALLOWED_HOSTS does, for a real gunicorn.
"""

from collections.abc import Callable, Iterable
from typing import Any

Start = Callable[[str, list[tuple[str, str]]], object]

ALLOWED = "models.example.org"


def application(environ: dict[str, Any], start: Start) -> Iterable[bytes]:
    """
    Answer 400 to any other host, with a port or without.
    """
    is_allowed = environ.get("HTTP_HOST", "").partition(":")[0] == ALLOWED
    status, body = ("200 OK", b"model") if is_allowed else ("400 Bad Request", b"Bad Request")
    start(status, [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]
