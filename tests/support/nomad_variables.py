"""
Nomad's table of variables, and the blocking query over it.

As measured on 2.0.6 and 1.10.5: the response for a variable that does not exist has the index of
the last write to the whole table, and a query that waits for one returns after any write; a query
of a variable that exists returns only after its own change.
"""

import json
import re
import threading
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from tests.support.nomad_registry import MAX_WAIT, go_duration
from tests.support.nomad_rules import DENIED, VARIABLE, error, json_reply
from tests.support.wire import Reply, Request

Key = tuple[str, str]

#: The capability that a policy gives for the job's variable.
WRITE = "write"

_LEADER = {"X-Nomad-LastContact": "0", "X-Nomad-KnownLeader": "true"}


@dataclass(frozen=True, slots=True)
class Variable:
    """
    One variable; times are nanoseconds.
    """

    items: Mapping[str, str]
    create_index: int
    modify_index: int
    create_time: int
    modify_time: int

    def as_json(self, key: Key) -> dict[str, Any]:
        """
        Return it as Nomad does.
        """
        return {
            "CreateIndex": self.create_index,
            "CreateTime": self.create_time,
            "Items": dict(self.items),
            "ModifyIndex": self.modify_index,
            "ModifyTime": self.modify_time,
            "Namespace": key[0],
            "Path": key[1],
        }


class Variables:
    """
    The variables by namespace and path; `job` is that of the workload whose token is used.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._table: dict[Key, Variable] = {}
        self._index = 0
        self._interrupts = 0
        self.job = "lb"
        self.blocked = 0

    def put(
        self,
        path: str,
        items: Mapping[str, str],
        *,
        namespace: str = "default",
        at: float | None = None,
    ) -> int:
        """
        Write a variable, modified now or at an instant; return its index.
        """
        now = int((time.time() if at is None else at) * 1e9)
        key = (namespace, path)
        with self._changed:
            self._index += 1
            before = self._table.get(key)
            self._table[key] = Variable(
                dict(items),
                before.create_index if before else self._index,
                self._index,
                before.create_time if before else now,
                now,
            )
            self._changed.notify_all()
            return self._index

    def purge(self, path: str, *, namespace: str = "default") -> None:
        """
        Delete a variable.
        """
        with self._changed:
            self._index += self._table.pop((namespace, path), None) is not None
            self._changed.notify_all()

    def items(self, path: str, *, namespace: str = "default") -> Mapping[str, str]:
        """
        Return the items of a variable, none if it does not exist.
        """
        found = self._table.get((namespace, path))
        return found.items if found else {}

    def interrupt(self) -> None:
        """
        Interrupt every blocked query.
        """
        with self._changed:
            self._interrupts += 1
            self._changed.notify_all()

    def reply(
        self, request: Request, rights: Collection[str] | None, *, block: bool
    ) -> Reply | None:
        """
        Return the reply, None if the query was interrupted; `rights` are None with ACLs off.
        """
        path = request.path.removeprefix(VARIABLE)
        key = (request.query.get("namespace") or "default", path)
        is_own = path == "nomad/jobs" or f"{path}/".startswith(f"nomad/jobs/{self.job}/")
        if request.method == "GET":
            if rights is not None and not is_own:
                return error(403, DENIED)
            return self._read(key, request, block=block)
        if request.method != "PUT":
            return error(405, "Invalid method")
        return self._write(key, request, is_allowed=rights is None or (is_own and WRITE in rights))

    def _write(self, key: Key, request: Request, *, is_allowed: bool) -> Reply:
        if not request.body:
            return error(400, "Request body is empty")
        items = json.loads(request.body).get("Items")
        if not items:
            return error(400, "variable missing required Items object")
        cas = request.query.get("cas")
        if cas is not None and not re.fullmatch("[0-9]+", cas):
            return error(400, f'can not parse cas: strconv.ParseUint: parsing "{cas}": bad')
        if not is_allowed:
            return error(403, DENIED)
        with self._changed:
            before = self._table.get(key)
            found = before.modify_index if before else 0
            if cas is not None and int(cas) != found:
                body = json.dumps(before.as_json(key) if before else {})
                return Reply(409, body.encode(), {"Content-Type": "text/plain; charset=utf-8"})
        index = self.put(key[1], items, namespace=key[0])
        return json_reply(self._table[key].as_json(key), index)

    def _read(self, key: Key, request: Request, *, block: bool) -> Reply | None:
        index, wait = int(request.query.get("index") or 0), request.query.get("wait") or "0"
        limit = go_duration(wait)
        limit = MAX_WAIT if limit <= 0 else min(limit, MAX_WAIT)
        with self._changed:
            interrupts = self._interrupts
            if block and 0 < index and self._current(key) <= index:
                before = self._current(key)
                self.blocked += 1
                try:
                    self._changed.wait_for(
                        lambda: self._current(key) != before or self._interrupts != interrupts,
                        limit,
                    )
                finally:
                    self.blocked -= 1
                if self._interrupts != interrupts:
                    return None
            found, current = self._table.get(key), self._current(key)
        if found is None:
            reply = error(404, "variable not found")
            headers = {**reply.headers, "X-Nomad-Index": str(max(1, current)), **_LEADER}
            return Reply(404, reply.body, headers)
        reply = json_reply(found.as_json(key), found.modify_index)
        return Reply(200, reply.body, {**reply.headers, **_LEADER})

    def _current(self, key: Key) -> int:
        found = self._table.get(key)
        return self._index if found is None else found.modify_index
