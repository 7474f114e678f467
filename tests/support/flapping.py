"""
A service whose replicas are listed before they listen, and one of which dies and comes back.

The same script for whoever balances: what clients saw is counted by what they could expect at that
moment, which is known because the replicas are ours.
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

_LOADING = Path(__file__).parent / "loading.py"

#: The last bytes of who died may be on their way this long after its death was seen.
_LAST_BYTES = 0.02


class Loader:
    """
    One replica: a process that may be killed and started again on the port of the first time.
    """

    def __init__(self, name: str, load: float) -> None:
        self.name = name
        self.endpoint = ("127.0.0.1", free_port())
        self._load = load
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> Self:
        """Begin to load; it listens later."""
        command = [sys.executable, "-I", "-S", str(_LOADING)]
        command += [str(self.endpoint[1]), self.name, str(self._load)]
        self._process = subprocess.Popen(command)
        return self

    def kill(self) -> None:
        """Die at once."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    @property
    def listens(self) -> bool:
        """Whether it answers a question of its own."""
        try:
            return get(self.endpoint[1], timeout=1.0).text == self.name
        except (OSError, HTTPException):
            return False


@dataclass(frozen=True, slots=True)
class Seen:
    """
    One request of a client: when, and what came back; the status 0 is no answer.
    """

    at: float
    ended: float
    method: str
    status: int
    text: str


@dataclass
class Client:
    """
    GET and POST on new connections, ten a second of each, until told to stop.
    """

    port: int
    seen: list[Seen] = field(default_factory=list)

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
            self.seen.append(Seen(at, time.monotonic(), method, status, text))


@dataclass(frozen=True, slots=True)
class Story:
    """
    What happened: when the first replica was seen to listen, and each death from kill to burial.
    """

    first_ready: float
    deaths: tuple[tuple[float, float], ...]


@contextmanager
def replicas(count: int, load: float) -> Iterator[list[Loader]]:
    """
    Make so many; the story starts them, when they are listed already.
    """
    with ExitStack() as stack:
        made = [Loader(f"replica-{number}", load) for number in range(count)]
        for each in made:
            stack.callback(each.kill)
        yield made


def tell(loaders: list[Loader], times: int, load: float, serve: float) -> Story:
    """
    Let all come up, then the first die and come back, so many times.
    """
    for each in loaders:
        each.start()
    eventually(lambda: any(each.listens for each in loaders), load + 30)
    first_ready = time.monotonic()
    eventually(lambda: all(each.listens for each in loaders), load + 30)
    victim, deaths = loaders[0], []
    for _ in range(times):
        time.sleep(serve)  # it serves for a while: that is the story
        at = time.monotonic()
        victim.kill()
        deaths.append((at, time.monotonic()))
        victim.start()
        eventually(lambda: victim.listens, load + 30)
    time.sleep(serve)
    return Story(first_ready, tuple(deaths))


def judged(client: Client, story: Story, grace: float) -> Counter[str]:
    """
    Sort what a client saw: `served`, `starting` (a 503 that says so), `in flight` (on its way to
    who was killed), and everything else by its status, `early` before `grace` after the first
    replica listened and `late` from then on.
    """
    found: Counter[str] = Counter()
    for seen in client.seen:
        dying = any(
            seen.at <= buried + _LAST_BYTES and killed <= seen.ended
            for killed, buried in story.deaths
        )
        if seen.status == 200:
            found["served"] += 1
        elif seen.at < story.first_ready + grace:
            starting = seen.status == 503 and "starting" in seen.text
            found["starting" if starting else f"early {seen.status}"] += 1
        elif dying:
            found["in flight"] += 1
        else:
            found[f"late {seen.status}"] += 1
    return found
