"""
Why a service lists no endpoints: what the supervisor asks Nomad, and what it reports.
"""

import pytest

from supervisor.core.config import load
from supervisor.core.events import Event, ServicesListed
from supervisor.nomad.find_services import ServiceFinder
from tests.support import nomad_faults as faults
from tests.support.fake_nomad import FakeNomad
from tests.support.waiting import eventually


def find(nomad: FakeNomad, service: str = "web", **environ: str) -> ServicesListed:
    """Look for a service, and return what is posted."""
    posted: list[Event] = []
    given = {"SERVICE_NAME": service, "NOMAD_ADDR": nomad.address, **environ}
    settings = load.read(given, lambda _: False)
    ServiceFinder(settings, posted.append, lambda _: None).find(service)
    (found,) = eventually(lambda: list(posted))
    assert isinstance(found, ServicesListed)
    return found


def test_near_names_and_other_namespaces_are_found(nomad: FakeNomad) -> None:
    """
    Names of the own namespace, and the namespaces that have a service of this very name.
    """
    nomad.set("webb", [("127.0.0.1", 1)])
    nomad.set("database", [("127.0.0.1", 2)])
    nomad.set("web", [("127.0.0.1", 3)], namespace="dev")
    nomad.set("web-of-dev", [("127.0.0.1", 4)], namespace="dev")

    assert ServicesListed("web", ("webb",), ("dev",)) == find(nomad)
    assert {"*", "default"} == {request.query["namespace"] for request in nomad.requests}


def test_a_token_that_may_read_its_own_namespace_only_finds_near_names(nomad: FakeNomad) -> None:
    """
    An error for the other namespaces is not an error for the own one.
    """
    rows = '[{"Namespace": "default", "Services": [{"ServiceName": "webb", "Tags": null}]}]'
    nomad.fault(faults.body(rows), times=1)
    nomad.fault(faults.status(403, "Permission denied"))

    assert ServicesListed("web", ("webb",)) == find(nomad)


@pytest.mark.parametrize(
    "text",
    ["{}", "7", "[7]", "[{}]", '[{"Namespace": "default", "Services": 7}]', "null", "<html>"],
)
def test_any_other_response_is_an_error(nomad: FakeNomad, text: str) -> None:
    """
    It is reported as the reason why services cannot be listed.
    """
    nomad.fault(faults.body(text))

    assert find(nomad).error


def test_without_the_permission_the_reason_is_reported(nomad: FakeNomad) -> None:
    """
    Nomad's refusal, in the words of other failed queries.
    """
    nomad.fault(faults.status(403, "Permission denied"))

    assert "403" in find(nomad).error


def test_malformed_rows_are_left_out(nomad: FakeNomad) -> None:
    """
    They are data of others.
    """
    services = '[7, {}, {"ServiceName": 7}, {"ServiceName": "webb"}]'
    nomad.fault(faults.body(f'[{{"Namespace": "default", "Services": {services}}}]'))

    assert ("webb",) == find(nomad).near
