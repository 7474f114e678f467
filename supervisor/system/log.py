"""
What the program says: structlog, one JSON object a line on stdout.

Lines are handed to one writer thread through a bounded queue: a reader of stdout that has stalled
blocks the writer and nobody else.  What does not fit is dropped and counted.  A token that must
not be seen is registered once and cut out of every line, wherever it came from.
"""

import json
import logging
import os
import queue
import select
import threading
import time
from collections.abc import Iterable, Mapping, MutableMapping
from typing import Any

import structlog

from supervisor.core.durations import format_moment

_LONGEST_TEXT = 2000
_QUEUED_LINES = 2000
#: Of them requests, which come by the thousand: all else finds room beside them.
_QUEUED_REQUESTS = 1000
#: How long a request may wait for room before nobody seems to read, in seconds.
_QUEUE_TIMEOUT = 1.0
#: A line before it is text, as structlog hands it from one processor to the next.
Fields = MutableMapping[str, Any]

_LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}


class Writer:
    """
    The thread that owns stdout.
    """

    def __init__(self, descriptor: int = 1) -> None:
        self._descriptor = descriptor
        self._lines: queue.Queue[tuple[bytes, bool] | None] = queue.Queue(_QUEUED_LINES)
        self._room = threading.Semaphore(_QUEUED_REQUESTS)
        self._is_stuck = False
        self.dropped = 0
        self._told = 0
        self._thread = threading.Thread(target=self._write_all, name="log writer", daemon=True)
        self._thread.start()

    def put(self, line: str) -> None:
        """Hand over a line; never blocks."""
        self._put(line, is_request=False)

    def put_request(self, line: str) -> None:
        """Hand over one of many lines; waits for room, as long as somebody reads."""
        if not self._room.acquire(timeout=0 if self._is_stuck else _QUEUE_TIMEOUT):
            self._is_stuck = True
            self.dropped += 1
            return
        self._is_stuck = False
        if not self._put(line, is_request=True):
            self._room.release()

    def _put(self, line: str, *, is_request: bool) -> bool:
        try:
            self._lines.put_nowait((line.encode() + b"\n", is_request))
        except queue.Full:
            self.dropped += 1
            return False
        return True

    def finish(self, within: float) -> None:
        """Wait until all is written, but not longer than `within` seconds."""
        try:
            self._lines.put(None, timeout=within)
        except queue.Full:
            return
        self._thread.join(within)

    def _write_all(self) -> None:
        while (entry := self._lines.get()) is not None:
            line, is_request = entry
            if self.dropped > self._told:
                missed, self._told = self.dropped - self._told, self.dropped
                told = {"level": "warning", "event": "log.dropped", "lines": missed}
                said = _line({"time": format_moment(time.time()), **told})
                line = said.encode() + b"\n" + line
            while line:
                try:
                    line = line[os.write(self._descriptor, line) :]
                except BlockingIOError:  # who shares the terminal with us has made it non-blocking
                    select.select([], [self._descriptor], [])
                except OSError:  # the reader is gone for good
                    break
            if is_request:
                self._room.release()


class Log:
    """
    The one logger: a dotted event id and fields.
    """

    def __init__(self, writer: Writer, level: str, layout: str) -> None:
        self._writer = writer
        self._secrets: tuple[str, ...] = ()
        self._render: Any = (
            structlog.dev.ConsoleRenderer(colors=True) if layout == "console" else _as_json
        )
        self._logger = structlog.wrap_logger(
            _Sink(writer),
            processors=[_stamp, self._hide, self._render],
            wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level]),
        )

    def redact(self, secrets: Iterable[str]) -> None:
        """Never write these texts."""
        known = {*self._secrets, *(secret for secret in secrets if len(secret) > 3)}
        self._secrets = tuple(sorted(known))

    def emit(self, event: str, level: str = "info", **fields: Any) -> None:
        """Write one line."""
        self._logger.log(
            _LEVELS[level],
            event,
            **{name: value for name, value in fields.items() if value is not None},
        )

    def record(self, moment: str, fields: Mapping[str, Any]) -> None:
        """Write the line of a request that ended at a moment; no level holds it back."""
        line = {"time": moment, "level": "info", "event": "request", **fields}
        self._writer.put_request(self._render(None, "info", self._hide(None, "info", line)))

    @property
    def dropped(self) -> int:
        """How many lines were lost because nobody read stdout."""
        return self._writer.dropped

    def finish(self, within: float) -> None:
        """Wait until all is written, but not longer than `within` seconds."""
        self._writer.finish(within)

    def _hide(self, _: object, __: str, fields: Fields) -> Mapping[str, Any]:
        return {name: self._clean(value) for name, value in fields.items()}

    def _clean(self, value: object) -> object:
        if not isinstance(value, str):
            return value
        for secret in self._secrets:
            value = value.replace(secret, "[hidden]")
        return value if len(value) <= _LONGEST_TEXT else value[:_LONGEST_TEXT] + "…"


class _Sink:
    """What structlog calls with a finished line."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer

    def msg(self, line: str) -> None:
        self._writer.put(line)

    debug = info = warning = error = msg


def _stamp(_: object, level: str, fields: Fields) -> Mapping[str, Any]:
    return {
        "time": format_moment(time.time()),
        "level": level,
        "event": fields.pop("event"),
        **fields,
    }


def _as_json(_: object, __: str, fields: Fields) -> str:
    return _line(fields)


def _line(fields: Mapping[str, Any]) -> str:
    return json.dumps(fields, default=str)


logging.raiseExceptions = False  # a library that logs must never write to our streams
