"""
One question to Nomad: sent with the token of this moment, answered whole and in time or not at all.
"""

import json
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import requests
from nomad.api.base import Requester
from nomad.api.exceptions import BaseNomadException, TimeoutNomadException

from supervisor.core.config.settings import Settings
from supervisor.nomad.connection import Connector
from supervisor.nomad.errors import NomadError, TokenRefused, find_tls_error, http_error, tls_error
from supervisor.nomad.token import Token
from supervisor.nomad.transport import CancellableTransport, Watchdog, session

#: How long an answer that need not wait may take to begin, and to be whole.  A Nomad that hangs is
#: asked again after the first, and so is heard within 5 s of coming back.
_HEAD = 5.0
_WHOLE = 15.0

_CHUNK = 65536

#: Bytes that an answer has at least for each of its values; many small values are a bomb in memory.
_BYTES_PER_VALUE = 16
_FEW = 65536


@dataclass(frozen=True, slots=True)
class Response:
    """
    What came back, as JSON reads it, and the headers it came with.
    """

    value: object
    headers: Mapping[str, str]


class NomadClient(Requester):  # type: ignore[misc]
    """
    GET of JSON, or another METHOD, by one thread; `cancel` may be called by any.
    """

    METHOD = "get"

    def __init__(
        self,
        settings: Settings,
        redact: Callable[[list[str]], None],
        is_unwanted: Callable[[], bool] = lambda: False,
    ) -> None:
        place = Connector(settings)
        self._wire = CancellableTransport(place, is_unwanted)
        super().__init__(
            address=place.address,
            region=settings.nomad_region or None,
            session=session(self._wire),
        )
        self._settings = settings
        self._token = Token(settings, redact)
        self._patience = _WHOLE
        self._is_secure = settings.nomad_addr.startswith("https:")
        self._was_heard = False

    def cancel(self) -> None:
        """End the question under way."""
        self._wire.cancel()

    def close(self) -> None:
        """Leave no connection open."""
        self.session.close()

    def call(
        self, *path: str, params: Mapping[str, str], blocks: float = 0.0, cap: int
    ) -> Response:
        """
        Ask for a path, of which every part is escaped; the answer may begin `blocks` s later.

        A token that is refused is read again, and the question posed again if it was replaced.
        Raises Unanswered.
        """
        self._wire.begin()
        self.token = self._token.read()
        self._patience = blocks + _WHOLE
        with Watchdog(self._wire, self._patience if blocks else _HEAD, self._patience) as alarm:
            try:
                return self._once(path, params, cap, alarm)
            except TokenRefused:
                sent, self.token = self.token, self._token.read()
                if self.token == sent:
                    raise
                return self._once(path, params, cap, alarm)

    def _once(
        self, path: tuple[str, ...], params: Mapping[str, str], cap: int, alarm: Watchdog
    ) -> Response:
        everything = {"namespace": self._settings.nomad_namespace, **params}
        try:
            with self._response(path, everything) as response:
                alarm.heard()
                self._was_heard = True
                if response.status_code != requests.codes.ok:
                    raise http_error(response, has_token=bool(self.token))
                return Response(_read(response, cap), response.headers)
        except NomadError as trouble:
            self._wire.drop()
            raise _late() if alarm.rang else trouble from None
        except (requests.RequestException, OSError) as error:
            self._wire.drop()
            raise _late() if alarm.rang else self._explained(error) from None

    def _response(self, path: tuple[str, ...], params: dict[str, str]) -> requests.Response:
        try:
            answer = self.request(
                *path,
                method=self.METHOD,
                params=params,
                timeout=(_HEAD, self._patience),
                stream=True,
            )
        except BaseNomadException as error:  # an answer with a bad status, or a failure
            answer = error.nomad_resp
        except TimeoutNomadException as error:  # its name for any failure while streaming
            answer = error.args[0] if error.args else error
        if isinstance(answer, requests.Response):
            return answer
        raise answer if isinstance(answer, Exception) else OSError("nothing")

    def _explained(self, error: Exception) -> NomadError:
        tls, certificate = find_tls_error(error), self._settings.nomad_client_cert
        if tls is not None and not isinstance(tls, ssl.SSLEOFError):
            return tls_error(
                tls, self._settings.nomad_tls_server_name, has_certificate=bool(certificate)
            )
        reason = f"the connection failed ({type(error).__name__})"
        if self._is_secure and not self._was_heard:
            # A server that does not like our certificate, or misses it, says so after TLS began,
            # and what it says is lost when it hangs up on the question that we sent meanwhile.
            reason += (
                "; maybe Nomad refuses the certificate of NOMAD_CLIENT_CERT"
                if certificate
                else "; if Nomad wants a certificate, set NOMAD_CLIENT_CERT and NOMAD_CLIENT_KEY"
            )
        return NomadError(reason)


def _late() -> NomadError:
    return NomadError("no whole answer in time")


def _read(response: requests.Response, cap: int) -> object:
    if response.headers.get("Content-Encoding", "identity") != "identity":
        raise NomadError("the answer is compressed, though that was not asked for")
    body = bytearray()
    for chunk in response.iter_content(_CHUNK):
        body += chunk
        if len(body) > cap:
            raise NomadError(f"the answer is longer than {cap} bytes")
    values = body.count(b",") + body.count(b"[") + body.count(b"{")
    most = max(_FEW, cap // _BYTES_PER_VALUE)
    if values > most:
        raise NomadError(f"the answer holds more than {most} values")
    try:
        value: object = json.loads(body)
    except (ValueError, RecursionError):
        raise NomadError("the answer is not JSON") from None
    return value
