"""
Requests to Nomad where no thread can be started.
"""

from collections.abc import Callable, Iterator

import pytest

from tests.support.control_groups import Group, control_group
from tests.support.fake_nomad import FakeNomad
from tests.support.replica import Replica
from tests.support.supervised import Supervised
from tests.support.waiting import eventually

Supervise = Callable[..., Supervised]
Replicas = Callable[..., list[Replica]]


@pytest.fixture
def pids() -> Iterator[Group]:
    """
    A real control group that can limit processes and threads.
    """
    with control_group("pids") as group:
        yield group


def test_a_missing_thread_is_a_failed_request(
    pids: Group, supervise: Supervise, nomad: FakeNomad, replicas: Replicas
) -> None:
    """
    With HEALTH_CHECK=nomad it serves on while no thread can be started, states that, and queries
    Nomad again afterwards.
    """
    one, two = replicas("one", "two")
    nomad.set("web", [one.endpoint])
    nomad.checks(nomad.allocation("web", one.port), {"alive": "success"})
    subject = supervise(
        pid1=False,
        subject=pids.around(nomad),
        HEALTH_CHECK="nomad",
        HEALTH_INTERVAL="200ms",
        NOMAD_JOB_ID="balancer",
        LOG_LEVEL="debug",
    )
    subject.ready(status=200)
    pids.limit(1)
    nomad.set("web", [one.endpoint, two.endpoint])
    reason = "cannot start a thread for the request (pids limit)"
    subject.wait_for_log("discovery.failed", reason=reason)
    failures = len(subject.log_lines("discovery.failed"))
    eventually(lambda: len(subject.log_lines("discovery.failed")) > failures or not subject.running)
    assert subject.running, subject.recent_output
    assert "one" == subject.get().text
    pids.limit(None)
    nomad.checks(nomad.allocation("web", two.port), {"alive": "success"})
    eventually(lambda: "two" == subject.get().text)


def test_a_job_is_stopped_once_a_thread_can_be_started(
    pids: Group, supervise: Supervise, nomad: FakeNomad, replicas: Replicas
) -> None:
    """
    With AT_DEADLINE=stop-job it serves on while no thread can be started for the request, which is
    sent later.
    """
    (one,) = replicas("one")
    nomad.set("web", [one.endpoint])
    subject = supervise(
        pid1=False,
        subject=pids.around(nomad),
        AT_DEADLINE="stop-job",
        NOMAD_JOB_ID="balancer",
        TTL="2s",
    )
    subject.ready(status=200)
    pids.limit(1)
    subject.wait_for_log("job.stop_requested")
    assert 200 == subject.get().status
    pids.limit(None)
    eventually(lambda: "DELETE" in {request.method for request in nomad.requests})
