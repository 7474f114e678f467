"""
A soak: endpoints change a few times a second under traffic of all kinds; Nomad is unavailable for
a third of the time, alternately refusing and answering 500; every request is logged.

Replicas never die here: every failure is caused by a reload or by the supervisor.
"""

import contextlib
import itertools
import json
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from tests.support.fake_nomad import FakeNomad
from tests.support.nomad_faults import status
from tests.support.soak.samples import Sample, take_sample
from tests.support.soak.script import script
from tests.support.subjects import Ours
from tests.support.supervised import Supervised

#: Seconds between changes, and a reload interval short enough for a reload for each.
_EVERY = 0.5
_INTERVAL = "400ms"

#: Streams of 2 s keep five generations; more are allowed, so that no stream is ever cut.
_DRAINING = "20"

_ENDPOINTS = 12
_SERVING = 6


@dataclass(slots=True)
class SoakResult:
    """
    The result: samples, numbers of changes and reloads, answered and failed requests by kind, the
    last failures as text, and the number of requests in the access log.

    `bad` are the program's log lines with an error or an unexpected warning.
    """

    samples: list[Sample] = field(default_factory=list)
    seconds: float = 0.0
    changes: int = 0
    reloads: int = 0
    away: float = 0.0
    answered: Counter[str] = field(default_factory=Counter)
    failed: Counter[str] = field(default_factory=Counter)
    last: list[str] = field(default_factory=list)
    logged: int = 0
    bad: list[dict[str, Any]] = field(default_factory=list)


def soak(
    seconds: float, *, command: tuple[str, ...] = (), cycle: float = 60.0, **options: Any
) -> SoakResult:
    """
    Run changes and traffic for `seconds`; Nomad is unavailable for the last third of each cycle.

    `command` replaces the program's command line; `options` are its settings.
    """
    found = SoakResult()
    with _script("replicas.py") as replicas, FakeNomad() as nomad:
        port = int(_line(replicas))
        endpoints = [(f"127.1.0.{n + 1}", port) for n in range(_ENDPOINTS)]
        nomad.set("web", endpoints[:_SERVING])
        subject = Ours(nomad, "web", *([command] if command else []))
        given = {
            "RELOAD_INTERVAL": _INTERVAL,
            "MAX_DRAINING": _DRAINING,
            "ACCESS_LOG": "json",
            **options,
        }
        with Supervised(nomad, subject=subject, **given) as program:
            program.ready(30, status=200, path="/fast")
            with _script("clients.py", str(program.port)) as clients:
                _run_cycles(found, program, clients, endpoints, seconds=seconds, cycle=cycle)
    return found


def _run_cycles(
    found: SoakResult,
    program: Supervised,
    clients: subprocess.Popen[str],
    endpoints: list[tuple[str, int]],
    *,
    seconds: float,
    cycle: float,
) -> None:
    began = time.monotonic()
    nomad, is_away, turn = program.nomad, False, itertools.count()
    while (now := time.monotonic() - began) < seconds:
        to_be_away = now % cycle > cycle * 2 / 3
        if to_be_away != is_away:
            is_away = to_be_away
            _set_away(nomad, is_away=is_away, refuses=int(now / cycle) % 2 == 0)
        if is_away:
            found.away += _EVERY
        else:
            first = next(turn) % _ENDPOINTS
            nomad.set("web", [endpoints[(first + n) % _ENDPOINTS] for n in range(_SERVING)])
            found.changes += 1
        _record(found, program, clients)
        time.sleep(max(0.0, _EVERY - (time.monotonic() - began - now)))
    found.seconds = time.monotonic() - began
    _set_away(nomad, is_away=False, refuses=True)
    _record(found, program, clients)


def _set_away(nomad: FakeNomad, *, is_away: bool, refuses: bool) -> None:
    if is_away and refuses:
        nomad.stop()
    elif is_away:
        nomad.fault(status(500, "No cluster leader"))
    else:
        nomad.heal()
        nomad.start()
    nomad.requests.clear()


def _record(found: SoakResult, program: Supervised, clients: subprocess.Popen[str]) -> None:
    """Take a sample, and count the log lines since the last one."""
    for line in program.run.output.take_records():
        found.reloads += line["event"] == "reload.applied"
        found.logged += line["event"] == "request"
        is_expected = line["event"].startswith("discovery.")
        if line["level"] not in {"info", "debug"} and not is_expected:
            found.bad.append(line)
    sample = take_sample(program, found.reloads)
    if sample is not None:
        found.samples.append(sample)
    assert clients.stdin is not None
    clients.stdin.write("\n")
    clients.stdin.flush()
    counts = json.loads(_line(clients))
    found.answered, found.failed = Counter(counts["answered"]), Counter(counts["failed"])
    found.last = counts["last"]


def _line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline()


@contextlib.contextmanager
def _script(name: str, *words: str) -> Iterator[subprocess.Popen[str]]:
    with script(f"soak/{name}", *words) as process:
        try:
            yield process
        finally:
            process.terminate()
