"""
Nomad's table of service registrations, and the blocking query over it.

The index belongs to the whole table, the watch only to one service: hence a query
may return with nothing changed, and a change elsewhere goes unnoticed while it
blocks.  An empty service watches the whole table; the real one wakes less often, only
for names that begin like its own, but then also where it has instances.
"""

import random
import re
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

#: Of its own: the one that is shared is not to be turned by a thread.
_DICE = random.SystemRandom()


LONGEST = 300.0
UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}

Row = object
Key = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Result:
    """
    What one run of the query saw; `kicked` when the server broke it off.
    """

    rows: Sequence[Row]
    index: int
    kicked: bool = False


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
    The rows by namespace and service, one index, one condition for all who wait.
    """

    def __init__(self, index: int = 17) -> None:
        self._changed = threading.Condition()
        self._rows: dict[Key, list[Row]] = {}
        self._touched: dict[Key, int] = {}
        self._index = index
        self._writes = 0  # to the table, whatever the index became
        self._restores = 0
        self._kicks = 0
        self.blocked = 0

    @property
    def index(self) -> int:
        """
        The table's index, never reported below 1.
        """
        return max(1, self._index)

    def restore(self, index: int) -> None:
        """
        Set the index, also backwards: a restored snapshot or a rebuilt cluster.
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
            self._touched[key] = self._writes
            self._rows[key] = list(rows)
            self._changed.notify_all()

    def withdraw(self, is_theirs: Callable[[Row], bool], namespace: str) -> dict[Key, list[Row]]:
        """
        Take rows out of all services of a namespace, in one change; return what was there before.
        """
        with self._changed:
            before = {
                key: rows
                for key, rows in self._rows.items()
                if key[0] == namespace and any(map(is_theirs, rows))
            }
            self._index += bool(before)
            self._writes += bool(before)
            for key, rows in before.items():
                self._touched[key] = self._writes
                self._rows[key] = [row for row in rows if not is_theirs(row)]
            self._changed.notify_all()
            return before

    def bump(self) -> None:
        """
        Another service changed: the index moves, our rows do not.
        """
        with self._changed:
            self._index += 1
            self._writes += 1
            self._changed.notify_all()

    def kick(self) -> None:
        """
        Break off every blocked query.
        """
        with self._changed:
            self._kicks += 1
            self._changed.notify_all()

    def read(self, key: Key) -> Result:
        """
        Return what is there now, without waiting.
        """
        with self._changed:
            return self._seen(key)

    def ask(self, key: Key, index: int, wait: float) -> Result:
        """
        Answer as Nomad does: at once if the index moved past `index`, else wait.
        """
        wait = LONGEST if wait <= 0 else min(wait, LONGEST)
        end = time.monotonic() + wait + _DICE.uniform(0, wait / 16)
        with self._changed:
            kicks = self._kicks
            seen = self._seen(key)
            while 0 < index and seen.index <= index:
                if not self._wait_for_a_wake(key, kicks, end):
                    return seen  # the last run, even if the table moved elsewhere
                if self._kicks != kicks:
                    return Result(seen.rows, seen.index, kicked=True)
                seen = self._seen(key)
            return seen

    def _wait_for_a_wake(self, key: Key, kicks: int, end: float) -> bool:
        before = self._watched(key)
        self.blocked += 1
        try:
            return self._changed.wait_for(
                lambda: self._watched(key) != before or self._kicks != kicks,
                end - time.monotonic(),
            )
        finally:
            self.blocked -= 1

    def _watched(self, key: Key) -> tuple[int, int]:
        own = self._touched.get(key, 0) if self._rows.get(key) else self._writes
        return own, self._restores

    def _seen(self, key: Key) -> Result:
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
    Return a registration in the shape of Nomad's ServiceRegistration.

    Unless given, its allocation is made from the address, so that the same instance is the same
    row.
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
