"""
What a process costs: memory as the kernel counts it, processor time, what an import adds.
"""

import os
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from tests.support.checkout import CHECKOUT

#: The dependencies that were given; what the supervisor adds to them is its own share.
DEPENDENCIES = "import psutil, jinja2, nomad, structlog"

#: All that `autoexit-nginx run` loads, on the way that it takes.
SUPERVISOR_IMPORTS = "import supervisor.cli.main, supervisor.daemon.start"

_SAYS_ITS_SIZE = """
import sys
lines = open("/proc/self/smaps_rollup").readlines()
print(*(line.split()[1] for line in lines if line[:4] in {"Rss:", "Pss:"}))
print(*sorted(sys.modules))
"""


@dataclass(frozen=True, slots=True)
class Memory:
    """
    Megabytes of 1,000,000 bytes: all that is mapped, and that with shared pages shared out.
    """

    rss: float
    pss: float


@dataclass(frozen=True, slots=True)
class Cost:
    """
    What running a few lines took: seconds, memory at their end, the modules loaded by then.
    """

    seconds: float
    memory: Memory
    modules: frozenset[str]


def memory_of(pid: int) -> Memory:
    """
    Return what a process holds at this moment.
    """
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    sizes = {line.split(":")[0]: line.split()[1] for line in lines if line.endswith("kB")}
    return _memory(sizes["Rss"], sizes["Pss"])


def processor_time(pid: int) -> float:
    """
    Return the seconds a process has computed, all threads that ever were included.

    The process's own clock counts nanoseconds, where /proc/PID/stat counts hundredths.
    """
    return time.clock_gettime((~pid << 3) | 2)  # what clock_getcpuclockid(3) returns


def cost_of(python: Path, lines: str) -> Cost:
    """
    Run a few lines in an interpreter of their own, with the checkout to import from.
    """
    began = time.perf_counter()
    done = subprocess.run(
        [str(python), "-c", lines + _SAYS_ITS_SIZE],
        capture_output=True,
        text=True,
        check=True,
        cwd=CHECKOUT,
        env={"PATH": os.environ["PATH"], "LANG": "C.UTF-8"},
    )
    took = time.perf_counter() - began
    sizes, modules = done.stdout.splitlines()
    return Cost(took, _memory(*sizes.split()), frozenset(modules.split()))


def _memory(rss: str, pss: str) -> Memory:
    return Memory(int(rss) * 1024 / 1e6, int(pss) * 1024 / 1e6)
