"""
The two that must agree: the fake, and a real agent if available.
"""

import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from tests.support.nomad_api import Api
from tests.support.nomad_backends import fake_api, real_api
from tests.support.nomad_params import ALL


@pytest.fixture(scope="session")
def nomads() -> Iterator[Callable[[str], Api]]:
    """
    Return each Nomad by its name, started on first use, and shared by all tests.
    """
    started: dict[str, Api] = {}
    with ExitStack() as stack:

        def find(name: str) -> Api:
            if name not in started:
                make = real_api if name.startswith("real") else fake_api
                started[name] = stack.enter_context(make(acl=not name.endswith("open")))
            return started[name]

        yield find


@pytest.fixture(params=ALL)
def api(request: pytest.FixtureRequest, nomads: Callable[[str], Api]) -> Api:
    """
    A Nomad as a workload sees it.
    """
    return nomads(request.param)


@pytest.fixture
def web() -> str:
    """
    The name of a service that is not registered yet.
    """
    return f"web-{uuid.uuid4().hex[:8]}"
