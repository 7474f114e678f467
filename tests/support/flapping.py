"""
A service whose replicas are listed before they listen, and one of which crashes and restarts.

The same scenario runs against any balancer: the responses are classified by what a client can
expect at that moment, which is known because this module controls the replicas.
"""

import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from http.client import HTTPException
from pathlib import Path
from typing import Self

from tests.support.client import get
from tests.support.waiting import eventually, free_port

_LOADING = Path(__file__).parent / "loading_replica.py"

#: The last bytes of a killed replica may arrive this long after its death was observed.
_LAST_BYTES = 0.02


class LoadingReplica:
    """
    One replica: a process that can be killed and started again on the same port.
    """

    def __init__(self, name: str, load: float) -> None:
        self.name = name
        self.endpoint = ("127.0.0.1", free_port())
        self._load = load
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> Self:
        """Start the process; it listens after its load time."""
        command = [sys.executable, "-I", "-S", str(_LOADING)]
        command += [str(self.endpoint[1]), self.name, str(self._load)]
        self._process = subprocess.Popen(command)
        return self

    def kill(self) -> None:
        """Kill the process."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    @property
    def listens(self) -> bool:
        """Whether it answers a request."""
        try:
            return get(self.endpoint[1], timeout=1.0).text == self.name
        except (OSError, HTTPException):
            return False


@dataclass(frozen=True, slots=True)
class RequestRecord:
    """
    One request of a client: its times and its response; status 0 means no response.
    """

    at: float
    ended: float
    method: str
    status: int
    text: str


@dataclass
class Client:
    """
    Sends GET and POST on new connections, ten a second of each, until the block ends.
    """

    port: int
    records: list[RequestRecord] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._stopping = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=(method,), daemon=True)
            for method in ("GET", "POST")
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join()

    def _run(self, method: str) -> None:
        while not self._stopping.wait(0.1):
            at = time.monotonic()
            try:
                answer = get(self.port, method=method, body=b"x" * 100 if method == "POST" else b"")
                status, text = answer.status, answer.text
            except (OSError, HTTPException) as error:
                status, text = 0, repr(error)
            self.records.append(RequestRecord(at, time.monotonic(), method, status, text))


@dataclass(frozen=True, slots=True)
class Timeline:
    """
    When the first replica was observed to listen, and the kill and end of each crash.
    """

    first_ready: float
    crashes: tuple[tuple[float, float], ...]


@contextmanager
def replicas(count: int, load: float) -> Iterator[list[LoadingReplica]]:
    """
    Create replicas; the scenario starts them, after they are listed.
    """
    with ExitStack() as stack:
        made = [LoadingReplica(f"replica-{number}", load) for number in range(count)]
        for each in made:
            stack.callback(each.kill)
        yield made


def run_scenario(loaders: list[LoadingReplica], times: int, load: float, serve: float) -> Timeline:
    """
    Start all replicas, then kill and restart the first one `times` times.
    """
    for each in loaders:
        each.start()
    eventually(lambda: any(each.listens for each in loaders), load + 30)
    first_ready = time.monotonic()
    eventually(lambda: all(each.listens for each in loaders), load + 30)
    victim, crashes = loaders[0], []
    for _ in range(times):
        time.sleep(serve)  # let it serve for a while
        at = time.monotonic()
        victim.kill()
        crashes.append((at, time.monotonic()))
        victim.start()
        eventually(lambda: victim.listens, load + 30)
    time.sleep(serve)
    return Timeline(first_ready, tuple(crashes))


def classify(client: Client, timeline: Timeline, grace: float) -> Counter[str]:
    """
    Classify the responses: `served`, `starting` (a 503 with that state), `in flight` (sent to the
    killed replica), and all others by status, `early` up to `grace` after the first replica
    listened and `late` from then on.
    """
    found: Counter[str] = Counter()
    for record in client.records:
        is_in_flight = any(
            record.at <= ended + _LAST_BYTES and killed <= record.ended
            for killed, ended in timeline.crashes
        )
        if record.status == 200:
            found["served"] += 1
        elif record.at < timeline.first_ready + grace:
            starting = record.status == 503 and "starting" in record.text
            found["starting" if starting else f"early {record.status}"] += 1
        elif is_in_flight:
            found["in flight"] += 1
        else:
            found[f"late {record.status}"] += 1
    return found
