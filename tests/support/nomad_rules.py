"""
How Nomad says no over HTTP, in its own order, and in what shape it says anything.

The two listeners differ.  The Task API reads the numbers, then wants a token, even with ACLs off,
and tells a missing one from an unknown one from nonsense; only then does it look at the path.  The
TCP listener looks at the path first and says the same to every wrong token.
"""

import gzip
import json
import re
from collections.abc import Collection, Sequence
from dataclasses import replace
from uuid import UUID

from tests.support.nomad_registry import Result, Row, go_duration
from tests.support.wire import Reply, Request

NO_SUCH_REGION = "No path to region"
NOT_AUTHENTIC = "Server error authenticating request\n"
DENIED = "Permission denied"

_SERVICE = "/v1/service/"
_JOB = "/v1/job/"
_CHECKS = re.compile("/v1/(?:client/)?allocation/([^/]+)/checks")
_CLAUSE = re.compile(r'\s*(?:Tags contains "(?P<tag>[^"]*)"|JobID == "(?P<job>[^"]*)")\s*')


def refused(request: Request, tokens: Collection[str] | None) -> Reply | None:
    """
    Return the refusal of this request, whoever may do what; `tokens` None means ACLs are off.
    """
    if request.via == "unix":
        misread = _misread(request, "Bad Request")
        return misread or _refused_by_socket(request, tokens) or _misrouted(request)
    return _misrouted(request) or _misread(request) or _refused_by_port(request, tokens)


def token_of(request: Request) -> str:
    """
    Return the token that a request carries, in either header.
    """
    bearer = (request.headers["Authorization"] or "").removeprefix("Bearer ")
    return request.headers["X-Nomad-Token"] or bearer


def allocation_of(request: Request) -> str:
    """
    Return the allocation whose checks are asked for, empty when it is not for checks.
    """
    found = _CHECKS.fullmatch(request.path)
    return found[1] if found else ""


def job_of(request: Request) -> str:
    """
    Return the job that is to be stopped, empty when none is.
    """
    return request.path.removeprefix(_JOB) if request.path.startswith(_JOB) else ""


def service_of(request: Request) -> str:
    """
    Return the service that is asked for.
    """
    return request.path.removeprefix(_SERVICE)


def _refused_by_socket(request: Request, tokens: Collection[str] | None) -> Reply | None:
    token = token_of(request)
    if not token:
        return error(401, "Unauthorized")
    if not _is_here(request):  # it asks the other region whose token this is
        return error(500, NOT_AUTHENTIC)
    if tokens is None or token in tokens:
        return None
    return error(403, "Forbidden") if is_uuid(token) else error(500, NOT_AUTHENTIC)


def _refused_by_port(request: Request, tokens: Collection[str] | None) -> Reply | None:
    checks = bool(allocation_of(request))
    if not checks and not _is_here(request):
        return error(500, NO_SUCH_REGION)
    token = token_of(request)
    if tokens is None or token in tokens:
        return None
    if checks and not token:
        return None  # nobody in particular, who has no right
    if checks and not is_uuid(token):  # the node itself says so, a server would say 403
        return error(500, "rpc error: failed to parse signed token: it must have three parts")
    return error(403, DENIED)


def _misrouted(request: Request) -> Reply | None:
    if request.target.startswith("//"):
        return Reply(307, b"", {"Location": re.sub("/+", "/", request.target)})
    if allocation_of(request):
        return None
    if job_of(request):
        return None if request.method == "DELETE" else error(405, "Invalid method")
    if not request.path.startswith(_SERVICE):
        return error(404, "")
    if request.method != "GET" or "/" in service_of(request):
        return error(405, "Invalid method")
    return None if service_of(request) else error(400, "missing service name")


def _misread(request: Request, more: str = "") -> Reply | None:
    index = request.query.get("index") or "0"
    if not re.fullmatch("[0-9]{1,20}", index) or int(index) >= 2**64:
        return error(400, f"Invalid index{more}")
    try:
        go_duration(request.query.get("wait") or "0")
    except ValueError:
        return error(400, f"Invalid wait time{more}")
    return None


def _is_here(request: Request) -> bool:
    return (request.query.get("region") or "global") == "global"


def error(status: int, text: str) -> Reply:
    """
    Return an error, which is plain text.
    """
    return Reply(status, text.encode(), {"Content-Type": "text/plain; charset=utf-8"})


def value(what: object, index: int | None = None) -> Reply:
    """
    Return JSON as Nomad writes it, under an index where there is one.
    """
    headers = {"Content-Type": "application/json"}
    if index is not None:
        headers["X-Nomad-Index"] = str(index)
    return Reply(200, json.dumps(what, separators=(",", ":")).encode(), headers)


def answered(request: Request, result: Result) -> Reply:
    """
    Return the rows that were asked for.
    """
    rows = _chosen(result.rows, request.query.get("filter") or "")
    if rows is None:
        text = "failed to create result paginator: failed to read filter expression: no match found"
        return packed(request, error(400, text))
    reply = value(rows, result.index)
    headers = {**reply.headers, "X-Nomad-LastContact": "0", "X-Nomad-KnownLeader": "true"}
    return packed(request, replace(reply, headers=headers))


def packed(request: Request, reply: Reply) -> Reply:
    """
    Compress over TCP where the client accepts it, errors too; the Task API never does.
    """
    if request.via != "tcp":
        return reply
    headers = {**reply.headers, "Vary": "Accept-Encoding"}
    if "gzip" not in (request.headers["Accept-Encoding"] or ""):
        return replace(reply, headers=headers)
    headers["Content-Encoding"] = "gzip"
    return replace(reply, headers=headers, body=gzip.compress(reply.body, 1))


def _chosen(rows: Sequence[Row], expression: str) -> Sequence[Row] | None:
    """
    Return the rows that a filter leaves, None for one that is not understood.

    Nomad knows a whole language; this knows `Tags contains "x"`, `JobID == "x"` and `and`.
    """
    clauses = [_CLAUSE.fullmatch(part) for part in expression.split(" and ")] if expression else []
    if not all(clauses):
        return None
    for clause in filter(None, clauses):
        wanted = clause["tag"]
        rows = [
            row
            for row in rows
            if isinstance(row, dict)
            and (row["JobID"] == clause["job"] if wanted is None else wanted in row["Tags"])
        ]
    return rows


def is_uuid(token: str) -> bool:
    """
    Tell whether a token, or an allocation, has the form of a UUID.
    """
    try:
        return str(UUID(token)) == token.lower()
    except ValueError:
        return False
