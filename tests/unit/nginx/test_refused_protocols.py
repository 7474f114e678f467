"""
Which lines of nginx's output report a refused client.
"""

import pytest

from supervisor.core.events import Protocol, ProtocolRefused
from supervisor.nginx.refused_protocols import refused_protocol


@pytest.mark.parametrize("protocol", Protocol)
@pytest.mark.parametrize("client", ["10.0.0.9", "fd00::5"])
def test_a_line_names_protocol_and_client(protocol: Protocol, client: str) -> None:
    """
    As `autoexit_refused` formats them.
    """
    refused = ProtocolRefused(protocol, client)

    assert refused == refused_protocol(f"refused {protocol} {client}")


@pytest.mark.parametrize(
    "line",
    [
        "",
        "refused TLS",
        "refused SSH 10.0.0.9",
        "refused TLS 10.0.0.9 again",
        '2026/12/01 02:37:00 [error] 7#7: *1 x, request: "GET /?refused TLS 10.0.0.9"',
    ],
)
def test_other_lines_report_none(line: str) -> None:
    """
    Text of a request, too, which nginx never writes at the start of a line.
    """
    assert refused_protocol(line) is None
