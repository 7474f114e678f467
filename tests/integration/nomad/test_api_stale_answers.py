"""
Answers that may not be true, and the true one afterwards.
"""

import time
from collections.abc import Callable

import pytest

from supervisor.core.config import load
from supervisor.nomad.api import ChecksQuery
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
    "no leader": (stale(0, leader=False), "without a leader"),
    "long silence": (stale(5001, leader=True), "5001 ms"),
}


def test_A10_an_empty_answer_is_no_knowledge_until_it_is_repeated(
    supervise: Supervise, nomad: FakeNomad, replicas: Replicas
) -> None:
    """
    One empty answer changes nothing: a second query follows, at least a second later and without
    an index, and when it finds the endpoints no request was lost and nothing was written.
    """
    (one,) = replicas("one")
    subject = start_serving(supervise, one, HEALTH_CHECK="off")
    before = live_files(subject)
    with Traffic(subject.port, every=0.02) as traffic:
        for _ in range(2):
            asked, emptied = len(nomad.requests), time.monotonic()
            nomad.fault(empty(), times=1)
            eventually(lambda n=asked: len(nomad.requests) > n)
            assert 1.0 <= nomad.requests[asked].at - emptied < 3
            assert "index" not in nomad.requests[asked].query
            eventually(lambda: nomad.blocked, 4)
    assert [] == traffic.failures
    assert before == live_files(subject)
    assert [] == subject.log_lines("discovery.failed")


def test_A10_an_empty_answer_that_is_repeated_is_believed(
    supervise: Supervise, nomad: FakeNomad, replicas: Replicas
) -> None:
    """
    A service that stays empty for a second is: 503 after one second and not before, and its first
    endpoint is served again.
    """
    (one,) = replicas("one")
    subject = start_serving(supervise, one, HEALTH_CHECK="off")
    emptied = time.monotonic()
    nomad.set("web", [])
    eventually(lambda: 503 == subject.get().status, 5)
    assert 1.0 <= time.monotonic() - emptied < 3
    eventually(lambda: "no_endpoints" in subject.get().text, 5)  # old workers accept a while
    subject.offer(one)
    eventually(lambda: "one" == subject.get().text, 5)


def test_A10_an_empty_answer_is_not_confirmed_by_a_stale_one(
    supervise: Supervise, nomad: FakeNomad, replicas: Replicas
) -> None:
    """
    Empty answers that only a server without a leader repeats are never believed.
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
def test_A14_a_stale_answer_is_ignorance_once_something_is_known(
    supervise: Supervise, nomad: FakeNomad, replicas: Replicas, kind: str
) -> None:
    """
    What a server says that lost its leader, or has not heard it for more than 5 s, changes
    nothing, is told, and is asked again after growing pauses; the leader's answer counts again.
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
def test_A14_a_stale_answer_is_better_than_nothing(
    supervise: Supervise, nomad: FakeNomad, replicas: Replicas, kind: str
) -> None:
    """
    Where nothing is known yet, the endpoints of a stale answer are served; the next answer, which
    is asked for soon, is ignorance while it is stale and counts when it is not.
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


def test_A14_an_empty_stale_answer_is_worse_than_nothing(
    supervise: Supervise, nomad: FakeNomad, replicas: Replicas
) -> None:
    """
    However often a server without a leader says so, nothing is not believed: it is still starting.
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


def test_A14_a_silence_of_5_seconds_is_not_stale(
    supervise: Supervise, nomad: FakeNomad, replicas: Replicas
) -> None:
    """
    A server that heard its leader 5 s ago is believed.
    """
    one, two = replicas("one", "two")
    subject = start_serving(supervise, one, HEALTH_CHECK="off")
    nomad.fault(stale(5000, leader=True))
    subject.offer(two)
    eventually(lambda: "two" == subject.get().text)
    assert [] == subject.log_lines("discovery.failed")


def test_namespace_and_region_go_out_with_every_query(
    supervise: Supervise, nomad: FakeNomad, replicas: Replicas
) -> None:
    """
    The service is looked for in the namespace and region that are set, and in no others.
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
def test_the_true_set_is_back_soon_after_nomad_is(
    supervise: Supervise, nomad: FakeNomad, replicas: Replicas, how: str, away: float
) -> None:
    """
    Once Nomad is back the true set is served within 2.5 s where it refused, and within 5.5 s where
    it took questions and answered none, or with 500s, however long that was; no request is lost.
    """
    one, two = replicas("one", "two")
    faults: dict[str, Fault] = {"hangs": hang(), "500": status(500, "No cluster leader")}
    subject = start_serving(supervise, one, HEALTH_CHECK="off")
    with Traffic(subject.port, every=0.05) as traffic:
        nomad.fault(cut(), times=1)  # the query that waits ends, as with every outage
        if how == "refused":
            nomad.stop()
        else:
            nomad.fault(faults[how])
        gone = time.monotonic()
        eventually(lambda: time.monotonic() - gone > away, away + 5, every=0.05)
        subject.offer(two)
        nomad.heal()
        back = time.monotonic()
        nomad.start()
        longest = 2.5 if how == "refused" else 5.5
        eventually(lambda: "two" == subject.get().text, longest)
        assert time.monotonic() - back <= longest
    assert [] == traffic.failures


class TestChecks:
    """
    What Nomad's checks of one allocation are.
    """

    PATH = "/v1/client/allocation/1-2/checks"

    def ask(self, nomad: FakeNomad, fault: Fault | None = None) -> list[tuple[str, str]]:
        """
        Ask for the checks of allocation 1-2 in the namespace prod.
        """
        environ = {"SERVICE_NAME": "web", "NOMAD_ADDR": nomad.address, "NOMAD_NAMESPACE": "prod"}
        client = ChecksQuery(load.read(environ, lambda _: True), lambda _: None)
        if fault is not None:
            nomad.fault(fault, times=1)
        try:
            return client.list_checks("1-2")
        finally:
            client.close()

    def test_each_check_is_a_service_and_a_status(self, nomad: FakeNomad) -> None:
        """
        The answer is the service and status of every check, asked for in the namespace.
        """
        rows = (
            '{"a": {"ID": "a", "Service": "web", "Status": "success", "Output": "x"},'
            ' "b": {"ID": "b", "Service": "api", "Status": "pending"}}'
        )

        assert [("api", "pending"), ("web", "success")] == self.ask(nomad, body(rows))
        (request,) = nomad.requests
        assert (self.PATH, "prod") == (request.path, request.query["namespace"])

    @pytest.mark.parametrize("text", ["null", "{}"])
    def test_before_the_first_check_there_is_none(self, nomad: FakeNomad, text: str) -> None:
        """
        Nomad answers null for an allocation whose checks have not run.
        """
        assert [] == self.ask(nomad, body(text))

    @pytest.mark.parametrize(
        "text",
        [
            *("", "{", "[]", "7", '"x"', '{"a": null}', '{"a": {}}', '{"a": {"Service": "web"}}'),
            '{"a": {"Service": 1, "Status": "success"}}',
            '{"a": {"Service": "web", "Status": []}}',
        ],
    )
    def test_anything_else_is_no_answer(self, nomad: FakeNomad, text: str) -> None:
        """
        A wrong shape anywhere teaches nothing.
        """
        with pytest.raises(NomadError):
            self.ask(nomad, body(text))

    def test_it_is_no_longer_than_a_megabyte(self, nomad: FakeNomad) -> None:
        """
        An allocation has a few checks, and each says a few lines.
        """
        with pytest.raises(NomadError, match="longer than"):
            self.ask(nomad, body("{" + " " * 1_100_000 + "}"))

    @pytest.mark.parametrize("code", [403, 404, 500])
    def test_a_refusal_has_its_status(self, nomad: FakeNomad, code: int) -> None:
        """
        Who asks can tell a missing right from an unknown allocation.
        """
        with pytest.raises(NomadError) as trouble:
            self.ask(nomad, status(code, "Permission denied"))
        assert code == trouble.value.status
