"""
Cost of monitoring: the admin port, scraped and polled, against no admin port.

Two programs run side by side on one registry, and the load alternates between them, so that other
load on the machine affects both.
"""

import re
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks import scene
from benchmarks.findings import Finding, Unit, Value, middle, once
from benchmarks.report import mb, table
from tests.support.client import get
from tests.support.fake_nomad import FakeNomad
from tests.support.footprint import memory_of
from tests.support.supervised import Supervised
from tests.support.waiting import eventually, free_port

_TURN = "1s"
_TURNS = 20
_PATH_GOAL = 0.98
_SIZE_GOAL = 3.0
_ENDPOINTS = 10

_SPEED = re.compile(r"Requests/sec:\s+([0-9.]+)")


def measure(rounds: int) -> list[Finding]:
    """
    Load both alternately; one is scraped every second and polled as by three open status pages.
    """
    admin = free_port()
    with scene.Replicas() as replicas, FakeNomad() as nomad:
        nomad.set(scene.SERVICE, replicas.endpoints(1, _ENDPOINTS))
        with (
            scene.ours(nomad) as plain,
            scene.ours(nomad, ADMIN_PORT=str(admin)) as watched,
        ):
            for program in (plain, watched):
                program.wait_for_log("reload.applied", 30, endpoints=_ENDPOINTS)
            with _watching(admin):
                speeds = _speeds(plain, watched, min(rounds, _TURNS))
                eventually(lambda: get(admin, "/metrics").status == 200)
                time.sleep(6)  # long enough for samples
                sizes = memory_of(plain.pid).rss, memory_of(watched.pid).rss
    more = sizes[1] - sizes[0]
    findings = [
        Finding(
            measure="RSS with metrics and status polled, above neither",
            unit=Unit.MB,
            ours=once(more),
            goal=_SIZE_GOAL,
        )
    ]
    lines = [["RSS", mb(sizes[0]), mb(sizes[1]), mb(more)]]
    if speeds:
        # The best of each: other load on the machine can only reduce it.
        off, on = (max(each) for each in zip(*speeds, strict=True))
        ratio = on / off
        lines.insert(0, ["requests per second", f"{off:,.0f}", f"{on:,.0f}", f"{ratio:.3f}"])
        findings.append(
            Finding(
                measure="requests per second with metrics and status polled, against neither",
                unit=Unit.TIMES,
                # The noise of neighbours; the number is less affected by other load.
                ours=Value(ratio, middle(b / a for a, b in speeds).noise, len(speeds)),
                goal=_PATH_GOAL,
                higher_is_better=True,
            )
        )
    title = f"Monitored: scraped every second, polled by three pages (best of {len(speeds)} turns)"
    table(title, ["", "off", "on", "ratio, or more"], lines)
    return findings


def _speeds(plain: Supervised, watched: Supervised, turns: int) -> list[tuple[float, float]]:
    """Return requests per second without and with monitoring; empty if wrk is missing."""
    if shutil.which("wrk") is None:
        print("The data path was not measured: to include it, run apt-get install wrk.")
        return []
    _load(plain)  # warm up
    _load(watched)
    found = []
    for rotation in range(turns):
        if rotation % 2:
            on, off = _load(watched), _load(plain)
        else:
            off, on = _load(plain), _load(watched)
        found.append((off, on))
    return found


def _load(program: Supervised) -> float:
    output = subprocess.run(
        ["wrk", "-t1", "-c16", f"-d{_TURN}", f"http://127.0.0.1:{program.port}/"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    match = _SPEED.search(output)
    assert match is not None, output
    return float(match[1])


@contextmanager
def _watching(port: int) -> Iterator[None]:
    """Scrape every second, and poll like three open pages."""
    over = threading.Event()

    def watch(path: str, every: float) -> None:
        while not over.wait(every):
            get(port, path)

    watchers = [
        threading.Thread(target=watch, args=(path, every), daemon=True)
        for path, every in (("/metrics", 1.0), *[("/status", 2.0)] * 3)
    ]
    for watcher in watchers:
        watcher.start()
    try:
        yield
    finally:
        over.set()
        for watcher in watchers:
            watcher.join(5)
