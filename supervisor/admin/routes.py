"""
The desk: which path is answered by what, on which of the two sockets.
"""

import json
import threading
import time
from collections.abc import Callable
from http import HTTPStatus

from supervisor.admin.bridge import LoopBridge
from supervisor.admin.history import History
from supervisor.admin.http import READING, Request, Response
from supervisor.admin.page import page
from supervisor.admin.status_document import document
from supervisor.core.commands import Reply
from supervisor.core.durations import parse_instant, parse_span
from supervisor.core.state import State

#: For so many seconds all who read over the network are given the same text, if nothing changes.
_SHARED = 0.25

_JSON = "application/json"

Reader = Callable[[], Response]


class Routes:
    """
    All answers.
    """

    def __init__(self, bridge: LoopBridge, samples: History) -> None:
        self._bridge = bridge
        self._history = samples
        self._public: dict[str, Reader] = {
            "/": page,
            "/status": self._status,
            "/metrics": self._metrics,
            "/healthz": self._healthz,
            "/readyz": self._readyz,
        }
        shared = {
            "/status": _SharedResponse(bridge, self._status),
            "/metrics": _SharedResponse(bridge, self._metrics),
        }
        self._networked: dict[str, Reader] = {**self._public, **shared}
        self._post_routes: dict[str, Callable[[bytes], Response]] = {
            "/deadline": self._deadline,
            "/stop": lambda _: _reply_response(self._bridge.stop()),
        }

    def public_response(self, wanted: Request) -> Response:
        """Answer on the socket of those who only read."""
        self._bridge.reads += 1
        reader = self._networked.get(wanted.path)
        return _missing() if reader is None else _read(wanted, reader)

    def operator_response(self, wanted: Request) -> Response:
        """Answer on our own socket."""
        if wanted.path in self._post_routes:
            if wanted.method != "POST":
                return _not_allowed("POST")
            return self._post_routes[wanted.path](wanted.body)
        if wanted.path == "/config":
            return _read(wanted, self._config)
        reader = self._public.get(wanted.path)
        return _missing() if reader is None else _read(wanted, reader)

    # -- what is told ------------------------------------------------------------------------

    def _status(self) -> Response:
        state = self._bridge.state
        if state is None:
            return _text(HTTPStatus.NOT_FOUND, "not started yet")
        seen = self._bridge.seen()
        return _json(HTTPStatus.OK, document(state, seen, self._history.columns(seen)))

    def _metrics(self) -> Response:
        state = self._bridge.state
        if state is None:
            return _text(HTTPStatus.NOT_FOUND, "not started yet")
        # A megabyte, and most who use this never ask for it: memory is a promise.
        from supervisor.admin import metrics  # noqa: PLC0415

        body = metrics.exposition(state, self._bridge.seen())
        return Response(HTTPStatus.OK, body, metrics.CONTENT_TYPE)

    def _healthz(self) -> Response:
        state = self._bridge.state
        if state is not None and state.view.healthy and self._bridge.is_fresh:
            return _text(HTTPStatus.OK, "healthy")
        return _text(HTTPStatus.SERVICE_UNAVAILABLE, "nginx does not answer")

    def _readyz(self) -> Response:
        state = self._bridge.state
        if state is not None and state.view.ready and self._bridge.is_fresh:
            return _text(HTTPStatus.OK, "ready")
        why = "starting" if state is None else f"{state.view.phase}, {state.view.mode}"
        return _text(HTTPStatus.SERVICE_UNAVAILABLE, f"not ready: {why}")

    def _config(self) -> Response:
        """Write down the live files as `nginx -T` does."""
        folder = (self._bridge.context.folder / "conf").resolve()
        parts = []
        try:
            for path in sorted(folder.rglob("*.conf")):
                parts += [f"# configuration file {path}:\n".encode(), path.read_bytes(), b"\n"]
        except OSError:
            parts = []  # a reload has just replaced them
        if not parts:
            return _text(HTTPStatus.NOT_FOUND, "no configuration is live: ask again")
        return Response(HTTPStatus.OK, b"".join(parts))

    # -- what is done ------------------------------------------------------------------------

    def _deadline(self, body: bytes) -> Response:
        try:
            wish = json.loads(body)
            if not isinstance(wish, dict) or len(wish) != 1:
                raise ValueError("expected one of by and until")  # noqa: TRY301
            ((word, text),) = wish.items()
            if word not in {"by", "until"} or not isinstance(text, str):
                raise ValueError('expected {"by": "2h"} or {"until": "2027-01-01T00:00Z"}')  # noqa: TRY301
            by = _signed(text) if word == "by" else None
            until = parse_instant(text) if word == "until" else None
        except (ValueError, RecursionError) as error:
            what = "no JSON" if isinstance(error, json.JSONDecodeError | RecursionError) else error
            text = f"cannot read the wish: {what}; nothing changes"
            return _json(HTTPStatus.BAD_REQUEST, {"accepted": False, "text": text})
        return _reply_response(self._bridge.move(by, until))


class _SharedResponse:
    """An answer that is made once for all who ask at about the same time, about the same state."""

    def __init__(self, bridge: LoopBridge, make: Reader) -> None:
        self._bridge = bridge
        self._make = make
        self._lock = threading.Lock()
        self._of: State | None = None
        self._at = 0.0
        self._made = _missing()

    def __call__(self) -> Response:
        with self._lock:
            state, now = self._bridge.state, time.monotonic()
            if state is not self._of or now - self._at > _SHARED:
                self._of, self._at, self._made = state, now, self._make()
            return self._made


def _read(wanted: Request, reader: Reader) -> Response:
    return reader() if wanted.method in READING else _not_allowed("GET, HEAD")


def _signed(text: str) -> float:
    """Read a span that may be negative."""
    sign = -1.0 if text.startswith("-") else 1.0
    seconds = parse_span(text.removeprefix("-").removeprefix("+"))
    if not seconds:
        raise ValueError("expected a duration other than 0")
    return sign * seconds


def _reply_response(reply: Reply | None) -> Response:
    if reply is None:
        text = "asked, but there was no answer in time: see the status"
        return _json(HTTPStatus.ACCEPTED, {"accepted": None, "text": text})
    status = HTTPStatus.OK if reply.accepted else HTTPStatus.CONFLICT
    return _json(status, {"accepted": reply.accepted, "text": reply.text})


def _json(status: int, content: object) -> Response:
    return Response(status, json.dumps(content).encode() + b"\n", _JSON)


def _text(status: int, text: str) -> Response:
    return Response(status, f"{text}\n".encode())


def _missing() -> Response:
    return _text(HTTPStatus.NOT_FOUND, "not found")


def _not_allowed(allowed: str) -> Response:
    text = f"only {allowed}\n".encode()
    return Response(HTTPStatus.METHOD_NOT_ALLOWED, text, headers=(("Allow", allowed),))
