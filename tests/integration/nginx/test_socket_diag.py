"""
The kernel's count of the accepted connections to a port.
"""

import os
import socket
from contextlib import ExitStack
from pathlib import Path

import pytest

from supervisor.nginx import socket_diag, workers


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
@pytest.mark.parametrize("source", ["kernel", "proc"])
def test_accepted_connections_are_counted(
    monkeypatch: pytest.MonkeyPatch, host: str, source: str
) -> None:
    """
    Not those that wait to be accepted, not those to other ports, and not the clients' ends; from
    /proc where the kernel refuses to answer.
    """
    if host == "::1" and not Path("/proc/self/net/if_inet6").exists():
        pytest.skip("no IPv6 on this machine")
    if source == "proc":
        monkeypatch.setattr(socket_diag, "_NETLINK_SOCK_DIAG", 31)  # no such protocol
        with pytest.raises(OSError, match=os.strerror(93)):
            socket_diag.accepted_connections(1)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with ExitStack() as stack:
        listeners = [
            stack.enter_context(socket.create_server((host, 0), family=family)) for _ in range(2)
        ]
        ports = [listener.getsockname()[1] for listener in listeners]
        for port in (ports[0], ports[0], ports[0], ports[1]):
            stack.enter_context(socket.create_connection((host, port)))
        assert [0, 0] == [workers.accepted_connections(port) for port in ports]
        for listener in (listeners[0], listeners[0], listeners[1]):
            stack.enter_context(listener.accept()[0])

        assert [2, 1] == [workers.accepted_connections(port) for port in ports]
