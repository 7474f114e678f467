"""
What Nomad's own checks are said to have found: what HEALTH_CHECK=nomad goes by.
"""

import json
from collections.abc import Iterator

import pytest

from tests.support.nomad_api import UNKNOWN, Api, rows_of
from tests.support.nomads import agents, guarded
from tests.support.waiting import eventually

COLUMNS = {
    **dict.fromkeys(("Check", "Group", "ID", "Mode", "Output", "Service", "Status"), str),
    "Timestamp": int,
}


@pytest.fixture
def reader(api: Api) -> Iterator[Api]:
    """
    A Nomad whose checks our workload may read.
    """
    with api.allowed("read-job"):
        yield api


class TestAnswers:
    """
    What is said to those who may read it.
    """

    def test_a_check(self, reader: Api, web: str) -> None:
        """
        A map of what was found by an ID of the check, with the service it is for; at first pending.
        """
        (row,) = reader.offer(web, checked=20, name=f"{web}-job")

        ((name, check),) = json.loads(reader.checks(row["AllocID"]).body).items()

        assert COLUMNS == {column: type(value) for column, value in check.items()}
        assert (name, web, "pending") == (check["ID"], check["Service"], check["Status"])
        assert "healthiness" == check["Mode"]

    def test_its_status(self, reader: Api, web: str) -> None:
        """
        It fails until something listens, succeeds while it does, and fails again.
        """
        (row,) = reader.offer(web, checked=1)
        allocation = row["AllocID"]
        assert reader.comes_to(allocation, "pending")
        reader.side.listen(web, listening=False)
        failed = reader.comes_to(allocation, "failure")

        reader.side.listen(web, listening=True)
        succeeded = reader.comes_to(allocation, "success")
        reader.side.listen(web, listening=False)

        assert [*failed] == [*succeeded] == [*reader.comes_to(allocation, "failure")]

    def test_a_failing_instance_stays_listed(self, reader: Api, web: str) -> None:
        """
        The registry has it as before, under the same index.
        """
        (row,) = reader.offer(web, checked=1)
        reader.side.listen(web, listening=False)
        reader.comes_to(row["AllocID"], "failure")

        assert [row] == rows_of(reader.ask(web))

    def test_none(self, reader: Api, web: str) -> None:
        """
        An allocation without checks has null, and no empty map.
        """
        (row,) = reader.offer(web)

        answer = reader.checks(row["AllocID"])

        assert (200, b"null") == (answer.status, answer.body)

    def test_headers(self, reader: Api, web: str) -> None:
        """
        The answer has no index, whether or not there are checks.
        """
        for (row,) in (reader.offer(web), reader.offer(f"{web}-checked", checked=20)):
            headers = reader.checks(row["AllocID"]).headers

            assert "application/json" == headers["Content-Type"]
            assert (None, None) == (headers["X-Nomad-Index"], headers["X-Nomad-KnownLeader"])

    def test_nothing_blocks(self, reader: Api, web: str) -> None:
        """
        An index is ignored, so who wants to know has to ask again.
        """
        (row,) = reader.offer(web)

        answer = reader.call(
            f"/v1/client/allocation/{row['AllocID']}/checks?index=999999&wait=60s", timeout=2
        )

        assert 200 == answer.status

    @pytest.mark.parametrize("query", ["namespace=nowhere", "region=mars"])
    def test_namespace_and_region(self, reader: Api, web: str, query: str) -> None:
        """
        The ID is enough: what else the query says is not looked at.
        """
        (row,) = reader.offer(web)

        answer = reader.call(f"/v1/client/allocation/{row['AllocID']}/checks?{query}")

        assert 200 == answer.status

    def test_either_path(self, reader: Api, web: str) -> None:
        """
        The path with `client` and the one without are one, on either listener.
        """
        (row,) = reader.offer(web, checked=20)
        paths = [f"/v1/{kind}allocation/{row['AllocID']}/checks" for kind in ("client/", "")]

        bodies = {
            reader.call(path, on=where).body
            for path in paths
            for where in (reader.port, reader.socket)
        }

        assert 1 == len(bodies)
        assert b"null" not in bodies

    def test_a_stopped_allocation(self, api: Api, web: str) -> None:
        """
        The checks of an allocation that was stopped are null, and no error.
        """
        (row,) = api.offer(web, checked=20)
        with api.allowed("read-job", "submit-job"):
            api.stop(web)

            eventually(lambda: b"null" == api.checks(row["AllocID"]).body)
            assert [] == rows_of(api.ask(web))

    @agents
    def test_checks_go_on_during_a_delay(self, api: Api, web: str) -> None:
        """
        Gone from the registry, it is still checked in its shutdown_delay; null comes with the end.
        """
        (row,) = api.offer(web, checked=20, delay=1.0)
        with api.allowed("read-job", "submit-job"):
            api.stop(web)
            eventually(lambda: [] == rows_of(api.ask(web)), every=0.001)

            assert api.comes_to(row["AllocID"], "pending")
            eventually(lambda: b"null" == api.checks(row["AllocID"]).body)

    @pytest.mark.parametrize(
        "allocation,said",
        [
            (UNKNOWN, (404, f'Unknown allocation "{UNKNOWN}"')),
            (UNKNOWN[:8], (500, "alloc lookup failed: index error: UUID must be 36 characters")),
        ],
    )
    def test_an_unknown_allocation(
        self, reader: Api, allocation: str, said: tuple[int, str]
    ) -> None:
        """
        It is a 404 that names it; what is no ID at all is a 500.
        """
        for where in (reader.port, reader.socket):
            answer = reader.checks(allocation, on=where)

            assert said == (answer.status, answer.text)


@guarded
class TestRights:
    """
    Who may read checks where ACLs are on.
    """

    def test_read_job_is_enough(self, api: Api, web: str) -> None:
        """
        A policy with read-job, bound to the job that asks, works at once and as long as it stands.
        """
        (row,) = api.offer(web)
        ask = [(row["AllocID"], where) for where in (api.port, api.socket)]

        with api.allowed("read-job"):
            allowed = [api.checks(allocation, on=where).status for allocation, where in ask]
        denied = [api.checks(allocation, on=where).status for allocation, where in ask]

        assert ([200, 200], [403, 403]) == (allowed, denied)

    def test_other_rights_are_not(self, api: Api, web: str) -> None:
        """
        Who may stop a job may not read what its checks found.
        """
        (row,) = api.offer(web)

        with api.allowed("submit-job"):
            assert 403 == api.checks(row["AllocID"]).status

    def test_an_unknown_allocation_comes_first(self, api: Api) -> None:
        """
        That an allocation is unknown is said even to who may not read of those that are known.
        """
        assert 404 == api.checks(UNKNOWN).status
