"""
The health check: asks a running supervisor on its own socket.

Found by the same rule by which the supervisor chose the folder.  Docker starts it as a whole new
Python every few seconds, so it imports little: no pathlib, no dataclass.
"""

import os
import socket
import sys
from collections.abc import Mapping

from supervisor.whereabouts import runtime_candidates

_PATIENCE = 3.0


def run(environ: Mapping[str, str]) -> int:
    """
    Print what `/healthz` says, and return 0 when that is 200, else 1.
    """
    for folder in runtime_candidates(environ):
        path = f"{folder}/supervisor.sock"
        if os.path.exists(path):  # noqa: PTH110 - pathlib would cost a tenth of the whole
            return _ask(path)
    print("cannot find a supervisor: none runs on this port", file=sys.stderr)
    return 1


def _ask(path: str) -> int:
    answer = b""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as line:
            line.settimeout(_PATIENCE)
            line.connect(path)
            line.sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
            while chunk := line.recv(4096):
                answer += chunk
    except OSError as error:
        print(f"cannot ask {path}: {error}", file=sys.stderr)
        return 1
    head, _, body = answer.partition(b"\r\n\r\n")
    print(body.decode(errors="replace").strip())
    return 0 if b" 200 " in head.partition(b"\r\n")[0] else 1
