"""
Load by wrk: as many requests as a few connections allow, one after the other on each.
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
    A load: the path, number of connections, whether they are kept, method and body size in bytes.
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
    The result of a run; latency is from the request to the end of its response, in seconds.

    Connection setup is part of throughput but not of latency.
    """

    requests: int
    seconds: float
    failed: int
    p50: float
    p99: float

    @property
    def rate(self) -> float:
        """Requests per second."""
        return self.requests / self.seconds


def why_not() -> str:
    """
    Return the reason why wrk cannot run, or an empty string if it can.
    """
    return "" if shutil.which("wrk") else "wrk is missing, run apt-get install wrk"


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
        output = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    return Carried(**json.loads(output.splitlines()[-1]))
