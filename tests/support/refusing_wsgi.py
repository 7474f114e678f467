"""
A WSGI application that refuses uploads, for a real gunicorn.
"""

from collections.abc import Callable, Iterable
from typing import Any

Start = Callable[[str, list[tuple[str, str]]], object]


def application(environ: dict[str, Any], start: Start) -> Iterable[bytes]:
    """
    Answer 401: at once, below /drained after it has read the body; below /read answer its length.
    """
    path, length = environ["PATH_INFO"], 0
    if path in {"/drained", "/read"}:
        while piece := environ["wsgi.input"].read(65536):
            length += len(piece)
    status, body = ("200 OK", b"%d" % length) if path == "/read" else ("401 Unauthorized", b"no")
    start(status, [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]
