"""
Costs of a process: memory as the kernel counts it, processor time, and the cost of imports.
"""

import os
import resource
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from tests.support.checkout import CHECKOUT

#: The four required packages; the supervisor's own cost is counted above them.
DEPENDENCIES = "import psutil, jinja2, nomad, structlog"

#: The modules that `autoexit-nginx run` imports.
SUPERVISOR_IMPORTS = "import supervisor.cli.main, supervisor.daemon.start"

_PRINT_SIZE = """
import sys
lines = open("/proc/self/smaps_rollup").readlines()
print(*(line.split()[1] for line in lines if line[:4] in {"Rss:", "Pss:"}))
print(*sorted(sys.modules))
"""


@dataclass(frozen=True, slots=True)
class Memory:
    """
    RSS and PSS in megabytes of 1,000,000 bytes.
    """

    rss: float
    pss: float


@dataclass(frozen=True, slots=True)
class Cost:
    """
    The cost of a few lines of code: seconds, memory at their end, and the loaded modules.
    """

    seconds: float
    memory: Memory
    modules: frozenset[str]


def memory_of(pid: int) -> Memory:
    """
    Return the current memory of a process.
    """
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    sizes = {line.split(":")[0]: line.split()[1] for line in lines if line.endswith("kB")}
    return _memory(sizes["Rss"], sizes["Pss"])


def processor_time(pid: int) -> float:
    """
    Return the processor time of a process in seconds, including ended threads.

    The process's CPU clock counts nanoseconds, /proc/PID/stat hundredths of a second.
    """
    return time.clock_gettime((~pid << 3) | 2)  # what clock_getcpuclockid(3) returns


def cost_of(python: Path, lines: str) -> Cost:
    """
    Run a few lines in a new interpreter with the checkout as its folder.
    """
    before = _processor_time()
    done = subprocess.run(
        [str(python), "-c", lines + _PRINT_SIZE],
        capture_output=True,
        text=True,
        check=True,
        cwd=CHECKOUT,
        env={"PATH": os.environ["PATH"], "LANG": "C.UTF-8"},
    )
    took = _processor_time() - before
    sizes, modules = done.stdout.splitlines()
    return Cost(took, _memory(*sizes.split()), frozenset(modules.split()))


def _processor_time() -> float:
    """Return the processor time of all children so far, which other load changes little."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _memory(rss: str, pss: str) -> Memory:
    return Memory(int(rss) * 1024 / 1e6, int(pss) * 1024 / 1e6)
