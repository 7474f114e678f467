"""
What can go wrong with a question, told so that a person knows what to do about it.
"""

import ssl

import requests

_IDENTITY = (
    "Nomad's socket wants a token (401): add the two lines `env = true` and `file = true` to the"
    " task's `identity` block"
)
_NOT_AUTHENTIC = b"Server error authenticating request"
_WANTS_TLS = b"Client sent an HTTP request to an HTTPS server"

#: How much of an error's text is looked at, in bytes.
_GLANCE = 512

#: What OpenSSL says when the other side does not speak TLS.
_PLAIN = frozenset({"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE"})


class NomadError(Exception):
    """
    A question that taught nothing: why, whether nobody listened, and when to ask again, if told.

    The status is that of the HTTP answer, where there was one.
    """

    def __init__(
        self,
        reason: str,
        *,
        refused: bool = False,
        retry_after: float | None = None,
        status: int | None = None,
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.refused = refused
        self.retry_after = retry_after
        self.status = status


class TokenRefused(NomadError):
    """
    The question was answered with a no to its token, which may have been replaced meanwhile.
    """


def http_error(response: requests.Response, *, has_token: bool) -> NomadError:
    """
    Explain an answer that is none, by its status and the first words of its text.
    """
    status = response.status_code
    told = response.headers.get("Retry-After", "")
    retry_after = float(told) if told.isascii() and told.isdigit() and len(told) < 9 else None
    text = next(iter(response.iter_content(_GLANCE)), b"") if status in {400, 500} else b""
    if status == requests.codes.unauthorized:
        return TokenRefused(_IDENTITY, status=status)
    if status == requests.codes.forbidden:
        says = "refuses the token" if has_token else "wants a token"
        return TokenRefused(f"Nomad {says} (403)", status=status)
    if text.startswith(_NOT_AUTHENTIC):
        hint = "no server is in reach, the token is damaged, or NOMAD_REGION is unknown"
        return TokenRefused(f"Nomad cannot tell whose token this is (500): {hint}", status=status)
    if text.startswith(_WANTS_TLS):
        return NomadError("Nomad speaks TLS (400): NOMAD_ADDR has to be https://", status=status)
    reason = f"Nomad answered {status}"
    if status < requests.codes.bad_request:
        reason += ", which is no answer to this question"
    if status == requests.codes.too_many_requests:
        reason = "Nomad has too many connections from here (429)"
    return NomadError(reason, retry_after=retry_after, status=status)


def tls_error(error: ssl.SSLError, name: str, *, has_certificate: bool) -> NomadError:
    """
    Explain why a TLS line to a server of this name did not come to be, or was ended.
    """
    reason = error.reason or ""
    if isinstance(error, ssl.SSLCertVerificationError):
        if "mismatch" in error.verify_message:
            told = f"is not for {name}: NOMAD_TLS_SERVER_NAME says which name it has"
        elif "expired" in error.verify_message or "not yet valid" in error.verify_message:
            told = f"cannot be used now: {error.verify_message}"
        else:
            told = (
                f"is of no authority that we trust: NOMAD_CACERT names its file"
                f" ({error.verify_message})"
            )
        return NomadError(f"Nomad's certificate {told}")
    if reason in _PLAIN:
        return NomadError("Nomad does not speak TLS: NOMAD_ADDR has to be http://")
    if "ALERT" in reason and has_certificate:
        return NomadError(f"Nomad refuses the certificate of NOMAD_CLIENT_CERT ({reason})")
    if "ALERT" in reason:
        return NomadError(
            f"Nomad wants a certificate: set NOMAD_CLIENT_CERT and NOMAD_CLIENT_KEY ({reason})"
        )
    return NomadError(f"the TLS line failed ({reason or type(error).__name__})")


def find_tls_error(error: BaseException | None) -> ssl.SSLError | None:
    """
    Find the TLS error that another one was raised for, however deep.
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
