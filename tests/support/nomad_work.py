"""
The jobs and allocations behind the registry's rows, as far as the API is asked about them.

What stands here is what the rows have told: a job is known once an instance of it was listed, and
so are its allocation and its namespace, for which the policy is then.  An allocation without a row
is one that Nomad stops or has stopped: its checks are gone with its row, as they are where no
shutdown_delay lies between the two.
"""

import hashlib
import time
import uuid
from collections.abc import Collection, Iterable, Mapping

from tests.support.nomad_registry import Registry, Row
from tests.support.nomad_rules import DENIED, allocation_of, error, is_uuid, job_of, value
from tests.support.wire import Reply, Request

READ = {"read-job"}
STOP = {"submit-job", "deregister-job"}

#: What Nomad writes beside a status.
OUTPUTS = {
    "success": "nomad: tcp ok",
    "failure": "dial tcp: connect: connection refused",
    "pending": "nomad: waiting to run",
}


class Work:
    """
    What runs; `rights` is None where ACLs are off, else what the one who asks may do.
    """

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._jobs: set[tuple[str, str]] = set()
        self._namespaces = {"default"}
        self._allocations: set[str] = set()
        self._checks: dict[str, dict[str, Mapping[str, str]]] = {}

    def learn(self, rows: Iterable[Row], namespace: str) -> None:
        """
        Know the jobs and allocations of these rows from now on.
        """
        self._namespaces.add(namespace)
        for row in rows:
            if isinstance(row, dict):
                self._jobs.add((namespace, str(row.get("JobID"))))
                self._allocations.add(str(row.get("AllocID")))

    def found(
        self, allocation: str, statuses: Mapping[str, str] | None, service: str | None
    ) -> None:
        """
        Let the checks of an allocation, or of one of its services, have come to this.
        """
        self._allocations.add(allocation)
        if service is None:
            service = next((str(row["ServiceName"]) for row in self._rows(allocation)), "")
        others = {} if statuses is None else self._checks.get(allocation, {})
        self._checks[allocation] = {**others, service: dict(statuses or {})}

    def answer(self, request: Request, rights: Collection[str] | None) -> Reply | None:
        """
        Return what there is to say about checks or jobs, None when it is about neither.
        """
        if allocation := allocation_of(request):
            return self._tell_checks(allocation, rights)
        if job := job_of(request):
            return self._stop(request.query.get("namespace") or "default", job, rights)
        return None

    def restart(self, allocation: str) -> None:
        """
        Take its rows away for the moment that Nomad does, under new indexes.
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

    def _tell_checks(self, allocation: str, rights: Collection[str] | None) -> Reply:
        if not is_uuid(allocation):
            return error(500, "alloc lookup failed: index error: UUID must be 36 characters")
        if allocation not in self._allocations:  # said even to those who may not read
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
        return value(results if rows and results else None)

    def _stop(self, namespace: str, job: str, rights: Collection[str] | None) -> Reply:
        may = rights is None or (namespace in self._namespaces and STOP.intersection(rights))
        if not may:
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
        return value(body, index or 0)

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
