"""
TLS to Nomad: who is trusted, under which name, and who we are.

The files are read for every connection, so that what was renewed on disk counts from the next one
on; nothing is loaded where no TLS is spoken.
"""

import socket
import ssl

from supervisor.client.trouble import Unanswered, distrusted
from supervisor.settings import Settings


def secure(line: socket.socket, settings: Settings, host: str) -> ssl.SSLSocket:
    """
    Make a TLS line of a connected one, which is given away.  Raises Unanswered.

    Whoever holds a duplicate of the line can cut it while hands are shaken.
    """
    name = settings.nomad_tls_server_name or host
    try:
        secured = _context(settings).wrap_socket(
            line, server_hostname=name, do_handshake_on_connect=False
        )
    except ssl.SSLError as error:
        raise Unanswered(f"cannot begin TLS ({error.reason})") from None
    except ValueError:  # a name that can stand in no certificate
        raise Unanswered(f"cannot begin TLS with {name}: not a name") from None
    try:
        secured.do_handshake()
    except ssl.SSLError as error:
        secured.close()
        raise distrusted(error, name, has_certificate=bool(settings.nomad_client_cert)) from None
    except TimeoutError:  # over the whole handshake, however steadily it drips
        secured.close()
        raise Unanswered("the TLS handshake was not over in time") from None
    except OSError:
        secured.close()
        raise
    return secured


def _context(settings: Settings) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if settings.nomad_skip_verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    elif settings.nomad_cacert or settings.nomad_capath:
        try:
            context.load_verify_locations(
                settings.nomad_cacert or None, settings.nomad_capath or None
            )
        except OSError as error:
            raise _unusable("NOMAD_CACERT", settings.nomad_cacert, error) from None
    else:
        context.load_default_certs()
    if settings.nomad_client_cert:
        try:
            # A key with a password must not make PID 1 ask a terminal for it.
            context.load_cert_chain(
                settings.nomad_client_cert, settings.nomad_client_key, password=""
            )
        except OSError as error:
            raise _unusable(
                "NOMAD_CLIENT_CERT and its key", settings.nomad_client_cert, error
            ) from None
    return context


def _unusable(variable: str, path: str, error: OSError) -> Unanswered:
    told = error.reason if isinstance(error, ssl.SSLError) else error.strerror
    return Unanswered(f"cannot use {variable} {path!r}: {told or type(error).__name__}")
