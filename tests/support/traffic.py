"""
Constant traffic in the background, to detect failures during a change.

Every request uses a new connection: a reload never loses those, so a single failure counts.
Bounded in number and time, since test machines are shared.
"""

import threading
import time
from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Self

from tests.support.client import Answer, get


@dataclass(frozen=True, slots=True)
class Outcome:
    """
    One request: when it was sent, its duration, and the replica or the error.
    """

    at: float
    took: float
    status: int
    name: str
    error: str = ""


class Traffic:
    """
    Sends requests one after the other until stopped, or until a count or time is reached.
    """

    def __init__(
        self,
        port: int | Path,
        path: str = "/",
        *,
        method: str = "GET",
        body: bytes = b"",
        every: float = 0.005,
        count: int = 20_000,
        seconds: float = 60.0,
        good: Collection[int] = (200,),
        timeout: float = 5.0,
    ) -> None:
        self.outcomes: list[Outcome] = []
        self._send: Callable[[], Answer] = lambda: get(
            port, path, method=method, body=body, timeout=timeout
        )
        self._every = every
        self._count = count
        self._seconds = seconds
        self._good = frozenset(good)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> Self:
        """
        Start in the background.
        """
        self._thread.start()
        return self

    def stop(self) -> Self:
        """
        Stop after the current request.
        """
        self._stopping.set()
        self._thread.join()
        return self

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def failures(self) -> list[Outcome]:
        """
        The requests without a response, or with a status that is not in `good`.
        """
        return [o for o in list(self.outcomes) if o.error or o.status not in self._good]

    @property
    def answered(self) -> Counter[str]:
        """
        The number of responses of each backend, by body.
        """
        return Counter(o.name for o in list(self.outcomes) if not o.error)

    def first(self, name: str, since: float = 0.0) -> Outcome | None:
        """
        Return the first response of this backend to a request sent at or after `since`.
        """
        return next((o for o in list(self.outcomes) if o.name == name and o.at >= since), None)

    def last(self, name: str) -> Outcome | None:
        """
        Return the last response of this backend.
        """
        return next((o for o in reversed(list(self.outcomes)) if o.name == name), None)

    def _run(self) -> None:
        end = time.monotonic() + self._seconds
        while len(self.outcomes) < self._count and time.monotonic() < end:
            self.outcomes.append(self._once())
            if self._stopping.wait(self._every):
                return

    def _once(self) -> Outcome:
        at = time.monotonic()
        try:
            answer = self._send()
        except (OSError, HTTPException) as error:
            return Outcome(at, time.monotonic() - at, 0, "", repr(error))
        return Outcome(at, time.monotonic() - at, answer.status, answer.text)
