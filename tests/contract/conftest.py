"""
The two that have to agree: the fake, and a real agent where there is one.
"""

from collections.abc import Iterator

import pytest

from tests.support.nomad_agent import why_no_nomad
from tests.support.nomad_api import Api, fake_api, real_api

BOTH = [
    pytest.param(fake_api, id="fake"),
    pytest.param(
        real_api,
        id="real",
        marks=[
            pytest.mark.e2e,
            pytest.mark.skipif(bool(why_no_nomad()), reason=why_no_nomad()),
        ],
    ),
]


@pytest.fixture(scope="session", params=BOTH)
def api(request: pytest.FixtureRequest) -> Iterator[Api]:
    """
    A Nomad with ACLs on.
    """
    with request.param(acl=True) as found:
        yield found


@pytest.fixture(scope="session", params=BOTH)
def open_api(request: pytest.FixtureRequest) -> Iterator[Api]:
    """
    A Nomad with ACLs off.
    """
    with request.param(acl=False) as found:
        yield found
