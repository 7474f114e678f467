"""
Stopping a job, on which AT_DEADLINE=stop-job is based, and restarting its tasks.
"""

import json
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pytest

from tests.support.nomad_api import Api, BlockingQuery, index_of, rows_of
from tests.support.nomad_params import real_agents, with_acl
from tests.support.waiting import eventually

CAPABILITIES = ["submit-job", "deregister-job"]


@pytest.fixture
def stopper(api: Api) -> Iterator[Api]:
    """
    A Nomad whose jobs the workload may stop.
    """
    with api.allowed("submit-job"):
        yield api


def stop_job(api: Api, job: str, **options: Any) -> dict[str, Any]:
    """
    Stop a job and return the response.
    """
    answer = api.stop(job, **options)
    assert (200, "application/json") == (answer.status, answer.headers["Content-Type"])
    found: dict[str, Any] = json.loads(answer.body)
    assert str(found["Index"]) == answer.headers["X-Nomad-Index"]
    return found


class TestStop:
    """
    `DELETE /v1/job/:id` with the permission.
    """

    def test_it_is_evaluated(self, stopper: Api, web: str) -> None:
        """
        The response has the ID of an evaluation, on either listener, the second time too.
        """
        stopper.register(web)

        for where in (stopper.socket, stopper.port):
            found = stop_job(stopper, web, on=where)

            assert UUID(found["EvalID"])
            assert found["Index"] > 0

    def test_an_unknown_job(self, stopper: Api, web: str) -> None:
        """
        Stopping an unknown job gets a 200 too, with an empty EvalID.
        """
        for job in ("unknown", "a%2Fb"):
            assert ("", 0) == (stop_job(stopper, job)["EvalID"], stop_job(stopper, job)["Index"])

    def test_an_id_with_a_slash(self, stopper: Api, web: str) -> None:
        """
        The ID of a dispatched or periodic job contains a slash, which must be escaped.
        """
        stopper.register(web, name=f"{web}/dispatch-1")

        assert UUID(stop_job(stopper, f"{web}%2Fdispatch-1")["EvalID"])

        eventually(lambda: [] == rows_of(stopper.get_service(web)))

    def test_another_namespace(self, stopper: Api, web: str) -> None:
        """
        A job is stopped in the given namespace; a policy is for one namespace.
        """
        stopper.register(web)

        answer = stopper.stop(f"{web}?namespace=nowhere")

        assert (403 if stopper.acl else 200) == answer.status
        assert 1 == len(rows_of(stopper.get_service(web)))

    def test_an_unknown_region(self, stopper: Api, web: str) -> None:
        """
        An unknown region is an error, and no job is stopped.
        """
        stopper.register(web)

        answer = stopper.stop(f"{web}?region=mars")

        assert (500, "No path to region") == (answer.status, answer.text)
        assert 1 == len(rows_of(stopper.get_service(web)))

    def test_all_its_instances_are_removed(self, stopper: Api, web: str) -> None:
        """
        Instances of other jobs stay, also of the same service, and a blocked query returns.
        """
        stopper.register(web, 2, name=f"{web}-one")
        stopper.register(web, 1, name=f"{web}-two")
        query = BlockingQuery(stopper, web, index=index_of(stopper.get_service(web)), wait="60s")
        assert query.is_blocked()

        stop_job(stopper, f"{web}-one")

        assert len(rows_of(query.result(2))) < 3
        eventually(
            lambda: [f"{web}-two"] == [row["JobID"] for row in rows_of(stopper.get_service(web))]
        )

    def test_a_blocked_query_returns(self, stopper: Api, web: str) -> None:
        """
        A blocked query returns an empty list, with a higher index.
        """
        stopper.register(web)
        before = index_of(stopper.get_service(web))
        query = BlockingQuery(stopper, web, index=before, wait="60s")
        assert query.is_blocked()

        stop_job(stopper, web)
        answer = query.result(2)

        assert [] == rows_of(answer)
        assert index_of(answer) > before

    @real_agents
    def test_its_instance_is_removed_before_the_signal(self, stopper: Api, web: str) -> None:
        """
        The task is signalled only after the shutdown delay, when its instance is already removed.
        """
        (row,) = stopper.register(web, delay=1.0)
        query = BlockingQuery(stopper, web, index=index_of(stopper.get_service(web)), wait="60s")
        assert query.is_blocked()

        stop_job(stopper, web)
        assert [] == rows_of(query.result(2))
        early = stopper.backend.was_signalled(row["AllocID"])

        assert not early
        eventually(lambda: stopper.backend.was_signalled(row["AllocID"]), 5)


@with_acl
class TestRights:
    """
    The permission to stop a job with ACLs on.
    """

    @pytest.mark.parametrize("capability", CAPABILITIES)
    def test_either_is_enough(self, api: Api, web: str, capability: str) -> None:
        """
        A policy with submit-job, or deregister-job if Nomad has it, has effect at once.
        """
        if not api.backend.supports(capability):
            pytest.skip(f"this Nomad has no {capability}")
        api.register(web)

        with api.allowed(capability):
            assert stop_job(api, web, on=api.socket)["EvalID"]

        eventually(lambda: [] == rows_of(api.get_service(web)))

    def test_reading_is_not_enough(self, api: Api, web: str) -> None:
        """
        The permission to read jobs is not enough to stop one, or to find out which exist.
        """
        api.register(web)

        with api.allowed("read-job"):
            statuses = [api.stop(job).status for job in (web, "unknown")]

        assert [403, 403] == statuses
        assert 1 == len(rows_of(api.get_service(web)))

    def test_the_permission_is_for_all_jobs(self, api: Api, web: str) -> None:
        """
        A policy bound to one job permits stopping every job of the namespace.
        """
        api.register(web, name=f"{web}-other")

        with api.allowed("submit-job"):
            assert stop_job(api, f"{web}-other")["EvalID"]


def test_a_restart(api: Api, web: str) -> None:
    """
    A restart of its tasks removes an instance and registers it again with new indexes only.
    """
    (before,) = api.register(web)

    api.backend.restart(before["AllocID"])
    index = before["CreateIndex"]
    eventually(lambda: rows_of(api.get_service(web))[0]["CreateIndex"] > index)

    (after,) = rows_of(api.get_service(web))
    changed = {"CreateIndex", "ModifyIndex"}
    assert {column for column in after if after[column] != before[column]} == changed


def test_a_restart_ends_a_blocked_query(api: Api, web: str) -> None:
    """
    A blocked query returns without the instance, or with the new one, 2 ms later.
    """
    (row,) = api.register(web)
    query = BlockingQuery(api, web, index=index_of(api.get_service(web)), wait="60s")
    assert query.is_blocked()

    api.backend.restart(row["AllocID"])
    answer = query.result(5)

    assert row not in rows_of(answer)
    assert index_of(answer) > row["CreateIndex"]
