"""
The routes of the two admin sockets.
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
from supervisor.core import words
from supervisor.core.commands import Reply
from supervisor.core.durations import parse_instant, parse_span
from supervisor.core.state import State

#: How long network clients share one response while the state does not change, in seconds.
_SHARED_FOR = 0.25

_JSON = "application/json"

Handler = Callable[[], Response]


class Routes:
    """
    The handlers of both sockets.
    """

    def __init__(self, bridge: LoopBridge, history: History) -> None:
        self._bridge = bridge
        self._history = history
        self._read_routes: dict[str, Handler] = {
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
        self._shared_routes: dict[str, Handler] = {**self._read_routes, **shared}
        self._post_routes: dict[str, Callable[[bytes], Response]] = {
            "/deadline": self._deadline,
            "/stop": self._stop,
        }

    def public_response(self, request: Request) -> Response:
        """Respond on the readers' socket."""
        self._bridge.reads += 1
        handler = self._shared_routes.get(request.path)
        return _not_found() if handler is None else _read(request, handler)

    def operator_response(self, request: Request) -> Response:
        """Respond on the operator's socket."""
        if request.path in self._post_routes:
            if request.method != "POST":
                return _not_allowed("POST")
            return self._post_routes[request.path](request.body)
        if request.path == "/config":
            return _read(request, self._config)
        handler = self._read_routes.get(request.path)
        return _not_found() if handler is None else _read(request, handler)

    def _status(self) -> Response:
        state = self._bridge.state
        if state is None:
            return _text(HTTPStatus.NOT_FOUND, "not started yet")
        observation = self._bridge.observe()
        samples = self._history.columns(observation)
        return _json(HTTPStatus.OK, document(state, observation, samples))

    def _metrics(self) -> Response:
        state = self._bridge.state
        if state is None:
            return _text(HTTPStatus.NOT_FOUND, "not started yet")
        # Imported on demand: it costs a megabyte, and many deployments do not scrape.
        from supervisor.admin import metrics  # noqa: PLC0415

        body = metrics.exposition(state, self._bridge.observe())
        return Response(HTTPStatus.OK, body, metrics.CONTENT_TYPE)

    def _healthz(self) -> Response:
        state = self._bridge.state
        if state is not None and state.view.healthy and self._bridge.is_fresh:
            return _text(HTTPStatus.OK, "healthy")
        return _text(HTTPStatus.SERVICE_UNAVAILABLE, "nginx does not respond")

    def _readyz(self) -> Response:
        state = self._bridge.state
        if state is not None and state.view.ready and self._bridge.is_fresh:
            return _text(HTTPStatus.OK, "ready")
        why = "starting" if state is None else words.service(state.view.phase, state.view.mode)
        return _text(HTTPStatus.SERVICE_UNAVAILABLE, f"not ready: {why}")

    def _config(self) -> Response:
        """Return the live files in the format of `nginx -T`."""
        folder = (self._bridge.context.folder / "conf").resolve()
        parts = []
        try:
            for path in sorted(folder.rglob("*.conf")):
                parts += [f"# configuration file {path}:\n".encode(), path.read_bytes(), b"\n"]
        except OSError:
            parts = []  # a reload has just replaced them
        if not parts:
            return _text(HTTPStatus.NOT_FOUND, "no configuration is live; try again")
        return Response(HTTPStatus.OK, b"".join(parts))

    def _deadline(self, body: bytes) -> Response:
        try:
            fields = json.loads(body)
            only_balancer = _take_only_balancer(fields)
            if not isinstance(fields, dict) or len(fields) != 1:
                raise ValueError("expected one of by and until")  # noqa: TRY301
            ((name, text),) = fields.items()
            if name not in {"by", "until"} or not isinstance(text, str):
                raise ValueError('expected {"by": "2h"} or {"until": "2027-01-01T00:00Z"}')  # noqa: TRY301
            by = _parse_signed_span(text) if name == "by" else None
            until = parse_instant(text) if name == "until" else None
        except (ValueError, RecursionError) as error:
            return _unreadable(error)
        return _reply_response(self._bridge.move(by, until, only_balancer=only_balancer))

    def _stop(self, body: bytes) -> Response:
        try:
            fields = json.loads(body or b"{}")
            only_balancer = _take_only_balancer(fields)
            if fields:
                raise ValueError("expected nothing but only_balancer")  # noqa: TRY301
        except (ValueError, RecursionError) as error:
            return _unreadable(error)
        return _reply_response(self._bridge.stop(only_balancer=only_balancer))


class _SharedResponse:
    """A response that is built once for requests at about the same time on the same state."""

    def __init__(self, bridge: LoopBridge, build: Handler) -> None:
        self._bridge = bridge
        self._build = build
        self._lock = threading.Lock()
        self._state: State | None = None
        self._built_at = 0.0
        self._response = _not_found()

    def __call__(self) -> Response:
        with self._lock:
            state, now = self._bridge.state, time.monotonic()
            if state is not self._state or now - self._built_at > _SHARED_FOR:
                self._state, self._built_at, self._response = state, now, self._build()
            return self._response


def _read(request: Request, handler: Handler) -> Response:
    return handler() if request.method in READING else _not_allowed("GET, HEAD")


def _take_only_balancer(fields: object) -> bool:
    """Take this option from the fields of a request; raise ValueError."""
    only = fields.pop("only_balancer", False) if isinstance(fields, dict) else False
    if not isinstance(only, bool):
        raise ValueError("expected only_balancer to be true or false")  # noqa: TRY004
    return only


def _unreadable(error: Exception) -> Response:
    invalid = isinstance(error, json.JSONDecodeError | RecursionError)
    reason = "expected valid JSON" if invalid else error
    text = f"cannot read the request: {reason}; the deadline is unchanged"
    return _json(HTTPStatus.BAD_REQUEST, {"accepted": False, "text": text})


def _parse_signed_span(text: str) -> float:
    """Parse a span that may be negative, in seconds; raise ValueError."""
    sign = -1.0 if text.startswith("-") else 1.0
    seconds = parse_span(text.removeprefix("-").removeprefix("+"))
    if not seconds:
        raise ValueError("expected a duration other than 0")
    return sign * seconds


def _reply_response(reply: Reply | None) -> Response:
    if reply is None:
        text = "no result in time; the request may still take effect, see the status"
        return _json(HTTPStatus.ACCEPTED, {"accepted": None, "text": text})
    status = HTTPStatus.OK if reply.accepted else HTTPStatus.CONFLICT
    return _json(status, {"accepted": reply.accepted, "text": reply.text})


def _json(status: int, content: object) -> Response:
    return Response(status, json.dumps(content).encode() + b"\n", _JSON)


def _text(status: int, text: str) -> Response:
    return Response(status, f"{text}\n".encode())


def _not_found() -> Response:
    return _text(HTTPStatus.NOT_FOUND, "not found")


def _not_allowed(allowed: str) -> Response:
    text = f"method not allowed; use {allowed}\n".encode()
    return Response(HTTPStatus.METHOD_NOT_ALLOWED, text, headers=(("Allow", allowed),))
