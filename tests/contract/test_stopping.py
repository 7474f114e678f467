"""
What happens when a job is stopped, or its tasks restarted: what AT_DEADLINE=stop-job goes by.
"""

import json
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pytest

from tests.support.nomad_api import Api, Asked, index_of, rows_of
from tests.support.nomads import agents, guarded
from tests.support.waiting import eventually

RIGHTS = ["submit-job", "deregister-job"]


@pytest.fixture
def stopper(api: Api) -> Iterator[Api]:
    """
    A Nomad whose jobs our workload may stop.
    """
    with api.allowed("submit-job"):
        yield api


def said(api: Api, job: str, **options: Any) -> dict[str, Any]:
    """
    Stop a job and return what was answered.
    """
    answer = api.stop(job, **options)
    assert (200, "application/json") == (answer.status, answer.headers["Content-Type"])
    found: dict[str, Any] = json.loads(answer.body)
    assert str(found["Index"]) == answer.headers["X-Nomad-Index"]
    return found


class TestStop:
    """
    `DELETE /v1/job/:id`, by who may.
    """

    def test_it_is_evaluated(self, stopper: Api, web: str) -> None:
        """
        The answer has the ID of an evaluation, on either listener, the second time too.
        """
        stopper.offer(web)

        for where in (stopper.socket, stopper.port):
            found = said(stopper, web, on=where)

            assert UUID(found["EvalID"])
            assert found["Index"] > 0

    def test_an_unknown_job(self, stopper: Api, web: str) -> None:
        """
        Stopping nothing is a 200 too: only the empty EvalID tells.
        """
        for job in ("nobody", "a%2Fb"):
            assert ("", 0) == (said(stopper, job)["EvalID"], said(stopper, job)["Index"])

    def test_an_id_with_a_slash(self, stopper: Api, web: str) -> None:
        """
        A dispatched or periodic job has one in its ID: escaped, it is found.
        """
        stopper.offer(web, name=f"{web}/dispatch-1")

        assert UUID(said(stopper, f"{web}%2Fdispatch-1")["EvalID"])

        eventually(lambda: [] == rows_of(stopper.ask(web)))

    def test_another_namespace(self, stopper: Api, web: str) -> None:
        """
        A job is stopped in the namespace that is named; a policy is for one namespace.
        """
        stopper.offer(web)

        answer = stopper.stop(f"{web}?namespace=nowhere")

        assert (403 if stopper.acl else 200) == answer.status
        assert 1 == len(rows_of(stopper.ask(web)))

    def test_an_unknown_region(self, stopper: Api, web: str) -> None:
        """
        A region that does not exist is an error, and stops nothing.
        """
        stopper.offer(web)

        answer = stopper.stop(f"{web}?region=mars")

        assert (500, "No path to region") == (answer.status, answer.text)
        assert 1 == len(rows_of(stopper.ask(web)))

    def test_all_its_instances_leave(self, stopper: Api, web: str) -> None:
        """
        Those of other jobs stay, in the same service too, and a query that waits hears of it.
        """
        stopper.offer(web, 2, name=f"{web}-one")
        stopper.offer(web, 1, name=f"{web}-two")
        asked = Asked(stopper, web, index=index_of(stopper.ask(web)), wait="60s")
        assert asked.blocks()

        said(stopper, f"{web}-one")

        assert len(rows_of(asked.result(2))) < 3
        eventually(lambda: [f"{web}-two"] == [row["JobID"] for row in rows_of(stopper.ask(web))])

    def test_a_query_hears_of_it(self, stopper: Api, web: str) -> None:
        """
        A query that waits is answered with an empty list, under a higher index.
        """
        stopper.offer(web)
        before = index_of(stopper.ask(web))
        asked = Asked(stopper, web, index=before, wait="60s")
        assert asked.blocks()

        said(stopper, web)
        answer = asked.result(2)

        assert [] == rows_of(answer)
        assert index_of(answer) > before

    @agents
    def test_its_instance_leaves_before_the_signal(self, stopper: Api, web: str) -> None:
        """
        When the registry answers without it, the task was not told yet; that comes a delay later.
        """
        (row,) = stopper.offer(web, delay=1.0)
        asked = Asked(stopper, web, index=index_of(stopper.ask(web)), wait="60s")
        assert asked.blocks()

        said(stopper, web)
        assert [] == rows_of(asked.result(2))
        early = stopper.side.was_signalled(row["AllocID"])

        assert not early
        eventually(lambda: stopper.side.was_signalled(row["AllocID"]), 5)


@guarded
class TestRights:
    """
    Who may stop a job where ACLs are on.
    """

    @pytest.mark.parametrize("right", RIGHTS)
    def test_either_is_enough(self, api: Api, web: str, right: str) -> None:
        """
        A policy with submit-job, or with deregister-job where Nomad has it, at once.
        """
        if not api.side.knows(right):
            pytest.skip(f"this Nomad has no {right}")
        api.offer(web)

        with api.allowed(right):
            assert said(api, web, on=api.socket)["EvalID"]

        eventually(lambda: [] == rows_of(api.ask(web)))

    def test_reading_is_not(self, api: Api, web: str) -> None:
        """
        Who may read jobs may not stop them, nor learn which there are.
        """
        api.offer(web)

        with api.allowed("read-job"):
            statuses = [api.stop(job).status for job in (web, "nobody")]

        assert [403, 403] == statuses
        assert 1 == len(rows_of(api.ask(web)))

    def test_the_right_is_for_all_jobs(self, api: Api, web: str) -> None:
        """
        A policy bound to our job is a right over every job of the namespace.
        """
        api.offer(web, name=f"{web}-of-others")

        with api.allowed("submit-job"):
            assert said(api, f"{web}-of-others")["EvalID"]


def test_a_restart(api: Api, web: str) -> None:
    """
    A restart of its tasks takes an instance away and brings it back as it was, written anew.
    """
    (before,) = api.offer(web)

    api.side.restart(before["AllocID"])
    index = before["CreateIndex"]
    eventually(lambda: rows_of(api.ask(web))[0]["CreateIndex"] > index)

    (after,) = rows_of(api.ask(web))
    written = {"CreateIndex", "ModifyIndex"}
    assert {column for column in after if after[column] != before[column]} == written


def test_a_restart_is_seen(api: Api, web: str) -> None:
    """
    A query that waits hears of it: without the instance, or with the new one, 2 ms later.
    """
    (row,) = api.offer(web)
    asked = Asked(api, web, index=index_of(api.ask(web)), wait="60s")
    assert asked.blocks()

    api.side.restart(row["AllocID"])
    answer = asked.result(5)

    assert row not in rows_of(answer)
    assert index_of(answer) > row["CreateIndex"]
