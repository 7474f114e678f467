"""
Errors of a request to Nomad, each with a reason that names the cause and the fix.
"""

import ssl

import requests

_IDENTITY = (
    "Nomad's Task API requires a token (401): add `env = true` and `file = true` to the task's"
    " `identity` block"
)
_ADD = "add an `identity` block with `env = true` and `file = true` to the task, or set NOMAD_TOKEN"
_REPLACE = (
    "it has expired, is of another cluster, or lacks the permission: with an `identity` block Nomad"
    " renews it, and NOMAD_TOKEN can go"
)
_OTHER_SERVER = "NOMAD_ADDR may be the address of another server than Nomad's agent"
_NOT_AUTHENTIC = b"Server error authenticating request"
_REQUIRES_TLS = b"Client sent an HTTP request to an HTTPS server"

#: How much of an error response's body is inspected, in bytes.
_MAX_ERROR_TEXT = 512

#: OpenSSL's error reasons when the peer does not use TLS.
_PLAINTEXT_REASONS = frozenset({"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE"})


class NomadError(Exception):
    """
    A request without a usable response.

    `refused`: the connection was refused.  `retry_after`: the seconds of Retry-After.
    `status`: the HTTP status, if there was a response, and `index` its index, if it has one.
    `step`: what to do, where services are read and the reason alone does not show it.
    """

    def __init__(
        self,
        reason: str,
        *,
        refused: bool = False,
        retry_after: float | None = None,
        status: int | None = None,
        step: str = "",
        index: int | None = None,
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.refused = refused
        self.retry_after = retry_after
        self.status = status
        self.step = step
        self.index = index


class TokenRefused(NomadError):
    """
    Nomad rejected the token, which may have been replaced in the meantime.
    """


def http_error(
    response: requests.Response, *, has_token: bool, token_problem: str = ""
) -> NomadError:
    """
    Build the error for a response by its status and the beginning of its body.

    `token_problem` is why NOMAD_TOKEN_FILE has no usable token.
    """
    status = response.status_code
    header = response.headers.get("Retry-After", "")
    retry_after = (
        float(header) if header.isascii() and header.isdigit() and len(header) < 9 else None
    )
    text = _read_error_text(response) if status in {400, 500} else b""
    if status == requests.codes.unauthorized:
        return TokenRefused(token_problem or _IDENTITY, status=status)
    if status == requests.codes.forbidden:
        verb, step = ("rejected the", _REPLACE) if has_token else ("requires a", _ADD)
        cause = f"; {token_problem}" if token_problem else ""
        step = "" if token_problem else step
        return TokenRefused(f"Nomad {verb} token (403){cause}", status=status, step=step)
    if text.startswith(_NOT_AUTHENTIC):
        hint = "no server is reachable, the token is malformed, or NOMAD_REGION is unknown"
        return TokenRefused(f"Nomad cannot authenticate the token (500): {hint}", status=status)
    if text.startswith(_REQUIRES_TLS):
        return NomadError(
            "Nomad requires TLS (400): set NOMAD_ADDR to an https:// address", status=status
        )
    reason = f"Nomad returned status {status}"
    if status < requests.codes.bad_request:
        reason += ", which is not valid for this request"
    if status == requests.codes.too_many_requests:
        reason = "too many connections from this address to Nomad (429)"
    step = _OTHER_SERVER if status == requests.codes.not_found else ""
    index = response.headers.get("X-Nomad-Index", "")
    is_led = response.headers.get("X-Nomad-KnownLeader", "true").lower() != "false"
    return NomadError(
        reason,
        retry_after=retry_after,
        status=status,
        step=step,
        index=int(index) if index.isdigit() and len(index) < 20 and is_led else None,
    )


def _read_error_text(response: requests.Response) -> bytes:
    """Return the beginning of a body; a broken one must not hide the status."""
    try:
        return next(iter(response.iter_content(_MAX_ERROR_TEXT)), b"")
    except (requests.RequestException, ValueError, OverflowError):
        return b""


def tls_error(error: ssl.SSLError, name: str, *, has_certificate: bool) -> NomadError:
    """
    Build the error for a failed TLS connection to a server of this name.
    """
    reason = error.reason or ""
    if isinstance(error, ssl.SSLCertVerificationError):
        message = error.verify_message
        if "mismatch" in message:
            problem = f"is not valid for {name}; set NOMAD_TLS_SERVER_NAME to a name that it has"
        elif "expired" in message or "not yet valid" in message:
            problem = f"is not valid now: {message}"
        else:
            problem = f"is signed by an unknown CA; set NOMAD_CACERT ({message})"
        return NomadError(f"Nomad's certificate {problem}")
    if reason in _PLAINTEXT_REASONS:
        return NomadError("Nomad does not use TLS: set NOMAD_ADDR to an http:// address")
    if "ALERT" in reason and has_certificate:
        return NomadError(f"Nomad rejected the certificate in NOMAD_CLIENT_CERT ({reason})")
    if "ALERT" in reason:
        return NomadError(
            "Nomad requires a client certificate: set NOMAD_CLIENT_CERT and NOMAD_CLIENT_KEY"
            f" ({reason})"
        )
    return NomadError(f"the TLS connection failed ({reason or type(error).__name__})")


def no_thread_error() -> NomadError:
    """
    Build the error for a request that cannot start its thread.
    """
    return NomadError("cannot start a thread for the request (pids limit)")


def find_tls_error(error: BaseException | None) -> ssl.SSLError | None:
    """
    Return the TLS error in the chain of causes of an exception, None if there is none.
    """
    seen: list[BaseException] = []
    while error is not None and error not in seen:
        if isinstance(error, ssl.SSLError):
            return error
        seen.append(error)
        inner = next((a for a in error.args if isinstance(a, BaseException)), None)
        error = getattr(error, "reason", None) or inner or error.__cause__ or error.__context__
        error = error if isinstance(error, BaseException) else None
    return None
