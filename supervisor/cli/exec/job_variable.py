"""
The job's variable in Nomad, which moves the deadline of all tasks, followed by a thread.

HTTP is spoken by hand, in version 1.0, whose responses end with the connection: `http.client` would
take 4 MB beside every replica.  Nomad that is away, or anything else that fails, changes nothing.
"""

from __future__ import annotations

import _thread
import json
import os
import re
import signal
import socket
import time
from typing import TYPE_CHECKING, NamedTuple

from supervisor.core.job_deadline import (
    MAX_WAIT,
    WAIT,
    Following,
    JobVariable,
    on_answer,
    on_query_failure,
    parse_variable,
    pause_after_failure,
)
from supervisor.system.regular_file import read_regular

if TYPE_CHECKING:
    from supervisor.cli.exec.options import NomadAccess

#: How long Nomad may take to connect and to respond, in seconds.
_TIMEOUT = 5.0

#: The pause after an error of our own, in seconds.
_DEFECT_PAUSE = 5.0

#: The largest response in bytes; a variable may have 64 KiB.
_MAX_BYTES = 1 << 20
_MAX_TOKEN = 65536

_DENIED = frozenset({401, 403})

#: The characters of a URL that are not escaped, the length of a response, and an address over TCP.
_UNESCAPED = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~/")
_LENGTH = re.compile(rb"(?i)\r\ncontent-length: *([0-9]{1,9})(?:\r|$)")
_ADDRESS = re.compile(r"(https?)://(?:\[([0-9a-fA-F:.]+)\]|([^:/\[\]@]+))(?::([0-9]{1,5}))?/?")


class Answer(NamedTuple):
    """
    The variable, None if there is none, and the index of the response, 0 if it has none.
    """

    variable: JobVariable | None
    next_index: int


class QueryError(Exception):
    """
    A query without a usable answer; `is_denied` if the token may not read the variable.
    """

    def __init__(self, reason: str, *, is_refused: bool = False, is_denied: bool = False) -> None:
        super().__init__(reason)
        self.is_refused = is_refused
        self.is_denied = is_denied


def query(access: NomadAccess, index: int = 0) -> Answer:
    """
    Query the variable; with an index, wait for a change.  Raises QueryError.
    """
    limit = MAX_WAIT + _TIMEOUT if index else _TIMEOUT
    try:
        head, body = _exchange(access, _request(access, index), limit)
    except (ConnectionRefusedError, FileNotFoundError) as error:
        raise QueryError(f"{access.address}: {error.strerror}", is_refused=True) from None
    except (OSError, ValueError) as error:
        raise QueryError(f"{access.address}: {error}") from None
    status, headers = _parse_head(head)
    found = headers.get("x-nomad-index", "")
    number = int(found) if found.isdigit() and len(found) < 20 else 0
    if headers.get("x-nomad-knownleader") == "false":
        raise QueryError("the Nomad server that responded has no leader")
    if status == 404 and number:
        return Answer(None, number)
    if status != 200:
        raise QueryError(f"Nomad returned status {status}", is_denied=status in _DENIED)
    try:
        return Answer(parse_variable(json.loads(body)), number)
    except (ValueError, RecursionError) as error:
        raise QueryError(str(error)) from None


def query_patiently(access: NomadAccess) -> Answer:
    """
    Query the variable, for a few seconds again while Nomad is unavailable.  Raises QueryError.
    """
    until, failures = time.monotonic() + _TIMEOUT, 0
    while True:
        answer = _answer_or_error(access)
        if isinstance(answer, Answer):
            return answer
        failures += 1
        pause = pause_after_failure(
            failures,
            is_refused=answer.is_refused,
            is_denied=False,
            retry_after=None,
            chance=chance(),
        )
        if answer.is_denied or time.monotonic() + pause >= until:
            raise answer
        time.sleep(pause)


def _answer_or_error(access: NomadAccess) -> Answer | QueryError:
    try:
        return query(access)
    except QueryError as error:
        return error


class Follower:
    """
    Follows the variable in a thread, which reports each change of it, and failures once.

    The main thread waits for signals: SIGCHLD, which it never forwards, wakes it.
    """

    def __init__(self, access: NomadAccess) -> None:
        self._access = access
        self._news: list[JobVariable | None] = []
        self._is_failing = False
        self._failure: str | None = None

    def start(self) -> None:
        """Start the thread; without one, the deadline is not followed."""
        try:
            _thread.start_new_thread(self._run, ())
        except RuntimeError:
            self._failure = "cannot start a thread (pids limit)"

    def take(self) -> list[JobVariable | None]:
        """Take the changes, the oldest first."""
        news, self._news = self._news, []
        return news

    def take_failure(self) -> str | None:
        """Take the reason of a failure, empty once it is over, None if nothing has changed."""
        failure, self._failure = self._failure, None
        return failure

    def _run(self) -> None:
        following = Following()
        while True:
            following, pause = self._step(following)
            time.sleep(pause)

    def _step(self, following: Following) -> tuple[Following, float]:
        """Query once; return what is known then, and the pause."""
        began = time.monotonic()
        try:
            answer = query(self._access, following.next_index)
        except QueryError as error:
            self._fail(str(error))
            following = on_query_failure(following)
            return following, pause_after_failure(
                following.failures,
                is_refused=error.is_refused,
                is_denied=error.is_denied,
                retry_after=None,
                chance=chance(),
            )
        except Exception as error:  # noqa: BLE001 - the follower must outlive any answer
            self._fail(f"internal error: {type(error).__name__}")
            return on_query_failure(following), _DEFECT_PAUSE
        self._fail("")
        answered = on_answer(
            following,
            answer.variable,
            answer.next_index,
            took=time.monotonic() - began,
            chance=chance(),
        )
        if answered.counts and answered.is_changed:
            self._news.append(answer.variable)
            self._wake()
        return answered.following, answered.pause

    def _fail(self, reason: str) -> None:
        """Remember a failure for the main thread to log, or that it is over."""
        if bool(reason) != self._is_failing:
            self._is_failing, self._failure = bool(reason), reason
            self._wake()

    @staticmethod
    def _wake() -> None:
        os.kill(os.getpid(), signal.SIGCHLD)


def chance() -> float:
    """
    Return a random number in [0, 1); `random` would take memory.
    """
    return int.from_bytes(os.urandom(2), "big") / 65536


def _request(access: NomadAccess, index: int) -> bytes:
    token = access.token
    if access.token_file:
        try:
            token = read_regular(access.token_file, _MAX_TOKEN, follow=True).decode().strip()
        except (OSError, ValueError):
            token = access.token
    options = [f"namespace={_quoted(access.namespace)}"]
    options += [f"region={_quoted(access.region)}"] if access.region else []
    options += [f"index={index}&wait={WAIT:.0f}s"] if index else []
    lines = [f"GET /v1/var/{_quoted(access.path)}?{'&'.join(options)} HTTP/1.0", "Host: nomad"]
    if token and token.isascii() and token.isprintable():
        lines.append(f"X-Nomad-Token: {token}")
    return "\r\n".join([*lines, "", ""]).encode("ascii")


def _quoted(text: str) -> str:
    return "".join(chr(c) if c in _UNESCAPED else f"%{c:02X}" for c in text.encode())


def _exchange(access: NomadAccess, request: bytes, limit: float) -> tuple[bytes, bytes]:
    """Send a request, and return the head and the body of its response.  Raises OSError."""
    until = time.monotonic() + limit
    connection = _connect(access)
    try:
        connection.sendall(request)
        data = b""
        while True:
            connection.settimeout(max(0.001, until - time.monotonic()))
            chunk = connection.recv(65536)
            if not chunk:
                break
            data += chunk
            if _is_complete(data):
                break
            if len(data) > _MAX_BYTES:
                raise OSError(f"the response is longer than {_MAX_BYTES} bytes")
    finally:
        connection.close()
    head, separator, body = data.partition(b"\r\n\r\n")
    if not separator:
        raise OSError("the connection closed before a complete response")
    return head, body


def _is_complete(data: bytes) -> bool:
    """Return whether a body has the length that its head announces; a proxy may not close."""
    head, separator, body = data.partition(b"\r\n\r\n")
    length = _LENGTH.search(head) if separator else None
    return length is not None and len(body) >= int(length[1])


def _connect(access: NomadAccess) -> socket.socket:
    """Connect; a host that is gone closes no connection, so the kernel probes it."""
    if access.address.startswith("unix:"):
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.settimeout(_TIMEOUT)
        try:
            connection.connect(access.address[len("unix://") :])
        except OSError:
            connection.close()
            raise
        return connection
    parts = _ADDRESS.fullmatch(access.address)
    if parts is None:
        raise ValueError("not an address of Nomad's API")
    host, is_secure = parts[2] or parts[3], parts[1] == "https"
    port = int(parts[4] or (443 if is_secure else 80))
    connection = socket.create_connection((host, port), _TIMEOUT)
    for level, option, value in (
        (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
        (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 5),
        (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 2),
        (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3),
    ):
        connection.setsockopt(level, option, value)
    return _secured(connection, access, host) if is_secure else connection


def _secured(connection: socket.socket, access: NomadAccess, host: str) -> socket.socket:
    """Start TLS, with the files that Nomad's own variables name."""
    import ssl  # it takes megabytes, and the Task API's socket needs none

    context = ssl.create_default_context(cafile=access.cacert or None, capath=access.capath or None)
    if access.skip_verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if access.client_cert:
        context.load_cert_chain(access.client_cert, access.client_key or None, password="")
    return context.wrap_socket(connection, server_hostname=access.tls_server_name or host)


def _parse_head(head: bytes) -> tuple[int, dict[str, str]]:
    """Return the status and the headers by their names in lower case.  Raises QueryError."""
    first, *lines = head.decode("latin-1").split("\r\n")
    words = first.split(" ", 2)
    if len(words) < 2 or not words[1].isdigit():
        raise QueryError("the response is not HTTP")
    pairs = (line.partition(":") for line in lines)
    return int(words[1]), {name.strip().lower(): value.strip() for name, _, value in pairs}
