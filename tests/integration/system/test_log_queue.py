"""
Room in the log: requests wait for it, as long as somebody reads, and leave some to all else.
"""

import json
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from supervisor.nginx import access_log
from supervisor.nginx.access_log import AccessLog
from supervisor.system.log import Writer
from tests.support.waiting import eventually

MANY = 6000
LINE = "x" * 200


class Pipe:
    """
    A stdout of the smallest size, and whoever reads it.
    """

    def __init__(self) -> None:
        self.lines: list[bytes] = []
        self._ours, theirs = os.pipe()
        self.writer = Writer(theirs)

    def read(self) -> None:
        """
        Begin to read.
        """
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        with os.fdopen(self._ours, "rb", buffering=0) as stream:
            rest = b""
            while data := stream.read(65536):
                *lines, rest = (rest + data).split(b"\n")
                self.lines += lines


@pytest.fixture
def stdout() -> Iterator[Pipe]:
    """
    A writer whose output nobody reads yet.
    """
    pipe = Pipe()
    yield pipe
    pipe.read()
    pipe.writer.finish(5)


def test_a_burst_of_requests_waits_for_a_slow_reader(stdout: Pipe) -> None:
    """
    More at once than the queue holds, while the reader is late: nothing is dropped.
    """

    def burst() -> None:
        for n in range(MANY):
            stdout.writer.put_request(f"{n} {LINE}")

    handing_over = threading.Thread(target=burst)
    handing_over.start()
    handing_over.join(0.3)
    assert handing_over.is_alive()
    stdout.read()
    handing_over.join(10)
    eventually(lambda: len(stdout.lines) == MANY)
    assert 0 == stdout.writer.dropped


def test_requests_leave_room_for_all_else(stdout: Pipe) -> None:
    """
    Where nobody reads requests are dropped after one wait and not one each; what we say ourselves
    is kept beside them, and once somebody reads requests are told again.
    """
    began = time.monotonic()
    for n in range(MANY):
        stdout.writer.put_request(f"{n} {LINE}")
    assert time.monotonic() - began < 4
    lost = stdout.writer.dropped
    assert lost > 4000
    for n in range(500):
        stdout.writer.put(f"ours {n}")
    assert lost == stdout.writer.dropped

    stdout.read()
    eventually(lambda: b"ours 499" in stdout.lines)
    stdout.writer.put_request("again")
    eventually(lambda: b"again" in stdout.lines)
    assert lost == stdout.writer.dropped
    (dropped,) = [json.loads(line) for line in stdout.lines if b"log.dropped" in line]
    assert {"time", "level", "event", "lines"} == dropped.keys()
    assert lost == dropped["lines"]


def test_who_is_too_far_behind_skips(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    What cannot be caught up with is given back unread, and said; what comes next is told.
    """
    monkeypatch.setattr(access_log, "_MOST_BEHIND", 10_000)
    told: list[str] = []
    said: list[tuple[str, int]] = []

    def tell(_: str, fields: Any) -> None:  # noqa: ANN401 - as the log has it
        told.append(fields["uri"])

    def complain(event: str, _: str, **fields: int) -> None:
        said.append((event, *fields.values()))

    following = AccessLog(tmp_path, tell, complain)
    following.start()
    log = tmp_path / access_log.NAME
    with log.open("ab", buffering=0) as file:
        file.write(b'{"at":1.5,"uri":"/skipped"}\n' * 1000)
        eventually(lambda: said)
        file.write(b'{"at":1.5,"uri":"/next"}\n')
        eventually(lambda: told)
    following.finish(2)
    assert [("access.skipped", 28_000)] == said
    assert ["/next"] == told
    assert log.stat().st_blocks * 512 <= 8192
