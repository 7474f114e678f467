"""
Nomad's table of service registrations, and the blocking query over it.

The index belongs to the whole table, a watch to one service: so a query may return without a
change, and a blocked one does not notice changes of other services.  A query of an empty service
watches the whole table; real Nomad wakes it less often, only for services whose names start with
its own, but then also if it has instances.
"""

import random
import re
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

#: Separate from the shared generator, whose state threads must not change.
_RANDOM = random.SystemRandom()


MAX_WAIT = 300.0
UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}

Row = object
Key = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Result:
    """
    The result of one query; `interrupted`: the server ended it early.
    """

    rows: Sequence[Row]
    index: int
    interrupted: bool = False


def go_duration(text: str) -> float:
    """
    Return the seconds of a Go duration; ValueError without a unit, as in Go.
    """
    parts = re.findall(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h)", text)
    if text != "0" and (not parts or text != "".join(a + b for a, b in parts)):
        msg = f"invalid duration {text!r}"
        raise ValueError(msg)
    return sum(float(number) * UNITS[unit] for number, unit in parts)


class Registry:
    """
    The rows by namespace and service, with one index and one condition variable.
    """

    def __init__(self, index: int = 17) -> None:
        self._changed = threading.Condition()
        self._rows: dict[Key, list[Row]] = {}
        self._last_write: dict[Key, int] = {}
        self._index = index
        self._writes = 0  # to the table, independent of the index
        self._restores = 0
        self._interrupts = 0
        self.blocked = 0

    @property
    def index(self) -> int:
        """
        The table's index, never reported below 1.
        """
        return max(1, self._index)

    def restore(self, index: int) -> None:
        """
        Set the index, also to a lower one, like a restored snapshot or a rebuilt cluster.
        """
        with self._changed:
            self._index = index
            self._restores += 1
            self._changed.notify_all()

    def write(self, key: Key, rows: Iterable[Row]) -> None:
        """
        Replace the rows of one service under a new index.
        """
        with self._changed:
            self._index += 1
            self._writes += 1
            self._last_write[key] = self._writes
            self._rows[key] = list(rows)
            self._changed.notify_all()

    def withdraw(self, is_removed: Callable[[Row], bool], namespace: str) -> dict[Key, list[Row]]:
        """
        Remove rows from all services of a namespace, in one change; return the previous rows.
        """
        with self._changed:
            before = {
                key: rows
                for key, rows in self._rows.items()
                if key[0] == namespace and any(map(is_removed, rows))
            }
            self._index += bool(before)
            self._writes += bool(before)
            for key, rows in before.items():
                self._last_write[key] = self._writes
                self._rows[key] = [row for row in rows if not is_removed(row)]
            self._changed.notify_all()
            return before

    def bump(self) -> None:
        """
        Increase the index without changing rows, like a change of another service.
        """
        with self._changed:
            self._index += 1
            self._writes += 1
            self._changed.notify_all()

    def interrupt(self) -> None:
        """
        Interrupt every blocked query.
        """
        with self._changed:
            self._interrupts += 1
            self._changed.notify_all()

    def read(self, key: Key) -> Result:
        """
        Return the current rows, without waiting.
        """
        with self._changed:
            return self._result(key)

    def query(self, key: Key, index: int, wait: float) -> Result:
        """
        Return like Nomad: at once if the index is higher than `index`, else after a change.
        """
        wait = MAX_WAIT if wait <= 0 else min(wait, MAX_WAIT)
        end = time.monotonic() + wait + _RANDOM.uniform(0, wait / 16)
        with self._changed:
            interrupts = self._interrupts
            result = self._result(key)
            while 0 < index and result.index <= index:
                if not self._wait_for_change(key, interrupts, end):
                    return result  # the last result, even if other services have changed
                if self._interrupts != interrupts:
                    return Result(result.rows, result.index, interrupted=True)
                result = self._result(key)
            return result

    def _wait_for_change(self, key: Key, interrupts: int, end: float) -> bool:
        before = self._watched(key)
        self.blocked += 1
        try:
            return self._changed.wait_for(
                lambda: self._watched(key) != before or self._interrupts != interrupts,
                end - time.monotonic(),
            )
        finally:
            self.blocked -= 1

    def _watched(self, key: Key) -> tuple[int, int]:
        own = self._last_write.get(key, 0) if self._rows.get(key) else self._writes
        return own, self._restores

    def _result(self, key: Key) -> Result:
        return Result(tuple(self._rows.get(key, ())), self.index)

    def rows(self, key: Key) -> list[Row]:
        """
        Return a copy of one service's rows.
        """
        with self._changed:
            return list(self._rows.get(key, ()))

    def all_rows(self) -> list[Row]:
        """
        Return a copy of the rows of all services.
        """
        with self._changed:
            return [row for rows in self._rows.values() for row in rows]


def row(
    service: str,
    address: str,
    port: int,
    *,
    namespace: str = "default",
    job: str = "replicas",
    tags: Sequence[str] = (),
    alloc: str = "",
    index: int = 1,
) -> dict[str, object]:
    """
    Return a row like Nomad's ServiceRegistration.

    The default allocation ID is derived from the address, so the same instance is the same row.
    """
    alloc = alloc or str(uuid.uuid5(uuid.NAMESPACE_URL, f"{service}/{address}/{port}"))
    return {
        "ID": f"_nomad-task-{alloc}-group-{job}-{service}-http",
        "ServiceName": service,
        "Namespace": namespace,
        "NodeID": "6d1e3a0c-35a8-4d3f-9d4b-0c3a5e4f7b21",
        "Datacenter": "dc1",
        "JobID": job,
        "AllocID": alloc,
        "Tags": list(tags),
        "Address": address,
        "Port": port,
        "CreateIndex": index,
        "ModifyIndex": index,
    }
