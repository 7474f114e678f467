"""
The health check: asks a running supervisor on its own socket.

Found by the same rule by which the supervisor chose the folder.  Docker starts it as a whole new
Python every few seconds, so it imports little: no pathlib, no dataclass.
"""

import os
import sys
from collections.abc import Mapping

from supervisor.core.config.paths import runtime_candidates
from supervisor.system.unix_http import exchange

#: Bounds of the request, in seconds and bytes.
_RESPONSE_TIMEOUT = 3.0
_RESPONSE_LIMIT = 65536

_REQUEST = b"GET /healthz HTTP/1.0\r\n\r\n"


def run(environ: Mapping[str, str]) -> int:
    """
    Print what `/healthz` says, and return 0 when that is 200, else 1.
    """
    for folder in runtime_candidates(environ):
        path = f"{folder}/supervisor.sock"
        if os.path.exists(path):  # noqa: PTH110 - pathlib would cost a tenth of the whole
            return _check(path)
    print("cannot find a supervisor: none runs on this port", file=sys.stderr)
    return 1


def _check(path: str) -> int:
    try:
        status, body = exchange(path, _REQUEST, _RESPONSE_TIMEOUT, _RESPONSE_LIMIT)
    except OSError as error:
        print(f"cannot check {path}: {error}; reporting unhealthy", file=sys.stderr)
        return 1
    print(body.decode(errors="replace").strip())
    return 0 if status == 200 else 1
