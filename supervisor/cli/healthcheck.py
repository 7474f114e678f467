"""
The health check: queries `/healthz` of a running supervisor on its socket.

It finds the socket by the rule by which the supervisor chose its folder.  Docker starts it as a new
Python process every few seconds, so it imports little: no pathlib, no dataclass.
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
    Print the response of `/healthz`, and return 0 if its status is 200, else 1.

    As in `status`, a folder without a supervisor does not end the search: a socket that refuses
    connections is that of one that has exited.
    """
    problem = "cannot find a running supervisor; check LISTEN_PORT or RUNTIME_DIR"
    is_found = False
    for folder in runtime_candidates(environ, os.geteuid()):
        path = f"{folder}/supervisor.sock"
        try:
            status, body = exchange(path, _REQUEST, _RESPONSE_TIMEOUT, _RESPONSE_LIMIT)
        except (FileNotFoundError, NotADirectoryError, ConnectionRefusedError):
            continue
        except OSError as error:
            if not is_found:
                problem = f"cannot check {path}: {error}; reporting unhealthy"
            is_found = True
            continue
        print(body.decode(errors="replace").strip())
        return 0 if status == 200 else 1
    print(problem, file=sys.stderr)
    return 1
