"""
How Nomad says yes and no over HTTP: tokens, routes, parameters, headers.
"""

import gzip
import json
import re
from collections.abc import Collection
from uuid import UUID

from tests.support.nomad_registry import Result, go_duration
from tests.support.wire import Reply, Request


def refused(request: Request, tokens: Collection[str] | None) -> Reply | None:
    """
    Return the refusal of this request's token; `tokens` None means ACLs are off.

    The Task API always wants a token, and tells a missing one from an unknown one from
    nonsense; the TCP listener says the same to all three.
    """
    bearer = (request.headers["Authorization"] or "").removeprefix("Bearer ")
    token = request.headers["X-Nomad-Token"] or bearer
    known = tokens is None or token in tokens
    if request.via == "tcp":
        return None if known else _error(403, "Permission denied")
    if not token:
        return _error(401, "Unauthorized")
    if known:
        return None
    if _is_uuid(token):
        return _error(403, "Forbidden")
    return _error(500, "Server error authenticating request\n")


def misunderstood(request: Request) -> Reply | None:
    """
    Return the error for a request that Nomad would not understand.
    """
    if request.target.startswith("//"):
        return Reply(307, b"", {"Location": re.sub("/+", "/", request.target)})
    if not request.path.startswith("/v1/service/"):
        return _error(404, "")
    if request.method != "GET":
        return _error(405, "Invalid method")
    if request.path == "/v1/service/":
        return _error(400, "missing service name")
    index = request.query.get("index") or "0"
    if not re.fullmatch("[0-9]{1,20}", index) or int(index) >= 2**64:
        return _error(400, "Invalid index")
    try:
        go_duration(request.query.get("wait") or "0")
    except ValueError:
        return _error(400, "Invalid wait time")
    if (request.query.get("region") or "global") != "global":
        return _error(500, "No path to region")
    return None


def _error(status: int, text: str) -> Reply:
    return Reply(status, text.encode(), {"Content-Type": "text/plain; charset=utf-8"})


def answered(request: Request, result: Result) -> Reply:
    """
    Return the rows as Nomad sends them: compact, gzipped over TCP where accepted.
    """
    body = json.dumps(result.rows, separators=(",", ":")).encode()
    headers = {
        "Content-Type": "application/json",
        "X-Nomad-Index": str(result.index),
        "X-Nomad-LastContact": "0",
        "X-Nomad-KnownLeader": "true",
    }
    if request.via == "tcp":
        headers["Vary"] = "Accept-Encoding"
        if "gzip" in (request.headers["Accept-Encoding"] or ""):
            headers["Content-Encoding"] = "gzip"
            body = gzip.compress(body, 1)
    return Reply(200, body, headers)


def _is_uuid(token: str) -> bool:
    try:
        return str(UUID(token)) == token.lower()
    except ValueError:
        return False
