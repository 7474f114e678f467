"""
Nomad's HTTP responses: which requests it rejects, in which order, and the format of its replies.

The two listeners differ.  The Task API parses the numbers, then requires a token, even with ACLs
off, with different errors for a missing, an unknown and a malformed one; then it checks the path.
The TCP listener checks the path first, and has one error for all wrong tokens.
"""

import gzip
import json
import re
from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID

from tests.support.nomad_registry import Result, Row, go_duration
from tests.support.wire import Reply, Request

NO_SUCH_REGION = "No path to region"
NOT_AUTHENTIC = "Server error authenticating request\n"
DENIED = "Permission denied"

_SERVICE = "/v1/service/"
SERVICES = "/v1/services"
_JOB = "/v1/job/"
VARIABLE = "/v1/var/"
_CHECKS = re.compile("/v1/(?:client/)?allocation/([^/]+)/checks")
_CLAUSE = re.compile(r'\s*(?:Tags contains "(?P<tag>[^"]*)"|JobID == "(?P<job>[^"]*)")\s*')


def rejection(request: Request, tokens: Collection[str] | None) -> Reply | None:
    """
    Return the rejection of a request, if any; `tokens` is None with ACLs off.
    """
    if request.via == "unix":
        invalid = _invalid_number(request, "Bad Request")
        return invalid or _rejected_by_socket(request, tokens) or _wrong_route(request)
    return _wrong_route(request) or _invalid_number(request) or _rejected_by_port(request, tokens)


def token_of(request: Request) -> str:
    """
    Return the token of a request, from either header.
    """
    bearer = (request.headers["Authorization"] or "").removeprefix("Bearer ")
    return request.headers["X-Nomad-Token"] or bearer


def allocation_of(request: Request) -> str:
    """
    Return the allocation whose checks are requested, empty for another request.
    """
    found = _CHECKS.fullmatch(request.path)
    return found[1] if found else ""


def job_of(request: Request) -> str:
    """
    Return the job to stop, empty for another request.
    """
    return request.path.removeprefix(_JOB) if request.path.startswith(_JOB) else ""


def service_of(request: Request) -> str:
    """
    Return the requested service.
    """
    return request.path.removeprefix(_SERVICE)


def _rejected_by_socket(request: Request, tokens: Collection[str] | None) -> Reply | None:
    token = token_of(request)
    if not token:
        return error(401, "Unauthorized")
    if not _is_own_region(request):  # it asks the other region to verify the token
        return error(500, NOT_AUTHENTIC)
    if tokens is None or token in tokens:
        return None
    return error(403, "Forbidden") if is_uuid(token) else error(500, NOT_AUTHENTIC)


def _rejected_by_port(request: Request, tokens: Collection[str] | None) -> Reply | None:
    checks = bool(allocation_of(request))
    if not checks and not _is_own_region(request):
        return error(500, NO_SUCH_REGION)
    token = token_of(request)
    if tokens is None or token in tokens:
        return None
    if checks and not token:
        return None  # an anonymous request, without permissions
    if checks and not is_uuid(token):  # from the node itself; a server would respond with 403
        return error(500, "rpc error: failed to parse signed token: it must have three parts")
    return error(403, DENIED)


def _wrong_route(request: Request) -> Reply | None:
    if request.target.startswith("//"):
        return Reply(307, b"", {"Location": re.sub("/+", "/", request.target)})
    if allocation_of(request) or request.path == SERVICES or request.path.startswith(VARIABLE):
        return None
    if job_of(request):
        return None if request.method == "DELETE" else error(405, "Invalid method")
    if not request.path.startswith(_SERVICE):
        return error(404, "")
    if request.method != "GET" or "/" in service_of(request):
        return error(405, "Invalid method")
    return None if service_of(request) else error(400, "missing service name")


def _invalid_number(request: Request, suffix: str = "") -> Reply | None:
    index = request.query.get("index") or "0"
    if not re.fullmatch("[0-9]{1,20}", index) or int(index) >= 2**64:
        return error(400, f"Invalid index{suffix}")
    try:
        go_duration(request.query.get("wait") or "0")
    except ValueError:
        return error(400, f"Invalid wait time{suffix}")
    return None


def _is_own_region(request: Request) -> bool:
    return (request.query.get("region") or "global") == "global"


def error(status: int, text: str) -> Reply:
    """
    Return an error, in plain text.
    """
    return Reply(status, text.encode(), {"Content-Type": "text/plain; charset=utf-8"})


def json_reply(value: object, index: int | None = None) -> Reply:
    """
    Return JSON as Nomad writes it, with an optional index.
    """
    headers = {"Content-Type": "application/json"}
    if index is not None:
        headers["X-Nomad-Index"] = str(index)
    return Reply(200, json.dumps(value, separators=(",", ":")).encode(), headers)


def services_reply(rows: Sequence[Row], namespace: str, *, every: bool) -> Reply:
    """
    Return the names of the services of a namespace, or with `*` of each one, if that is allowed.
    """
    found: dict[str, dict[str, set[str]]] = {}
    every_row: list[Any] = list(rows)
    for row in every_row:
        space = str(row["Namespace"])
        if space == namespace or (namespace == "*" and every):
            tags = found.setdefault(space, {}).setdefault(str(row["ServiceName"]), set())
            tags.update(row["Tags"] or [])
    return json_reply(
        [
            {
                "Namespace": space,
                "Services": [
                    {"ServiceName": name, "Tags": sorted(tags)} for name, tags in services.items()
                ],
            }
            for space, services in found.items()
        ],
        1,
    )


def service_reply(request: Request, result: Result) -> Reply:
    """
    Return the requested rows.
    """
    rows = _filtered(result.rows, request.query.get("filter") or "")
    if rows is None:
        text = "failed to create result paginator: failed to read filter expression: no match found"
        return compressed(request, error(400, text))
    reply = json_reply(rows, result.index)
    headers = {**reply.headers, "X-Nomad-LastContact": "0", "X-Nomad-KnownLeader": "true"}
    return compressed(request, replace(reply, headers=headers))


def compressed(request: Request, reply: Reply) -> Reply:
    """
    Compress over TCP if the client accepts it, errors too; the Task API never does.
    """
    if request.via != "tcp":
        return reply
    headers = {**reply.headers, "Vary": "Accept-Encoding"}
    if "gzip" not in (request.headers["Accept-Encoding"] or ""):
        return replace(reply, headers=headers)
    headers["Content-Encoding"] = "gzip"
    return replace(reply, headers=headers, body=gzip.compress(reply.body, 1))


def _filtered(rows: Sequence[Row], expression: str) -> Sequence[Row] | None:
    """
    Return the rows that match a filter, None for an unsupported one.

    Nomad supports a whole language; this supports `Tags contains "x"`, `JobID == "x"` and `and`.
    """
    clauses = [_CLAUSE.fullmatch(part) for part in expression.split(" and ")] if expression else []
    if not all(clauses):
        return None
    for clause in filter(None, clauses):
        tag = clause["tag"]
        rows = [
            row
            for row in rows
            if isinstance(row, dict)
            and (row["JobID"] == clause["job"] if tag is None else tag in row["Tags"])
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
