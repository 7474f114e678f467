"""
The log: structlog, one JSON object per line on stdout, or lines for a person.

Lines pass through a bounded queue to one writer thread, so that a stalled reader of stdout blocks
only that thread.  Lines that do not fit, or cannot be written, are dropped and counted.  A secret
is registered once and redacted from every line, whatever its source.
"""

import json
import logging
import os
import queue
import select
import threading
import time
from collections.abc import Callable, Iterable, Mapping, MutableMapping
from functools import partial
from typing import Any

import structlog

from supervisor.core.durations import format_moment
from supervisor.system.console_lines import console_line

_MAX_TEXT = 2000
_QUEUED_LINES = 2000
#: Of these at most so many lines of the access log, so that other lines still fit in.
_QUEUED_REQUESTS = 1000
#: How long a line of the access log waits for space before stdout counts as stalled, in seconds.
_QUEUE_TIMEOUT = 1.0
#: A line before it is rendered, as structlog passes it from one processor to the next.
Fields = MutableMapping[str, Any]
Render = Callable[[Mapping[str, Any]], str]

_LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}


class Writer:
    """
    The thread that writes to stdout; `render` formats the lines about dropped lines.
    """

    def __init__(self, descriptor: int = 1) -> None:
        self.render: Render = _to_json
        self._descriptor = descriptor
        self._lines: queue.Queue[tuple[bytes, bool] | None] = queue.Queue(_QUEUED_LINES)
        self._request_slots = threading.Semaphore(_QUEUED_REQUESTS)
        self._is_stalled = False
        self._lock = threading.Lock()
        self.dropped = 0
        self._reported = 0
        self._thread = threading.Thread(target=self._write_all, name="log writer", daemon=True)
        self._thread.start()

    def put(self, line: str) -> None:
        """Queue a line; never blocks."""
        self._put(line, is_request=False)

    def put_request(self, line: str) -> None:
        """Queue a line of the access log; waits for space unless stdout is stalled."""
        if not self._request_slots.acquire(timeout=0 if self._is_stalled else _QUEUE_TIMEOUT):
            self._is_stalled = True
            self._drop()
            return
        self._is_stalled = False
        if not self._put(line, is_request=True):
            self._request_slots.release()

    def _put(self, line: str, *, is_request: bool) -> bool:
        try:
            self._lines.put_nowait((line.encode() + b"\n", is_request))
        except queue.Full:
            self._drop()
            return False
        return True

    def finish(self, within: float) -> None:
        """Wait until all lines are written, at most `within` seconds."""
        try:
            self._lines.put(None, timeout=within)
        except queue.Full:
            return
        self._thread.join(within)

    def _drop(self) -> None:
        with self._lock:
            self.dropped += 1

    def _write_all(self) -> None:
        while (entry := self._lines.get()) is not None:
            line, is_request = entry
            dropped = self.dropped
            if dropped > self._reported:
                fields = {
                    "level": "warning",
                    "event": "log.dropped",
                    "lines": dropped - self._reported,
                }
                report = self.render({"time": format_moment(time.time()), **fields})
                line = report.encode() + b"\n" + line
            if self._write(line):
                self._reported = dropped
            else:
                self._drop()
            if is_request:
                self._request_slots.release()

    def _write(self, line: bytes) -> bool:
        """Write all of a line; return whether that succeeded."""
        while line:
            try:
                line = line[os.write(self._descriptor, line) :]
            except BlockingIOError:  # another process made the shared terminal non-blocking
                select.select([], [self._descriptor], [])
            except OSError:  # the reader has closed the pipe
                return False
        return True


class Log:
    """
    The logger: each line has a dotted event id and fields; `colours` only apply to the console.
    """

    def __init__(self, writer: Writer, level: str, layout: str, *, colours: bool = False) -> None:
        self._writer = writer
        self._secrets: tuple[str, ...] = ()
        self._render: Render = (
            partial(console_line, colours=colours) if layout == "console" else _to_json
        )
        writer.render = self._render
        self._logger = structlog.wrap_logger(
            _Sink(writer),
            processors=[_stamp, self._redacted, lambda _, __, fields: self._render(fields)],
            wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level]),
        )

    def redact(self, secrets: Iterable[str]) -> None:
        """
        Replace these secrets in all later lines, at any depth of a field.

        Secrets of up to 3 characters are ignored.
        """
        known = {*self._secrets, *(secret for secret in secrets if len(secret) > 3)}
        self._secrets = tuple(sorted(known))

    def emit(self, event: str, level: str = "info", **fields: Any) -> None:
        """Write one line; fields that are None are left out."""
        self._logger.log(
            _LEVELS[level],
            event,
            **{name: value for name, value in fields.items() if value is not None},
        )

    def record(self, moment: str, fields: Mapping[str, Any]) -> None:
        """Write the access log line of a request that completed at `moment`, at every LOG_LEVEL."""
        line = {"time": moment, "level": "info", "event": "request", **fields}
        self._writer.put_request(self._render(self._redacted(None, "info", line)))

    @property
    def dropped(self) -> int:
        """The number of lines dropped because stdout was stalled or closed."""
        return self._writer.dropped

    def finish(self, within: float) -> None:
        """Wait until all lines are written, at most `within` seconds."""
        self._writer.finish(within)

    def _redacted(self, _: object, __: str, fields: Fields) -> Mapping[str, Any]:
        return {name: self._redacted_value(value) for name, value in fields.items()}

    def _redacted_value(self, value: object) -> object:
        if isinstance(value, Mapping):
            return {
                self._redacted_value(name): self._redacted_value(each)
                for name, each in value.items()
            }
        if isinstance(value, list | tuple | set | frozenset):
            return [self._redacted_value(each) for each in value]
        if isinstance(value, bool | int | float) or value is None:
            return value
        text = str(value)  # as JSON would have it
        for secret in self._secrets:
            text = text.replace(secret, "[hidden]")
        return text if len(text) <= _MAX_TEXT else text[:_MAX_TEXT] + "…"


class _Sink:
    """Receives rendered lines from structlog."""

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


def _to_json(fields: Mapping[str, Any]) -> str:
    return json.dumps(fields, default=str)


logging.raiseExceptions = False  # logging errors of libraries must not reach our streams
