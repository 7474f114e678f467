"""
Load by wrk: as many requests as a few connections can carry, one after the other on each.
"""

import json
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from benchmarks.processors import OTHERS, on

_SCRIPT = Path(__file__).with_suffix(".lua")


@dataclass(frozen=True, slots=True)
class Load:
    """
    What is asked: the path, on how many connections, whether they are kept, with which body.
    """

    name: str
    path: str
    connections: int
    kept: bool = True
    method: str = "GET"
    body: int = 0


@dataclass(frozen=True, slots=True)
class Carried:
    """
    What a run came to; latency is from the request to the end of its answer, in seconds.

    A connection that had to be made first is no part of latency, but it is one of throughput.
    """

    requests: int
    seconds: float
    failed: int
    p50: float
    p99: float

    @property
    def rate(self) -> float:
        """Requests a second."""
        return self.requests / self.seconds


def why_not() -> str:
    """
    Return why there can be no such load, or nothing where there can.
    """
    return "" if shutil.which("wrk") else "no wrk here: apt-get install wrk"


def run(port: int, load: Load, seconds: int) -> Carried:
    """
    Load a port from one thread.
    """
    words = [
        *("wrk", "--threads", "1", "--connections", str(load.connections)),
        *("--duration", f"{seconds}s", "--timeout", "10s", "--script", str(_SCRIPT)),
        f"http://127.0.0.1:{port}{load.path}",
        *("--", load.method, str(load.body), "kept" if load.kept else "new"),
    ]
    with on(OTHERS):
        said = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    return Carried(**json.loads(said.splitlines()[-1]))
