"""
One question on the socket of a supervisor that runs.
"""

import socket
from collections.abc import Mapping
from pathlib import Path

from supervisor.whereabouts import runtime_candidates

#: A wish may wait for a disk; the supervisor itself waits 5 s for it.
_PATIENCE = 8.0


class Unanswered(Exception):
    """
    There is nobody to ask, or no answer; the text says which.
    """


def call(environ: Mapping[str, str], method: str, path: str, body: bytes = b"") -> tuple[int, str]:
    """
    Return the status and the text that a supervisor answers.  Raises Unanswered.
    """
    folders = runtime_candidates(environ)
    troubles = []
    for folder in folders:
        place = Path(folder) / "supervisor.sock"
        try:
            return _asked(place, method, path, body)
        except (FileNotFoundError, NotADirectoryError, ConnectionRefusedError):
            continue  # none there, or one that is gone
        except PermissionError:
            troubles.append(f"cannot ask {place}: only who runs as it does may")
        except OSError as error:
            troubles.append(f"cannot ask {place}: {error}")
    where = ", ".join(folders)
    hint = "LISTEN_PORT or RUNTIME_DIR say where to look"
    raise Unanswered(troubles[0] if troubles else f"no supervisor runs in {where} ({hint})")


def _asked(place: Path, method: str, path: str, body: bytes) -> tuple[int, str]:
    answer = b""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as line:
        line.settimeout(_PATIENCE)
        line.connect(str(place))
        head = [f"{method} {path} HTTP/1.1", "Host: supervisor", f"Content-Length: {len(body)}"]
        line.sendall("\r\n".join([*head, "", ""]).encode() + body)
        while chunk := line.recv(65536):
            answer += chunk
    first, separator, text = answer.partition(b"\r\n\r\n")
    words = first.split(b" ", 2)
    if not separator or len(words) != 3 or not words[1].isdigit():
        raise OSError("it ended without an answer")
    return int(words[1]), text.decode(errors="replace")
