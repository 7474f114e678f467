"""
KeepaliveTraffic traffic of clients that keep their connection, as SDKs do: GET and POST, at a known rate.

A client looks whether its connection was closed before it sends, as every good one does, and never
sends a request a second time: what fails is counted.  It says how many connections it needed.
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
    One request: when, by which method, what came back; the status 0 is no answer.
    """

    at: float
    took: float
    method: str
    status: int
    text: str


@dataclass
class KeepaliveTraffic:
    """
    So many clients of each method, each with so many requests a second, until told to stop.
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
        The requests that were not answered with 200.
        """
        return [each for each in list(self.sent) if each.status != 200]

    @property
    def names(self) -> Counter[str]:
        """
        Who answered, and how often.
        """
        return Counter(each.text for each in list(self.sent) if each.status == 200)

    @property
    def per_second(self) -> float:
        """
        Requests a second, of all clients, over all of their time.
        """
        return len(self.sent) / ((self._ended or time.monotonic()) - self._began)

    @property
    def summary(self) -> str:
        """
        One line of all that.
        """
        kinds = Counter(str(each.status or each.text) for each in self.failures)
        trouble = f" ({', '.join(f'{n} x {what}' for what, n in kinds.most_common(4))})"
        return (
            f"{len(self.sent)} requests, {self.per_second:.0f}/s on {self.connections} connections,"
            f" {len(self.failures)} failed{trouble if kinds else ''}"
        )

    def _run(self, method: str, number: int) -> None:
        end = time.monotonic() + self.seconds
        due = time.monotonic() + number / self.clients / self.rate
        line: HTTPConnection | None = None
        while not self._stopping.wait(max(0.0, due - time.monotonic())) and due < end:
            due = max(due + 1 / self.rate, time.monotonic() - 1.0)
            line = self._once(method, line)
        if line is not None:
            line.close()

    def _once(self, method: str, line: HTTPConnection | None) -> HTTPConnection | None:
        if line is not None and (line.sock is None or _is_closed(line)):
            line.close()
            line = None
        at = time.monotonic()
        try:
            if line is None:
                self.connections += 1
                line = HTTPConnection(self.host, self.port, timeout=self.timeout)
            line.request(method, self.path, body=b"x" * 200 if method == "POST" else None)
            answer = line.getresponse()
            status, text = answer.status, answer.read().decode("utf-8", "replace")
        except (OSError, HTTPException) as error:
            status, text = 0, type(error).__name__
            if line is not None:
                line.close()
            line = None
        self.sent.append(Sent(at, time.monotonic() - at, method, status, text))
        return line


def _is_closed(line: HTTPConnection) -> bool:
    return bool(select.select([line.sock], [], [], 0)[0])
