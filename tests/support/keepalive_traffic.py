"""
Traffic of clients with keep-alive connections, as SDKs have: GET and POST at a fixed rate.

A client checks whether its connection was closed before it sends, as good clients do, and never
retries: failures are counted, and so are the connections.
"""

import select
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from typing import Self


@dataclass(frozen=True, slots=True)
class Sent:
    """
    One request and its result; status 0 means no response.
    """

    at: float
    took: float
    method: str
    status: int
    text: str


@dataclass
class KeepaliveTraffic:
    """
    `clients` clients for each method, each with `rate` requests a second, until stopped.
    """

    port: int
    host: str
    path: str = "/"
    clients: int = 4
    rate: float = 20.0
    seconds: float = 180.0
    timeout: float = 10.0
    sent: list[Sent] = field(default_factory=list)
    connections: int = 0

    def __post_init__(self) -> None:
        self._stopping = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=(method, number), daemon=True)
            for method in ("GET", "POST")
            for number in range(self.clients)
        ]
        self._began = self._ended = 0.0

    def __enter__(self) -> Self:
        self._began = time.monotonic()
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join()
        self._ended = time.monotonic()

    @property
    def failures(self) -> list[Sent]:
        """
        The requests without a 200.
        """
        return [each for each in list(self.sent) if each.status != 200]

    @property
    def names(self) -> Counter[str]:
        """
        The number of responses of each replica.
        """
        return Counter(each.text for each in list(self.sent) if each.status == 200)

    @property
    def per_second(self) -> float:
        """
        Requests a second of all clients, over the whole run.
        """
        return len(self.sent) / ((self._ended or time.monotonic()) - self._began)

    @property
    def summary(self) -> str:
        """
        The results in one line.
        """
        kinds = Counter(str(each.status or each.text) for each in self.failures)
        reasons = f" ({', '.join(f'{n} x {what}' for what, n in kinds.most_common(4))})"
        return (
            f"{len(self.sent)} requests, {self.per_second:.0f}/s on {self.connections} connections,"
            f" {len(self.failures)} failed{reasons if kinds else ''}"
        )

    def _run(self, method: str, number: int) -> None:
        end = time.monotonic() + self.seconds
        due = time.monotonic() + number / self.clients / self.rate
        connection: HTTPConnection | None = None
        while not self._stopping.wait(max(0.0, due - time.monotonic())) and due < end:
            due = max(due + 1 / self.rate, time.monotonic() - 1.0)
            connection = self._once(method, connection)
        if connection is not None:
            connection.close()

    def _once(self, method: str, connection: HTTPConnection | None) -> HTTPConnection | None:
        if connection is not None and (connection.sock is None or _is_closed(connection)):
            connection.close()
            connection = None
        at = time.monotonic()
        try:
            if connection is None:
                self.connections += 1
                connection = HTTPConnection(self.host, self.port, timeout=self.timeout)
            connection.request(method, self.path, body=b"x" * 200 if method == "POST" else None)
            answer = connection.getresponse()
            status, text = answer.status, answer.read().decode("utf-8", "replace")
        except (OSError, HTTPException) as error:
            status, text = 0, type(error).__name__
            if connection is not None:
                connection.close()
            connection = None
        self.sent.append(Sent(at, time.monotonic() - at, method, status, text))
        return connection


def _is_closed(connection: HTTPConnection) -> bool:
    return bool(select.select([connection.sock], [], [], 0)[0])
