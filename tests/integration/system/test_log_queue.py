"""
The log queue: requests wait for space while stdout is read, and leave space for other lines.
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
from supervisor.system.log import Log, Writer
from tests.support.waiting import eventually

MANY = 6000
LINE = "x" * 200


class Pipe:
    """
    A pipe as stdout, and its reader.
    """

    def __init__(self) -> None:
        self.lines: list[bytes] = []
        self._reading_end, writing_end = os.pipe()
        self.writer = Writer(writing_end)

    def read(self) -> None:
        """
        Start to read.
        """
        threading.Thread(target=self._read, daemon=True).start()

    def close(self) -> None:
        """
        End reading before it began.
        """
        os.close(self._reading_end)

    def _read(self) -> None:
        with os.fdopen(self._reading_end, "rb", buffering=0) as stream:
            rest = b""
            while data := stream.read(65536):
                *lines, rest = (rest + data).split(b"\n")
                self.lines += lines


@pytest.fixture
def stdout() -> Iterator[Pipe]:
    """
    Yield a writer whose output is not read yet.
    """
    pipe = Pipe()
    yield pipe
    pipe.read()
    pipe.writer.finish(5)


def test_a_burst_of_requests_waits_for_a_slow_reader(stdout: Pipe) -> None:
    """
    More requests than the queue holds wait for a late reader, and none is dropped.
    """

    def burst() -> None:
        for n in range(MANY):
            stdout.writer.put_request(f"{n} {LINE}")

    writing = threading.Thread(target=burst)
    writing.start()
    writing.join(0.3)
    assert writing.is_alive()
    stdout.read()
    writing.join(10)
    eventually(lambda: len(stdout.lines) == MANY)
    assert 0 == stdout.writer.dropped


def test_requests_leave_space_for_other_lines(stdout: Pipe) -> None:
    """
    With a stalled stdout requests are dropped after one wait in total.  Other lines are kept, and
    when stdout is read again requests are logged again.
    """
    began = time.monotonic()
    for n in range(MANY):
        stdout.writer.put_request(f"{n} {LINE}")
    assert time.monotonic() - began < 4
    dropped = stdout.writer.dropped
    assert dropped > 4000
    for n in range(500):
        stdout.writer.put(f"ours {n}")
    assert dropped == stdout.writer.dropped

    stdout.read()
    eventually(lambda: b"ours 499" in stdout.lines)
    stdout.writer.put_request("again")
    eventually(lambda: b"again" in stdout.lines)
    assert dropped == stdout.writer.dropped
    (report,) = [json.loads(line) for line in stdout.lines if b"log.dropped" in line]
    assert {"time", "level", "event", "lines"} == report.keys()
    assert dropped == report["lines"]


def test_lines_that_nobody_can_read_are_counted() -> None:
    """
    Lines written to a pipe whose reader has gone are counted as dropped, each once.
    """
    pipe = Pipe()
    pipe.close()
    for n in range(50):
        pipe.writer.put(f"{n}")
        pipe.writer.put_request(f"{n}")
    pipe.writer.finish(5)
    assert 100 == pipe.writer.dropped


def test_a_secret_is_removed_at_any_depth(stdout: Pipe) -> None:
    """
    A token in a list, a dictionary or its keys is hidden like one in a text; other values stay.
    """
    log = Log(stdout.writer, "info", "json")
    log.redact(["5ecret"])
    log.emit(
        "test",
        files=["a/5ecret", 7, None],
        nested={"5ecret": ({"x": "=5ecret="}, True)},
        path=Path("/5ecret"),
    )
    stdout.read()
    (line,) = [json.loads(text) for text in eventually(lambda: stdout.lines)]
    assert ["a/[hidden]", 7, None] == line["files"]
    assert {"[hidden]": [{"x": "=[hidden]="}, True]} == line["nested"]
    assert "/[hidden]" == line["path"]


def test_a_reader_too_far_behind_skips_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    Too many unread bytes are released and reported, and later lines are logged.
    """
    monkeypatch.setattr(access_log, "_MAX_UNREAD", 10_000)
    uris: list[str] = []
    messages: list[tuple[str, int]] = []

    def record(_: str, fields: Any) -> None:  # noqa: ANN401 - as in Log.record
        uris.append(fields["uri"])

    def log_message(event: str, _: str, **fields: int) -> None:
        messages.append((event, *fields.values()))

    reader = AccessLog(tmp_path, record, log_message)
    reader.start()
    log = tmp_path / access_log.NAME
    with log.open("ab", buffering=0) as file:
        file.write(b'{"at":1.5,"uri":"/skipped"}\n' * 1000)
        eventually(lambda: messages)
        file.write(b'{"at":1.5,"uri":"/next"}\n')
        eventually(lambda: uris)
    reader.finish(2)
    assert [("access.skipped", 28_000)] == messages
    assert ["/next"] == uris
    assert log.stat().st_blocks * 512 <= 8192
