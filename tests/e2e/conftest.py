"""
Two clusters with the docker driver, shared by the tests of the files in `jobs/`.
"""

from collections.abc import Iterator

import pytest

from tests.support.cluster import Cluster
from tests.support.containers import why_no_docker
from tests.support.nomad_agent import why_no_nomad


def _skip_without_nomad_or_docker() -> None:
    reason = why_no_nomad() or why_no_docker()
    if reason:
        pytest.skip(reason)


@pytest.fixture(scope="session")
def guarded() -> Iterator[Cluster]:
    """
    A separate server and client, with ACLs and without policies.
    """
    _skip_without_nomad_or_docker()
    with Cluster(split=True, acl=True, docker=True) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def laptop() -> Iterator[Cluster]:
    """
    `nomad agent -dev`, without ACLs.
    """
    _skip_without_nomad_or_docker()
    with Cluster(split=False, docker=True) as cluster:
        yield cluster
