"""
Nomad's HTTP API, as much of it as is asked: the instances of one service.

Built on python-nomad's `Requester`, which has no service endpoint, no unix socket and no total
deadline.  Whatever goes wrong becomes one exception with a reason that is safe to log: no header,
no token, no body.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import requests
from nomad.api.base import Requester
from nomad.api.exceptions import BaseNomadException, TimeoutNomadException

from supervisor.discovery.wire import Alarm, Wire, session
from supervisor.settings import Settings

_CONNECT = 3.0

#: Nomad adds up to a sixteenth to the wait, and holds a query for a while when it has no leader.
_JITTER = 17 / 16
_HOLD = 15.0

_LEAST_CAP = 8 * 1024 * 1024
_CAP_PER_ENDPOINT = 2048
_CHUNK = 65536
_LONGEST_TOKEN = 65536


class Unanswered(Exception):
    """
    A query that taught nothing: why, whether nobody listened, and when to ask again, if told.
    """

    def __init__(
        self, reason: str, *, refused: bool = False, retry_after: float | None = None
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.refused = refused
        self.retry_after = retry_after


@dataclass(frozen=True, slots=True)
class Answer:
    """
    The rows that Nomad listed, unvetted, and the index it gave, if it is one.
    """

    rows: list[object]
    index: int | None


class Service(Requester):  # type: ignore[misc]
    """
    `GET /v1/service/:name`, used by one thread; `cut` may be called by any.
    """

    ENDPOINT = "service"

    def __init__(
        self,
        settings: Settings,
        hide: Callable[[list[str]], None],
        is_unwanted: Callable[[], bool] = lambda: False,
    ) -> None:
        is_socket = settings.nomad_addr.startswith("unix://")
        path = settings.nomad_addr.removeprefix("unix://") if is_socket else ""
        self._wire = Wire(path, is_unwanted)
        super().__init__(
            address="http://localhost" if is_socket else settings.nomad_addr,
            region=settings.nomad_region or None,
            verify=True,
            session=session(self._wire),
        )
        self._settings = settings
        self._hide = hide
        self.token = settings.nomad_token or None
        self._cap = max(_LEAST_CAP, _CAP_PER_ENDPOINT * settings.max_endpoints)

    def cut(self) -> None:
        """End the query under way."""
        self._wire.cut()

    def ask(self, name: str, index: int, wait: float) -> Answer:
        """
        Ask for the instances of a service; with an index, wait up to `wait` s for a change.

        Raises Unanswered.
        """
        self._refresh_token()
        params = {"namespace": self._settings.nomad_namespace}
        if index:
            params |= {"index": str(index), "wait": f"{wait:.0f}s"}
        patience = (wait * _JITTER if index else 0.0) + _HOLD
        with Alarm(self._wire, patience) as alarm:
            try:
                response = self.request(
                    quote(name, safe=""),
                    method="get",
                    params=params,
                    timeout=(_CONNECT, patience),
                    stream=True,
                )
                with response:
                    return self._read(response)
            except BaseNomadException as error:
                raise _explained(error.nomad_resp, alarm) from None
            except (requests.RequestException, OSError) as error:
                raise _explained(error, alarm) from None

    def _read(self, response: requests.Response) -> Answer:
        if response.status_code != requests.codes.ok:
            raise Unanswered(
                f"Nomad answered {response.status_code}, which is no answer to this question"
            )
        if response.headers.get("Content-Encoding", "identity") != "identity":
            raise Unanswered("the answer is compressed, though that was not asked for")
        body = bytearray()
        for chunk in response.iter_content(_CHUNK):
            body += chunk
            if len(body) > self._cap:
                self.cut()
                raise Unanswered(f"the answer is longer than {self._cap} bytes")
        try:
            rows = json.loads(body)
        except (ValueError, RecursionError):
            raise Unanswered("the answer is not JSON") from None
        if not isinstance(rows, list):
            raise Unanswered("the answer is not a list")
        index = response.headers.get("X-Nomad-Index", "")
        return Answer(
            rows, int(index) if index.isascii() and index.isdigit() and len(index) < 20 else None
        )

    def _refresh_token(self) -> None:
        """Read the token file anew; one that is missing or empty just now keeps the last token."""
        if self._settings.nomad_token_file:
            try:
                with Path(self._settings.nomad_token_file).open("rb") as file:
                    token = file.read(_LONGEST_TOKEN).decode("ascii").strip()
            except (OSError, ValueError):
                token = ""
            if token.isprintable() and token:
                self.token = token
        if self.token:
            self._hide([self.token])


def _explained(trouble: object, alarm: Alarm) -> Unanswered:
    """Turn what python-nomad carries, an answer or an exception, into a reason that can be told."""
    if isinstance(trouble, TimeoutNomadException):  # its name for any failure while streaming
        trouble = trouble.args[0] if trouble.args else trouble
    if isinstance(trouble, requests.Response):
        return _refused(trouble)
    if alarm.rang:
        return Unanswered("no whole answer in time")
    text = str(trouble)
    refused = any(
        mark in text for mark in ("Connection refused", "No such file", "NewConnectionError")
    )
    if refused:
        return Unanswered("nobody listens at Nomad's address", refused=True)
    return Unanswered(f"the connection failed ({type(trouble).__name__})")


def _refused(response: requests.Response) -> Unanswered:
    status = response.status_code
    told = response.headers.get("Retry-After", "")
    retry_after = float(told) if told.isascii() and told.isdigit() and len(told) < 9 else None
    hints = {
        401: "Nomad wants a token (401): the task needs `identity { env = true  file = true }`",
        403: "Nomad refuses the token (403)",
        429: "Nomad has too many connections from here (429)",
    }
    response.close()
    return Unanswered(hints.get(status, f"Nomad answered {status}"), retry_after=retry_after)
