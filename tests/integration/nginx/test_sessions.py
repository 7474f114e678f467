"""
Applications that keep sessions in memory, behind two replicas: the recipes of docs/traffic.md with
a real Gradio and its own client.
"""

from collections.abc import Callable, Iterator

import pytest

from tests.support.gradio_apps import is_one_session, results_of_clients, two_replicas
from tests.support.nginxes import BOTH, CURRENT
from tests.support.recipes import Recipe, apply, recipe
from tests.support.supervised import Supervised

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

Supervise = Callable[..., Supervised]

CLIENTS = 12
NO_RECIPE = Recipe({}, {}, ())


@pytest.fixture(scope="module")
def applications() -> Iterator[str]:
    """
    Two replicas of a Gradio application, as a value of ENDPOINTS.
    """
    with two_replicas() as endpoints:
        yield endpoints


def results(nginx: str, endpoints: str, found: Recipe) -> list[list[str]]:
    """
    Return what the clients get from the application behind a balancer with this recipe.
    """
    prepared = Supervised(pid1=False, NGINX_BINARY=nginx, ENDPOINTS=endpoints, START_WAIT="5s")
    with apply(found, prepared) as subject:
        subject.ready(status=200)
        return results_of_clients(subject.port, CLIENTS)


@pytest.mark.parametrize("nginx", BOTH)
def test_the_default_method_breaks_sessions(nginx: str, applications: str) -> None:
    """
    Without a recipe Gradio fails: this is what the recipes are for.
    """
    assert not all(is_one_session(each) for each in results(nginx, applications, NO_RECIPE))


@pytest.mark.parametrize(
    "nginx, heading",
    [
        pytest.param(each.values[0], heading, id=f"{each.id}-{name}", marks=each.marks)
        for each, name, heading in (
            (CURRENT, "sticky", "Sessions with nginx 1.29.6 or newer"),
            *((each, "cookie", "Sessions with any nginx") for each in BOTH),
            *((each, "address", "Sessions by client address") for each in BOTH),
        )
    ],
)
def test_sessions_stay_on_one_replica(nginx: str, heading: str, applications: str) -> None:
    """
    With each recipe every client has one session; with cookies both replicas get clients.
    """
    found = results(nginx, applications, recipe("traffic.md", heading))
    assert CLIENTS == len(found)
    assert [] == [each for each in found if not is_one_session(each)]
    if "address" not in heading:
        assert {"one", "two"} == {each[0].split()[0] for each in found}
