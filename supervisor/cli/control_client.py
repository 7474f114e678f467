"""
One question on the socket of a supervisor that runs.
"""

from collections.abc import Mapping
from pathlib import Path

from supervisor.core.config.paths import runtime_candidates
from supervisor.system.unix_http import exchange

#: A wish may wait for a disk; the supervisor itself waits 5 s for it.
_RESPONSE_TIMEOUT = 8.0

#: The status of 10,000 endpoints has about 3 MB.
_RESPONSE_LIMIT = 64 * 1024 * 1024


class ControlError(Exception):
    """
    There is nobody to ask, or no answer; the text says which.
    """


def call(environ: Mapping[str, str], method: str, path: str, body: bytes = b"") -> tuple[int, str]:
    """
    Return the status and the text that a supervisor answers.  Raises Unanswered.
    """
    folders = runtime_candidates(environ)
    errors = []
    for folder in folders:
        place = Path(folder) / "supervisor.sock"
        try:
            return _request(place, method, path, body)
        except (FileNotFoundError, NotADirectoryError, ConnectionRefusedError):
            continue  # none there, or one that is gone
        except PermissionError:
            errors.append(f"cannot ask {place}: only who runs as it does may")
        except OSError as error:
            errors.append(f"cannot ask {place}: {error}")
    where = ", ".join(folders)
    hint = "LISTEN_PORT or RUNTIME_DIR say where to look"
    raise ControlError(errors[0] if errors else f"no supervisor runs in {where} ({hint})")


def _request(path: Path, method: str, target: str, body: bytes) -> tuple[int, str]:
    head = [f"{method} {target} HTTP/1.1", "Host: supervisor", f"Content-Length: {len(body)}"]
    request = "\r\n".join([*head, "", ""]).encode() + body
    status, text = exchange(str(path), request, _RESPONSE_TIMEOUT, _RESPONSE_LIMIT)
    return status, text.decode(errors="replace")
