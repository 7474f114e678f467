"""
One request to Nomad, sent with the current token, whose response is complete and in time or an
error.
"""

import ssl
from collections.abc import Callable, Iterator, Mapping
from typing import Generic, TypeVar

import requests
from nomad.api.base import Requester
from nomad.api.exceptions import BaseNomadException, TimeoutNomadException

from supervisor.core.config.settings import Settings
from supervisor.core.values import value_class
from supervisor.nomad.body import chunks
from supervisor.nomad.connection import Connector
from supervisor.nomad.errors import NomadError, TokenRefused, find_tls_error, http_error, tls_error
from supervisor.nomad.token import Token
from supervisor.nomad.transport import CancellableTransport, Watchdog, session

#: How long a response to a non-blocking request may take to start, and to be complete, in seconds.
#: A Nomad that hangs is queried again after the first, so its recovery is noticed within 5 s.
_HEAD_TIMEOUT = 5.0
_RESPONSE_TIMEOUT = 15.0

T = TypeVar("T")


@value_class(frozen=True, slots=True)
class Response(Generic[T]):
    """
    The parsed JSON body of a response, and its headers.
    """

    value: T
    headers: Mapping[str, str]


class NomadClient(Requester):  # type: ignore[misc]
    """
    GET of JSON, or another METHOD, by one thread; any thread may call `cancel`.
    """

    METHOD = "get"

    def __init__(
        self,
        settings: Settings,
        redact: Callable[[list[str]], None],
        is_cancelled: Callable[[], bool] = lambda: False,
    ) -> None:
        connector = Connector(settings)
        self._transport = CancellableTransport(connector, is_cancelled)
        super().__init__(
            address=connector.address,
            region=settings.nomad_region or None,
            session=session(self._transport),
        )
        self._address = connector.shown
        self._settings = settings
        self._token = Token(settings, redact)
        self._read_timeout = _RESPONSE_TIMEOUT
        self._is_secure = settings.nomad_addr.startswith("https:")
        self._had_response = False

    def cancel(self) -> None:
        """Cancel the request in progress."""
        self._transport.cancel()

    def close(self) -> None:
        """Close all connections."""
        self.session.close()

    def call(
        self,
        *path: str,
        params: Mapping[str, str],
        parse: Callable[[Iterator[bytes]], T],
        max_wait: float = 0.0,
        max_bytes: int,
        put: object = None,
    ) -> Response[T]:
        """
        Request a path, whose parts are escaped; the response may start up to `max_wait` s later.

        With `put` this JSON is sent, by PUT.  `parse` gets the body as it arrives, up to
        `max_bytes`, and may raise NomadError.  After a rejected token the token is read again, and
        the request is repeated once if the token has changed.  Raises NomadError.
        """
        self._transport.begin()
        self.token = self._token.read()
        self._read_timeout = max_wait + _RESPONSE_TIMEOUT
        head_timeout = self._read_timeout if max_wait else _HEAD_TIMEOUT
        with Watchdog(self._transport, head_timeout, self._read_timeout) as watchdog:
            try:
                return self._call_once(path, params, parse, max_bytes, watchdog, put=put)
            except TokenRefused:
                sent, self.token = self.token, self._token.read()
                if self.token == sent:
                    raise
                return self._call_once(path, params, parse, max_bytes, watchdog, put=put)

    def _call_once(
        self,
        path: tuple[str, ...],
        params: Mapping[str, str],
        parse: Callable[[Iterator[bytes]], T],
        max_bytes: int,
        watchdog: Watchdog,
        *,
        put: object,
    ) -> Response[T]:
        all_params = {"namespace": self._settings.nomad_namespace, **params}
        try:
            with self._open_response(path, all_params, put) as response:
                watchdog.on_response_started()
                self._had_response = True
                if response.status_code != requests.codes.ok:
                    raise http_error(
                        response, has_token=bool(self.token), token_problem=self._token.problem
                    )
                return Response(parse(chunks(response, max_bytes)), response.headers)
        except NomadError as error:
            self._transport.drop()
            raise self._timeout_error() if watchdog.expired else error from None
        except (requests.RequestException, OSError) as error:
            self._transport.drop()
            raise self._timeout_error() if watchdog.expired else self._nomad_error(error) from None

    def _open_response(
        self, path: tuple[str, ...], params: dict[str, str], put: object
    ) -> requests.Response:
        try:
            response = self.request(
                *path,
                method=self.METHOD if put is None else "put",
                json=put,
                params=params,
                timeout=(_HEAD_TIMEOUT, self._read_timeout),
                stream=True,
            )
        except BaseNomadException as error:  # a response with an error status, or a failure
            response = error.nomad_resp
        except TimeoutNomadException as error:  # python-nomad's name for any streaming failure
            response = error.args[0] if error.args else error
        if isinstance(response, requests.Response):
            return response
        raise response if isinstance(response, Exception) else OSError("nothing")

    def _timeout_error(self) -> NomadError:
        where = f"Nomad at {self._address} (NOMAD_ADDR)"
        return NomadError(f"timed out before the response of {where} was complete")

    def _nomad_error(self, error: Exception) -> NomadError:
        tls, certificate = find_tls_error(error), self._settings.nomad_client_cert
        if tls is not None and not isinstance(tls, ssl.SSLEOFError):
            return tls_error(
                tls, self._settings.nomad_tls_server_name, has_certificate=bool(certificate)
            )
        reason = f"connection to Nomad at {self._address} failed ({type(error).__name__})"
        if self._is_secure and not self._had_response:
            # A server that rejects or misses our certificate sends its alert after TLS started.
            # The alert is lost when the server closes the connection while our request is in
            # flight.
            reason += (
                "; Nomad may have rejected the certificate in NOMAD_CLIENT_CERT"
                if certificate
                else "; if Nomad requires a client certificate, set NOMAD_CLIENT_CERT and"
                " NOMAD_CLIENT_KEY"
            )
        return NomadError(reason)
