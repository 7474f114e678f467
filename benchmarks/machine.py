"""
What a run depends on besides the code: versions, processors and load.
"""

import os
import platform
from collections.abc import Iterable
from datetime import UTC, datetime

from benchmarks import consul_template, contestants
from benchmarks.findings import Finding
from benchmarks.last_run import Part
from tests.support import nginxes


def versions() -> tuple[str, ...]:
    """
    Name the interpreter, nginx and the peers of this machine.
    """
    names = (
        f"Python {platform.python_version()}",
        *(nginxes.name_of(binary) for binary in ("nginx", nginxes.current()) if binary),
        contestants.haproxy_version(),
        consul_template.version(),
    )
    return tuple(name for name in names if name)


def load() -> float:
    """
    Return the load average of the last minute.
    """
    return os.getloadavg()[0]


def part(findings: Iterable[Finding], rounds: int, load_before: float) -> Part:
    """
    Return findings that were just measured, with their circumstances.
    """
    return Part(
        date=f"{datetime.now(UTC):%Y-%m-%d}",
        versions=versions(),
        processors=os.cpu_count() or 1,
        load=(load_before, load()),
        rounds=rounds,
        findings=tuple(findings),
    )
