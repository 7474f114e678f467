"""
The requests to Nomad's HTTP API that the supervisor makes.

`GET /v1/service/:name` lists the instances of a service, `GET /v1/services` the names of all,
`GET /v1/client/allocation/:id/checks` the results of Nomad's own checks, and `DELETE /v1/job/:id`
stops a job: all of its groups; the job is not purged.  `GET` and `PUT /v1/var/nomad/jobs/:id` read
and write the job's variable.
"""

from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import quote

import requests

from supervisor.core.values import value_class
from supervisor.nomad.body import parse_rows, parse_value
from supervisor.nomad.client import NomadClient
from supervisor.nomad.errors import NomadError

#: Nomad adds up to a sixteenth to the wait.
_JITTER = 17 / 16

_MIN_SERVICE_BYTES = 8 * 1024 * 1024
_BYTES_PER_ENDPOINT = 2048

#: A response is stale when its server has had no contact with its leader for longer, in
#: milliseconds.
_MAX_LEADER_SILENCE = 5000


#: The fields of a row that are used, and how many different texts of them are looked for again.
_FIELDS = ("Address", "Port", "Tags", "JobID", "AllocID", "NodeID", "CreateIndex")
_MAX_SHARED = 1024


@value_class(frozen=True, slots=True)
class ServiceList:
    """
    The rows that Nomad listed, and the index of the response, None if unusable.

    The rows are not validated.  They have only the fields that are used; a row that is no object is
    None.

    `stale` is the reason why the response may be out of date: its server has lost its leader.  It
    is empty otherwise.
    """

    rows: list[dict[str, object] | None]
    index: int | None
    stale: str = ""


class ServiceQuery(NomadClient):
    """
    Client for the instances of a service, used by one thread; any thread may call `cancel`.
    """

    ENDPOINT = "service"

    def list_instances(self, name: str, index: int, wait: float) -> ServiceList:
        """
        Query the instances of a service; with an index, wait up to `wait` s for a change.

        Raises NomadError.
        """
        params = {"index": str(index), "wait": f"{wait:.0f}s"} if index else {}
        max_wait = wait * _JITTER if index else 0.0
        max_bytes = max(_MIN_SERVICE_BYTES, _BYTES_PER_ENDPOINT * self._settings.max_endpoints)
        response = self.call(
            quote(name, safe=""),
            params=params,
            parse=lambda body: parse_rows(body, _RowReducer().reduce),
            max_wait=max_wait,
            max_bytes=max_bytes,
        )
        return ServiceList(
            response.value, _index(response.headers, "X-Nomad-Index"), _stale(response.headers)
        )


class _RowReducer:
    """
    Reduces the rows of one response to what an endpoint needs; most rows have the same few texts.
    """

    def __init__(self) -> None:
        self._texts: dict[str, str] = {}

    def reduce(self, row: object) -> dict[str, object] | None:
        """
        Return the fields that are used; a value of a type that Nomad does not send is False.
        """
        if not isinstance(row, dict):
            return None
        reduced: dict[str, object] = {}
        for name in _FIELDS:
            value = row.get(name)
            if isinstance(value, str):
                reduced[name] = self._shared(value)
            elif isinstance(value, list) and name == "Tags":
                reduced[name] = [self._shared(tag) for tag in value if isinstance(tag, str)]
            elif value is not None:
                reduced[name] = type(value) is int and value
        return reduced

    def _shared(self, text: str) -> str:
        if len(self._texts) > _MAX_SHARED:
            return text
        return self._texts.setdefault(text, text)


def _stale(headers: Mapping[str, str]) -> str:
    if headers.get("X-Nomad-KnownLeader", "true").lower() == "false":
        return "the Nomad server that responded has no leader"
    silence = _index(headers, "X-Nomad-LastContact")
    if silence is not None and silence > _MAX_LEADER_SILENCE:
        return f"the Nomad server that responded lost contact with its leader {silence} ms ago"
    return ""


def _index(headers: Mapping[str, str], name: str) -> int | None:
    text = headers.get(name, "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else None


_MAX_NAMES_BYTES = 4 * 1024 * 1024


class ServiceNamesQuery(NomadClient):
    """
    Client for the names of services, used by one thread.
    """

    ENDPOINT = "services"

    def list_names(self, namespace: str) -> list[tuple[str, str]]:
        """
        Return the namespace and the name of every service; `*` means all readable namespaces.

        Raises NomadError.
        """
        response = self.call(
            params={"namespace": namespace}, parse=parse_value, max_bytes=_MAX_NAMES_BYTES
        )
        if not isinstance(response.value, list):
            raise NomadError("the response is not a list of namespaces")
        return [pair for group in response.value for pair in _names(group)]


def _names(group: object) -> list[tuple[str, str]]:
    """Return the services of one namespace; what is malformed is left out."""
    services = group.get("Services") if isinstance(group, dict) else None
    if not isinstance(group, dict) or not isinstance(services, list):
        raise NomadError("the response contains a namespace without services")
    namespace = group.get("Namespace")
    names = [row.get("ServiceName") for row in services if isinstance(row, dict)]
    return [(str(namespace), name) for name in names if isinstance(name, str)]


_MAX_CHECKS_BYTES = 1024 * 1024


class CheckResult(NamedTuple):
    """
    The last result of one check: its service, its status, its name and its output.
    """

    service: str
    status: str
    name: str = ""
    output: str = ""


class ChecksQuery(NomadClient):
    """
    Client for the checks of an allocation, used by one thread; any thread may call `cancel`.
    """

    ENDPOINT = "client"

    def list_checks(self, allocation: str) -> list[CheckResult]:
        """
        Return the last result of every check; empty before the first check ran.

        The status is `success`, `failure` or `pending`; future versions of Nomad may add others.
        Raises NomadError: status 403 means that the token lacks `read-job`, 404 that the allocation
        is unknown or its node is unreachable.
        """
        response = self.call(
            "allocation",
            quote(allocation, safe=""),
            "checks",
            params={},
            parse=parse_value,
            max_bytes=_MAX_CHECKS_BYTES,
        )
        if response.value is None:
            return []
        if not isinstance(response.value, dict):
            raise NomadError("the response is not a map of checks")
        return sorted(_row(check) for check in response.value.values())


def _row(check: object) -> CheckResult:
    if isinstance(check, dict):
        service, status = check.get("Service"), check.get("Status")
        if isinstance(service, str) and isinstance(status, str):
            name, output = str(check.get("Check") or ""), str(check.get("Output") or "")
            return CheckResult(service, status, name, output)
    raise NomadError("the response contains a check without a service or status")


_MAX_JOB_BYTES = 65536


class JobStopRequest(NomadClient):
    """
    Client that stops a job, used by one thread; any thread may call `cancel`.
    """

    ENDPOINT = "job"
    METHOD = "delete"

    def stop(self, job: str) -> None:
        """
        Stop a job; return once Nomad has accepted it.  Its tasks are signalled 40 ms later or more.

        Raises NomadError: status 403 means that the token lacks the permission.  For an unknown job
        Nomad also responds with 200, but with an empty evaluation ID.
        """
        response = self.call(
            quote(job, safe=""), params={}, parse=parse_value, max_bytes=_MAX_JOB_BYTES
        )
        if not isinstance(response.value, dict) or not isinstance(
            response.value.get("EvalID"), str
        ):
            raise NomadError("the response does not confirm that the job stops")
        if not response.value["EvalID"]:
            namespace = self._settings.nomad_namespace
            raise NomadError(
                f"job {job!r} not found in namespace {namespace!r}", status=requests.codes.ok
            )


#: A variable has at most 64 KiB; its items are escaped in JSON.
_MAX_VARIABLE_BYTES = 1024 * 1024


class VariableResponse(NamedTuple):
    """
    A variable as Nomad returned it, None if there is none; the index of the response, if usable.
    """

    value: object
    next_index: int | None


class VariableRequest(NomadClient):
    """
    Client for one variable, used by one thread.
    """

    ENDPOINT = "var"

    def read(self, path: str, index: int = 0, wait: float = 0.0) -> VariableResponse:
        """
        Query the variable; with an index, wait up to `wait` s for a change.

        While it is absent, a change of any variable ends the wait.  Raises NomadError: status 403
        means that the token may not read it.
        """
        try:
            response = self.call(
                quote(path),
                params={"index": str(index), "wait": f"{wait:.0f}s"} if index else {},
                parse=parse_value,
                max_wait=wait * _JITTER if index else 0.0,
                max_bytes=_MAX_VARIABLE_BYTES,
            )
        except NomadError as error:
            if error.status != requests.codes.not_found or error.index is None:
                raise
            return VariableResponse(None, error.index)
        stale = _stale(response.headers)
        if stale:
            raise NomadError(stale)
        return VariableResponse(response.value, _index(response.headers, "X-Nomad-Index"))

    def write(self, path: str, items: Mapping[str, object], modify_index: int) -> None:
        """
        Write the variable if it has not been modified since; 0 means that it does not exist.

        Raises NomadError: status 403 means that the token may not write it, 409 that it has been
        modified.
        """
        namespace = self._settings.nomad_namespace
        self.call(
            quote(path),
            params={"cas": str(modify_index)},
            parse=parse_value,
            max_bytes=_MAX_VARIABLE_BYTES,
            put={"Namespace": namespace, "Path": path, "Items": dict(items)},
        )
