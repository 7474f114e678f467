"""
The jobs and allocations behind the registry's rows, as far as the API exposes them.

They are derived from the rows: a job exists once an instance of it was listed, and so do its
allocation and its namespace, to which the policy then applies.  An allocation without a row is
stopping or stopped: its checks disappear with its row, as in Nomad without a shutdown_delay.
"""

import hashlib
import time
import uuid
from collections.abc import Collection, Iterable, Mapping

from tests.support.nomad_registry import Registry, Row
from tests.support.nomad_rules import DENIED, allocation_of, error, is_uuid, job_of, json_reply
from tests.support.wire import Reply, Request

READ = {"read-job"}
STOP = {"submit-job", "deregister-job"}

#: The output of Nomad's checks for each status.
OUTPUTS = {
    "success": "nomad: tcp ok",
    "failure": "dial tcp: connect: connection refused",
    "pending": "nomad: waiting to run",
}


class Workloads:
    """
    Jobs and allocations; `rights` are the capabilities of the request, None with ACLs off.
    """

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._jobs: set[tuple[str, str]] = set()
        self._namespaces = {"default"}
        self._allocations: set[str] = set()
        self._checks: dict[str, dict[str, Mapping[str, str]]] = {}

    def register(self, rows: Iterable[Row], namespace: str) -> None:
        """
        Register the jobs and allocations of these rows.
        """
        self._namespaces.add(namespace)
        for row in rows:
            if isinstance(row, dict):
                self._jobs.add((namespace, str(row.get("JobID"))))
                self._allocations.add(str(row.get("AllocID")))

    def set_checks(
        self, allocation: str, statuses: Mapping[str, str] | None, service: str | None
    ) -> None:
        """
        Set the statuses of the checks of an allocation, or of one of its services.
        """
        self._allocations.add(allocation)
        if service is None:
            service = next((str(row["ServiceName"]) for row in self._rows(allocation)), "")
        others = {} if statuses is None else self._checks.get(allocation, {})
        self._checks[allocation] = {**others, service: dict(statuses or {})}

    def reply(self, request: Request, rights: Collection[str] | None) -> Reply | None:
        """
        Return the reply to a request for checks or jobs, None for any other.
        """
        if allocation := allocation_of(request):
            return self._checks_reply(allocation, rights)
        if job := job_of(request):
            return self._stop_reply(request.query.get("namespace") or "default", job, rights)
        return None

    def restart(self, allocation: str) -> None:
        """
        Remove its rows for 2 ms, as Nomad does, and add them with new indexes.
        """
        for namespace in {str(row["Namespace"]) for row in self._rows(allocation)}:
            before = self._registry.withdraw(lambda row: _is_of(row, allocation), namespace)
            time.sleep(0.002)
            index = self._registry.index + 1
            for key, rows in before.items():
                new = [
                    {**row, "CreateIndex": index, "ModifyIndex": index}
                    if isinstance(row, dict) and _is_of(row, allocation)
                    else row
                    for row in rows
                ]
                self._registry.write(key, new)

    def _checks_reply(self, allocation: str, rights: Collection[str] | None) -> Reply:
        if not is_uuid(allocation):
            return error(500, "alloc lookup failed: index error: UUID must be 36 characters")
        if allocation not in self._allocations:  # before the permission is checked
            return error(404, f'Unknown allocation "{allocation}"')
        if rights is not None and not READ.intersection(rights):
            return error(403, DENIED)
        rows = self._rows(allocation)
        job = str(rows[0]["JobID"]) if rows else ""
        results = {
            check["ID"]: check
            for service, statuses in self._checks.get(allocation, {}).items()
            for name, status in statuses.items()
            for check in [_result(allocation, job, service, name, status)]
        }
        return json_reply(results if rows and results else None)

    def _stop_reply(self, namespace: str, job: str, rights: Collection[str] | None) -> Reply:
        is_allowed = rights is None or (namespace in self._namespaces and STOP.intersection(rights))
        if not is_allowed:
            return error(403, DENIED)
        index = evaluation = None
        if (namespace, job) in self._jobs:
            self._registry.withdraw(
                lambda row: isinstance(row, dict) and row.get("JobID") == job, namespace
            )
            index, evaluation = self._registry.index, str(uuid.uuid4())
        body = {
            **dict.fromkeys(("EvalCreateIndex", "Index", "JobModifyIndex"), index or 0),
            "EvalID": evaluation or "",
            "KnownLeader": False,
            "LastContact": 0,
            "NextToken": "",
            "VolumeEvalID": "",
            "VolumeEvalIndex": 0,
        }
        return json_reply(body, index or 0)

    def _rows(self, allocation: str) -> list[dict[str, object]]:
        rows = self._registry.all_rows()
        return [row for row in rows if isinstance(row, dict) and _is_of(row, allocation)]


def _is_of(row: Row, allocation: str) -> bool:
    return isinstance(row, dict) and row.get("AllocID") == allocation


def _result(allocation: str, job: str, service: str, name: str, status: str) -> dict[str, object]:
    key = hashlib.sha256(f"{allocation}/{service}/{name}".encode()).hexdigest()
    return {
        "Check": name,
        "Group": f"{job}.group[0]",
        "ID": key,
        "Mode": "healthiness",
        "Output": OUTPUTS.get(status, ""),
        "Service": service,
        "Status": status,
        "Timestamp": int(time.time()),
    }
