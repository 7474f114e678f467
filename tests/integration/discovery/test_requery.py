"""
Requeries: a request for one never waits for a query that is about to block.
"""

import time

import pytest

from supervisor.core.config import load
from supervisor.nomad.api import ServiceQuery
from supervisor.nomad.errors import NomadError
from tests.support.fake_nomad import FakeNomad


@pytest.mark.parametrize("over", ["tcp", "socket"])
def test_a_query_cancelled_before_it_connects_is_never_sent(
    nomad: FakeNomad, over: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """
    After a SIGHUP between two queries, with no connection to cancel, the next must not block.
    """
    path = tmp_path_factory.mktemp("s") / "api.sock"
    with FakeNomad(socket_path=path) as fake:
        fake.set("web", [("127.0.0.1", 1)])
        address = fake.address if over == "tcp" else fake.unix_address
        environ = {"SERVICE_NAME": "web", "NOMAD_ADDR": address, "NOMAD_TOKEN": "token"}
        client = ServiceQuery(load.read(environ, lambda _: False), lambda _: None, lambda: True)
        started_at = time.monotonic()

        with pytest.raises(NomadError):
            client.list_instances("web", fake.index, 30.0)

        assert time.monotonic() - started_at < 5
        assert [] == fake.requests
