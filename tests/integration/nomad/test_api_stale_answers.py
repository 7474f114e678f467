"""
Responses that may be out of date, and the correct one afterwards.
"""

import time
from collections.abc import Callable

import pytest

from supervisor.core.config import load
from supervisor.nomad.api import CheckResult, ChecksQuery
from supervisor.nomad.errors import NomadError
from tests.support.fake_nomad import FakeNomad
from tests.support.live_files import live_files
from tests.support.nomad_faults import Fault, body, cut, empty, hang, stale, status
from tests.support.replica import Replica
from tests.support.serving_subject import start_serving
from tests.support.supervised import Supervised
from tests.support.traffic import Traffic
from tests.support.waiting import eventually

Supervise = Callable[..., Supervised]
Replicas = Callable[..., list[Replica]]

STALE = {
    "no leader": (stale(0, leader=False), "has no leader"),
    "long silence": (stale(5001, leader=True), "5001 ms"),
}


def test_A10_an_empty_response_is_ignored_until_it_is_confirmed(
    supervise: Supervise, nomad: FakeNomad, replicas: Replicas
) -> None:
    """
    One empty response changes nothing: a second query follows, at least a second later and without
    an index, and if it finds the endpoints no request was lost and no file was written.
    """
    (one,) = replicas("one")
    subject = start_serving(supervise, one, HEALTH_CHECK="off")
    before = live_files(subject)
    with Traffic(subject.port, every=0.02) as traffic:
        for _ in range(2):
            count, emptied_at = len(nomad.requests), time.monotonic()
            nomad.fault(empty(), times=1)
            eventually(lambda n=count: len(nomad.requests) > n)
            assert 1.0 <= nomad.requests[count].at - emptied_at < 3
            assert "index" not in nomad.requests[count].query
            eventually(lambda: nomad.blocked, 4)
    assert [] == traffic.failures
    assert before == live_files(subject)
    assert [] == subject.log_lines("discovery.failed")


def test_A10_a_confirmed_empty_response_is_accepted(
    supervise: Supervise, nomad: FakeNomad, replicas: Replicas
) -> None:
    """
    A service that stays empty for a second is served as 503 after one second and not before; its
    next endpoint is served again.
    """
    (one,) = replicas("one")
    subject = start_serving(supervise, one, HEALTH_CHECK="off")
    emptied_at = time.monotonic()
    nomad.set("web", [])
    eventually(lambda: 503 == subject.get().status, 5)
    assert 1.0 <= time.monotonic() - emptied_at < 3
    eventually(
        lambda: "no_endpoints" in subject.get().text, 5
    )  # old workers still accept for a while
    subject.offer(one)
    eventually(lambda: "one" == subject.get().text, 5)


def test_A10_an_empty_response_is_not_confirmed_by_a_stale_one(
    supervise: Supervise, nomad: FakeNomad, replicas: Replicas
) -> None:
    """
    An empty response that only a server without a leader repeats is never accepted.
    """
    (one,) = replicas("one")
    subject = start_serving(supervise, one, HEALTH_CHECK="off")
    nomad.set("web", [])
    nomad.fault(empty(), times=1)
    nomad.fault(stale())
    subject.wait_for_log("discovery.failed")
    eventually(lambda: len(subject.log_lines("discovery.failed")) > 4, 15)
    assert "one" == subject.get().text


@pytest.mark.parametrize("kind", STALE)
def test_A14_a_stale_response_is_ignored_once_endpoints_are_known(
    supervise: Supervise, nomad: FakeNomad, replicas: Replicas, kind: str
) -> None:
    """
    A response of a server that lost its leader, or had no contact for more than 5 s, changes
    nothing, is logged, and is retried after growing pauses; a current response is used again.
    """
    one, two = replicas("one", "two")
    fault, reason = STALE[kind]
    subject = start_serving(supervise, one, HEALTH_CHECK="off")
    nomad.fault(fault)
    subject.offer(two)
    eventually(lambda: len(subject.log_lines("discovery.failed")) >= 4, 10)
    line = subject.log_lines("discovery.failed")[-1]
    assert reason in line["reason"]
    assert line["retry_in"] > 0.3
    assert "one" == subject.get().text
    nomad.heal()
    eventually(lambda: "two" == subject.get().text, 6)


@pytest.mark.parametrize("kind", STALE)
def test_A14_a_stale_response_is_used_while_no_endpoints_are_known(
    supervise: Supervise, nomad: FakeNomad, replicas: Replicas, kind: str
) -> None:
    """
    While no endpoints are known, those of a stale response are served; the next query follows soon,
    and its response is ignored while it is stale.
    """
    one, two = replicas("one", "two")
    fault, reason = STALE[kind]
    nomad.set("web", [one.endpoint])
    nomad.fault(fault)
    subject = supervise(pid1=False, HEALTH_CHECK="off", LOG_LEVEL="debug")
    assert "one" == subject.ready(5, status=200).text
    assert reason in subject.wait_for_log("discovery.failed")["reason"]
    nomad.heal()
    subject.offer(two)
    eventually(lambda: "two" == subject.get().text, 6)


def test_A14_an_empty_stale_response_is_never_accepted(
    supervise: Supervise, nomad: FakeNomad, replicas: Replicas
) -> None:
    """
    However often a server without a leader responds with no rows, the state stays starting.
    """
    (one,) = replicas("one")
    nomad.fault(stale())
    subject = supervise(pid1=False, HEALTH_CHECK="off", LOG_LEVEL="debug")
    assert 503 == subject.ready().status
    eventually(lambda: len(subject.log_lines("discovery.failed")) > 5, 15)
    assert "starting" in subject.get().text
    nomad.heal()
    subject.offer(one)
    assert "one" == subject.ready(6, status=200).text


def test_A14_a_last_contact_of_5_seconds_is_not_stale(
    supervise: Supervise, nomad: FakeNomad, replicas: Replicas
) -> None:
    """
    A response of a server with leader contact 5 s ago is used.
    """
    one, two = replicas("one", "two")
    subject = start_serving(supervise, one, HEALTH_CHECK="off")
    nomad.fault(stale(5000, leader=True))
    subject.offer(two)
    eventually(lambda: "two" == subject.get().text)
    assert [] == subject.log_lines("discovery.failed")


def test_every_query_has_namespace_and_region(
    supervise: Supervise, nomad: FakeNomad, replicas: Replicas
) -> None:
    """
    The service is queried only in the configured namespace and region.
    """
    one, two = replicas("one", "two")
    nomad.set("web", [two.endpoint])
    nomad.set("web", [one.endpoint], namespace="prod")
    subject = supervise(
        pid1=False, HEALTH_CHECK="off", NOMAD_NAMESPACE="prod", NOMAD_REGION="global"
    )
    assert "one" == subject.ready(status=200).text
    sent = [(request.query["namespace"], request.query["region"]) for request in nomad.requests]
    assert {("prod", "global")} == set(sent)


@pytest.mark.slow
@pytest.mark.parametrize("away", [3.0, 12.0])
@pytest.mark.parametrize("how", ["refused", "hangs", "500"])
def test_current_endpoints_are_served_soon_after_nomad_recovers(
    supervise: Supervise, nomad: FakeNomad, replicas: Replicas, how: str, away: float
) -> None:
    """
    After Nomad recovers the current endpoints are served within 2.5 s if connections were refused,
    within 5.5 s if queries hung or failed with 500, however long that was; no request is lost.
    """
    one, two = replicas("one", "two")
    faults: dict[str, Fault] = {"hangs": hang(), "500": status(500, "No cluster leader")}
    subject = start_serving(supervise, one, HEALTH_CHECK="off")
    with Traffic(subject.port, every=0.05) as traffic:
        nomad.fault(cut(), times=1)  # the blocked query ends, as in every outage
        if how == "refused":
            nomad.stop()
        else:
            nomad.fault(faults[how])
        away_at = time.monotonic()
        eventually(lambda: time.monotonic() - away_at > away, away + 5, every=0.05)
        subject.offer(two)
        nomad.heal()
        back_at = time.monotonic()
        nomad.start()
        longest = 2.5 if how == "refused" else 5.5
        eventually(lambda: "two" == subject.get().text, longest)
        assert time.monotonic() - back_at <= longest
    assert [] == traffic.failures


class TestChecks:
    """
    The query of Nomad's checks for one allocation.
    """

    PATH = "/v1/client/allocation/1-2/checks"

    def list_checks(self, nomad: FakeNomad, fault: Fault | None = None) -> list[CheckResult]:
        """
        Query the checks of allocation 1-2 in the namespace prod.
        """
        environ = {"SERVICE_NAME": "web", "NOMAD_ADDR": nomad.address, "NOMAD_NAMESPACE": "prod"}
        client = ChecksQuery(load.read(environ, lambda _: True), lambda _: None)
        if fault is not None:
            nomad.fault(fault, times=1)
        try:
            return client.list_checks("1-2")
        finally:
            client.close()

    def test_each_check_has_a_service_and_a_status(self, nomad: FakeNomad) -> None:
        """
        The result is the last result of every check, queried in the namespace.
        """
        rows = (
            '{"a": {"Service": "web", "Status": "success", "Check": "alive", "Output": "x"},'
            ' "b": {"ID": "b", "Service": "api", "Status": "pending"}}'
        )

        expected = [("api", "pending", "", ""), ("web", "success", "alive", "x")]
        assert expected == self.list_checks(nomad, body(rows))
        (request,) = nomad.requests
        assert (self.PATH, "prod") == (request.path, request.query["namespace"])

    @pytest.mark.parametrize("text", ["null", "{}"])
    def test_before_the_first_check_the_result_is_empty(self, nomad: FakeNomad, text: str) -> None:
        """
        Nomad responds with null for an allocation whose checks have not run.
        """
        assert [] == self.list_checks(nomad, body(text))

    @pytest.mark.parametrize(
        "text",
        [
            *("", "{", "[]", "7", '"x"', '{"a": null}', '{"a": {}}', '{"a": {"Service": "web"}}'),
            '{"a": {"Service": 1, "Status": "success"}}',
            '{"a": {"Service": "web", "Status": []}}',
        ],
    )
    def test_any_other_response_is_an_error(self, nomad: FakeNomad, text: str) -> None:
        """
        A response of a wrong structure is an error.
        """
        with pytest.raises(NomadError):
            self.list_checks(nomad, body(text))

    def test_a_response_over_a_megabyte_is_an_error(self, nomad: FakeNomad) -> None:
        """
        An allocation has a few checks, each with a few lines of output.
        """
        with pytest.raises(NomadError, match="longer than"):
            self.list_checks(nomad, body("{" + " " * 1_100_000 + "}"))

    @pytest.mark.parametrize("code", [403, 404, 500])
    def test_an_error_has_the_status_of_the_response(self, nomad: FakeNomad, code: int) -> None:
        """
        The caller can distinguish a missing permission from an unknown allocation.
        """
        with pytest.raises(NomadError) as error:
            self.list_checks(nomad, status(code, "Permission denied"))
        assert code == error.value.status
