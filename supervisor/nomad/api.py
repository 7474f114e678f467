"""
The three requests of Nomad's HTTP API that the supervisor makes.

`GET /v1/service/:name` lists the instances of a service, `GET /v1/client/allocation/:id/checks`
the results of Nomad's own checks, and `DELETE /v1/job/:id` stops a job: all of its groups; the job
is not purged.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote

import requests

from supervisor.nomad.client import NomadClient
from supervisor.nomad.errors import NomadError

#: Nomad adds up to a sixteenth to the wait.
_JITTER = 17 / 16

_LEAST_CAP = 8 * 1024 * 1024
_CAP_PER_ENDPOINT = 2048

#: How long a server may have been without word from its leader, in milliseconds.
_LONGEST_SILENCE = 5000


@dataclass(frozen=True, slots=True)
class ServiceList:
    """
    The rows that Nomad listed, unvetted, and the index it gave, if it is one.

    `stale` says why a server that has lost its leader does not know better, else it is empty.
    """

    rows: list[object]
    index: int | None
    stale: str = ""


class ServiceQuery(NomadClient):
    """
    The question for the instances of a service, used by one thread; `cancel` may be called by any.
    """

    ENDPOINT = "service"

    def list_instances(self, name: str, index: int, wait: float) -> ServiceList:
        """
        Ask for the instances of a service; with an index, wait up to `wait` s for a change.

        Raises Unanswered.
        """
        params = {"index": str(index), "wait": f"{wait:.0f}s"} if index else {}
        blocks = wait * _JITTER if index else 0.0
        cap = max(_LEAST_CAP, _CAP_PER_ENDPOINT * self._settings.max_endpoints)
        response = self.call(quote(name, safe=""), params=params, blocks=blocks, cap=cap)
        if not isinstance(response.value, list):
            raise NomadError("the answer is not a list")
        return ServiceList(
            response.value, _index(response.headers, "X-Nomad-Index"), _stale(response.headers)
        )


def _stale(headers: Mapping[str, str]) -> str:
    if headers.get("X-Nomad-KnownLeader", "true").lower() == "false":
        return "the answer is of a Nomad server without a leader"
    silence = _index(headers, "X-Nomad-LastContact")
    if silence is not None and silence > _LONGEST_SILENCE:
        return f"the answer is of a Nomad server that has not heard its leader for {silence} ms"
    return ""


def _index(headers: Mapping[str, str], name: str) -> int | None:
    text = headers.get(name, "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else None


_CHECKS_CAP = 1024 * 1024


class ChecksQuery(NomadClient):
    """
    The question for the checks of an allocation, used by one thread; `cancel` may be called by any.
    """

    ENDPOINT = "client"

    def list_checks(self, allocation: str) -> list[tuple[str, str]]:
        """
        Return the service and the status of every check, none before the first one ran.

        The status is `success`, `failure` or `pending`, or whatever Nomad may say one day.
        Raises Unanswered: with status 403 the token lacks `read-job`, with 404 the allocation is
        unknown, or its node is away.
        """
        response = self.call(
            "allocation", quote(allocation, safe=""), "checks", params={}, cap=_CHECKS_CAP
        )
        if response.value is None:
            return []
        if not isinstance(response.value, dict):
            raise NomadError("the answer is not a map of checks")
        return sorted(_row(check) for check in response.value.values())


def _row(check: object) -> tuple[str, str]:
    if isinstance(check, dict):
        service, status = check.get("Service"), check.get("Status")
        if isinstance(service, str) and isinstance(status, str):
            return service, status
    raise NomadError("the answer holds a check without a service and a status")


_JOB_CAP = 65536


class JobStopRequest(NomadClient):
    """
    The question to stop a job, used by one thread; `cancel` may be called by any.
    """

    ENDPOINT = "job"
    METHOD = "delete"

    def stop(self, job: str) -> None:
        """
        Return once Nomad has agreed to stop a job; its tasks are told 40 ms later, or more.

        Raises Unanswered: with status 403 the token has no right to it.  A job that Nomad does not
        know is answered like any other, but for the ID of the evaluation that never will be.
        """
        response = self.call(quote(job, safe=""), params={}, cap=_JOB_CAP)
        if not isinstance(response.value, dict) or not isinstance(
            response.value.get("EvalID"), str
        ):
            raise NomadError("the answer does not say that the job is stopped")
        if not response.value["EvalID"]:
            told = f"Nomad knows no job {job!r} in namespace {self._settings.nomad_namespace!r}"
            raise NomadError(told, status=requests.codes.ok)
