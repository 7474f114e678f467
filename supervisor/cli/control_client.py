"""
A request to a running supervisor on its socket.
"""

import os
from collections.abc import Mapping
from pathlib import Path

from supervisor.core.config.paths import runtime_candidates
from supervisor.system.unix_http import exchange

#: In seconds; the supervisor waits up to 5 s for a result, for example for a disk.
_RESPONSE_TIMEOUT = 8.0

#: In bytes; the status of 10,000 endpoints has about 3 MB.
_RESPONSE_LIMIT = 64 * 1024 * 1024


class ControlError(Exception):
    """
    No supervisor is running, or it did not respond; the text states which.
    """


def call(environ: Mapping[str, str], method: str, path: str, body: bytes = b"") -> tuple[int, str]:
    """
    Send a request; return the status and the text of the response.  Raises ControlError.
    """
    folders = runtime_candidates(environ, os.geteuid())
    errors = []
    for folder in folders:
        socket = Path(folder) / "supervisor.sock"
        try:
            return _request(socket, method, path, body)
        except (FileNotFoundError, NotADirectoryError, ConnectionRefusedError):
            continue  # no supervisor, or the socket of one that has exited
        except PermissionError:
            errors.append(f"permission denied on {socket}: run as the supervisor's user or root")
        except OSError as error:
            errors.append(f"cannot query {socket}: {error}")
    missing = f"cannot find a running supervisor in {', '.join(folders)}"
    raise ControlError(errors[0] if errors else f"{missing}; check LISTEN_PORT or RUNTIME_DIR")


def _request(path: Path, method: str, target: str, body: bytes) -> tuple[int, str]:
    head = [f"{method} {target} HTTP/1.1", "Host: supervisor", f"Content-Length: {len(body)}"]
    request = "\r\n".join([*head, "", ""]).encode() + body
    status, text = exchange(str(path), request, _RESPONSE_TIMEOUT, _RESPONSE_LIMIT)
    return status, text.decode(errors="replace")
