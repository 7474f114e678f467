"""
What is logged about clients whose protocol nginx refuses.
"""

import pytest

from supervisor.core.commands import Note
from supervisor.core.events import Protocol, ProtocolRefused
from tests.support.policy_simulation import Simulation


@pytest.mark.parametrize(
    "protocol, event, action",
    [
        (Protocol.HTTP2, "clients.http2", "must use HTTP/1.1"),
        (Protocol.TLS, "clients.tls", "use http://"),
    ],
)
def test_the_line_names_the_client_and_the_next_step(
    protocol: Protocol, event: str, action: str
) -> None:
    """
    A refused client leads to a warning and to nothing else.
    """
    sim = Simulation().serve(1)
    (line,) = sim.send(ProtocolRefused(protocol, "10.0.0.9"))

    assert isinstance(line, Note)
    assert (event, "warning", "10.0.0.9") == (line.event, line.level, line.fields["client"])
    assert protocol in line.fields["reason"]
    assert action in line.fields["hint"]
