"""
The state of the fake Nomad, which tests change: instances, checks, the index.
"""

from collections.abc import Iterable, Mapping, Sequence

from tests.support.nomad_registry import Registry, Row, row
from tests.support.nomad_workloads import Workloads

Endpoint = tuple[str, int]

NAMESPACE = "default"


class NomadState:
    """
    The table of services and the workloads behind it.
    """

    def __init__(self) -> None:
        self._registry = Registry()
        self._workloads = Workloads(self._registry)

    @property
    def index(self) -> int:
        """
        The index of the whole table; it can be set, also to a lower one.
        """
        return self._registry.index

    @index.setter
    def index(self, value: int) -> None:
        self._registry.restore(value)

    def set(
        self,
        service: str,
        endpoints: Iterable[Endpoint],
        *,
        namespace: str = NAMESPACE,
        job: str = "replicas",
        tags: Sequence[str] = (),
    ) -> None:
        """
        Replace the instances of the service, in one change.
        """
        old = {_identity(entry): entry for entry in self._registry.rows((namespace, service))}
        index = self.index + 1
        rows: dict[object, Row] = {}
        for address, port in endpoints:
            new = row(service, address, port, namespace=namespace, job=job, tags=tags, index=index)
            rows[new["ID"]] = old.get(new["ID"], new)
        self.rows(service, [rows[key] for key in sorted(rows, key=str)], namespace=namespace)

    def add(
        self,
        service: str,
        address: str,
        port: int,
        *,
        namespace: str = NAMESPACE,
        job: str = "replicas",
        tags: Sequence[str] = (),
        alloc: str = "",
    ) -> None:
        """
        Register one more instance, optionally of a given allocation.
        """
        fields = {"namespace": namespace, "job": job, "alloc": alloc}
        new = row(service, address, port, tags=tags, index=self.index + 1, **fields)
        rows = [*self._registry.rows((namespace, service)), new]
        self.rows(service, rows, namespace=namespace)

    def remove(self, service: str, address: str, port: int, *, namespace: str = NAMESPACE) -> None:
        """
        Deregister every instance at this address.
        """
        kept = [
            entry
            for entry in self._registry.rows((namespace, service))
            if not isinstance(entry, dict) or (entry["Address"], entry["Port"]) != (address, port)
        ]
        self.rows(service, kept, namespace=namespace)

    def rows(self, service: str, raw: Iterable[Row], *, namespace: str = NAMESPACE) -> None:
        """
        Serve these rows unchanged, valid or not, in one change.
        """
        raw = list(raw)
        self._workloads.register(raw, namespace)
        self._registry.write((namespace, service), raw)

    def allocation(self, service: str, port: int, *, namespace: str = NAMESPACE) -> str:
        """
        Return the allocation of the service's instance at this port.
        """
        rows = self._registry.rows((namespace, service))
        (found,) = {r["AllocID"] for r in rows if isinstance(r, dict) and r["Port"] == port}
        return str(found)

    def checks(
        self, allocation: str, statuses: Mapping[str, str] | None, *, service: str | None = None
    ) -> None:
        """
        Set the statuses of an allocation's checks by name: success, failure or pending.

        `service` is needed if the allocation has several services.  None: there are no checks, as
        for a stopping allocation; an allocation without a row has none either.
        """
        self._workloads.set_checks(allocation, statuses, service)

    def restart(self, allocation: str) -> None:
        """
        Restart its tasks: its instances are removed from the registry for 2 ms.
        """
        self._workloads.restart(allocation)

    def bump(self) -> None:
        """
        Change another service in the table.
        """
        self._registry.bump()


def _identity(entry: Row) -> object:
    return entry.get("ID") if isinstance(entry, dict) else None
