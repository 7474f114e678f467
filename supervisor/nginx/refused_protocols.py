"""
Clients that nginx refuses because of their protocol: from the lines of `autoexit_refused`, a format
of `nginx.conf.j2`.
"""

import re

from supervisor.core.events import Protocol, ProtocolRefused

_REFUSED = re.compile(r"refused (HTTP/2|TLS) (\S+)")


def refused_protocol(line: str) -> ProtocolRefused | None:
    """
    Return what a line of nginx's output reports about a refused client, or None.
    """
    match = _REFUSED.fullmatch(line)
    return ProtocolRefused(Protocol(match[1]), match[2]) if match else None
