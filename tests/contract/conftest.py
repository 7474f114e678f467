"""
The two that have to agree: the fake, and a real agent where there is one.
"""

import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from tests.support.nomad_api import Api
from tests.support.nomad_sides import fake_api, real_api
from tests.support.nomads import EVERY


@pytest.fixture(scope="session")
def nomads() -> Iterator[Callable[[str], Api]]:
    """
    Each Nomad by its name, started when it is first asked for, and shared by all tests.
    """
    started: dict[str, Api] = {}
    with ExitStack() as stack:

        def find(name: str) -> Api:
            if name not in started:
                make = real_api if name.startswith("real") else fake_api
                started[name] = stack.enter_context(make(acl=not name.endswith("open")))
            return started[name]

        yield find


@pytest.fixture(params=EVERY)
def api(request: pytest.FixtureRequest, nomads: Callable[[str], Api]) -> Api:
    """
    A Nomad as a workload has it.
    """
    return nomads(request.param)


@pytest.fixture
def web() -> str:
    """
    A service that nobody has registered yet.
    """
    return f"web-{uuid.uuid4().hex[:8]}"
