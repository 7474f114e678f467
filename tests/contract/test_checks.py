"""
The results of Nomad's own checks, on which HEALTH_CHECK=nomad is based.
"""

import json
from collections.abc import Iterator

import pytest

from tests.support.nomad_api import UNKNOWN, Api, rows_of
from tests.support.nomad_params import real_agents, with_acl
from tests.support.waiting import eventually

COLUMNS = {
    **dict.fromkeys(("Check", "Group", "ID", "Mode", "Output", "Service", "Status"), str),
    "Timestamp": int,
}


@pytest.fixture
def reader(api: Api) -> Iterator[Api]:
    """
    A Nomad whose checks the workload may read.
    """
    with api.allowed("read-job"):
        yield api


class TestResponses:
    """
    Responses to a request with the permission to read checks.
    """

    def test_a_check(self, reader: Api, web: str) -> None:
        """
        The response maps check IDs to results with their service; the first status is pending.
        """
        (row,) = reader.register(web, checked=20, name=f"{web}-job")

        ((name, check),) = json.loads(reader.checks(row["AllocID"]).body).items()

        assert COLUMNS == {column: type(value) for column, value in check.items()}
        assert (name, web, "pending") == (check["ID"], check["Service"], check["Status"])
        assert "healthiness" == check["Mode"]

    def test_its_status(self, reader: Api, web: str) -> None:
        """
        The check fails until the port is open, succeeds while it is, and fails again.
        """
        (row,) = reader.register(web, checked=1)
        allocation = row["AllocID"]
        assert reader.wait_for_check(allocation, "pending")
        reader.backend.set_listening(web, listening=False)
        failed = reader.wait_for_check(allocation, "failure")

        reader.backend.set_listening(web, listening=True)
        succeeded = reader.wait_for_check(allocation, "success")
        reader.backend.set_listening(web, listening=False)

        assert [*failed] == [*succeeded] == [*reader.wait_for_check(allocation, "failure")]

    def test_a_failing_instance_stays_listed(self, reader: Api, web: str) -> None:
        """
        The registry row is unchanged, with the same index.
        """
        (row,) = reader.register(web, checked=1)
        reader.backend.set_listening(web, listening=False)
        reader.wait_for_check(row["AllocID"], "failure")

        assert [row] == rows_of(reader.get_service(web))

    def test_no_checks(self, reader: Api, web: str) -> None:
        """
        For an allocation without checks the response is null, not an empty map.
        """
        (row,) = reader.register(web)

        answer = reader.checks(row["AllocID"])

        assert (200, b"null") == (answer.status, answer.body)

    def test_headers(self, reader: Api, web: str) -> None:
        """
        The response has no index, with checks and without.
        """
        for (row,) in (reader.register(web), reader.register(f"{web}-checked", checked=20)):
            headers = reader.checks(row["AllocID"]).headers

            assert "application/json" == headers["Content-Type"]
            assert (None, None) == (headers["X-Nomad-Index"], headers["X-Nomad-KnownLeader"])

    def test_the_query_does_not_block(self, reader: Api, web: str) -> None:
        """
        An index is ignored, so clients must poll.
        """
        (row,) = reader.register(web)

        answer = reader.call(
            f"/v1/client/allocation/{row['AllocID']}/checks?index=999999&wait=60s", timeout=2
        )

        assert 200 == answer.status

    @pytest.mark.parametrize("query", ["namespace=nowhere", "region=mars"])
    def test_namespace_and_region(self, reader: Api, web: str, query: str) -> None:
        """
        The ID is enough: namespace and region are ignored.
        """
        (row,) = reader.register(web)

        answer = reader.call(f"/v1/client/allocation/{row['AllocID']}/checks?{query}")

        assert 200 == answer.status

    def test_either_path(self, reader: Api, web: str) -> None:
        """
        The paths with and without `client` are equivalent, on either listener.
        """
        (row,) = reader.register(web, checked=20)
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
        For a stopped allocation the response is null, not an error.
        """
        (row,) = api.register(web, checked=20)
        with api.allowed("read-job", "submit-job"):
            api.stop(web)

            eventually(lambda: b"null" == api.checks(row["AllocID"]).body)
            assert [] == rows_of(api.get_service(web))

    @real_agents
    def test_checks_go_on_during_a_delay(self, api: Api, web: str) -> None:
        """
        After its removal from the registry an allocation is checked until its shutdown_delay ends.
        """
        (row,) = api.register(web, checked=20, delay=1.0)
        with api.allowed("read-job", "submit-job"):
            api.stop(web)
            eventually(lambda: [] == rows_of(api.get_service(web)), every=0.001)

            assert api.wait_for_check(row["AllocID"], "pending")
            eventually(lambda: b"null" == api.checks(row["AllocID"]).body)

    @pytest.mark.parametrize(
        "allocation,expected",
        [
            (UNKNOWN, (404, f'Unknown allocation "{UNKNOWN}"')),
            (UNKNOWN[:8], (500, "alloc lookup failed: index error: UUID must be 36 characters")),
        ],
    )
    def test_an_unknown_allocation(
        self, reader: Api, allocation: str, expected: tuple[int, str]
    ) -> None:
        """
        The response is a 404 with the ID; for an invalid ID it is a 500.
        """
        for where in (reader.port, reader.socket):
            answer = reader.checks(allocation, on=where)

            assert expected == (answer.status, answer.text)


@with_acl
class TestRights:
    """
    The permission to read checks with ACLs on.
    """

    def test_read_job_is_enough(self, api: Api, web: str) -> None:
        """
        A policy with read-job, bound to the job of the client, has effect at once, until deleted.
        """
        (row,) = api.register(web)
        requests = [(row["AllocID"], where) for where in (api.port, api.socket)]

        with api.allowed("read-job"):
            allowed = [api.checks(allocation, on=where).status for allocation, where in requests]
        denied = [api.checks(allocation, on=where).status for allocation, where in requests]

        assert ([200, 200], [403, 403]) == (allowed, denied)

    def test_other_capabilities_are_not_enough(self, api: Api, web: str) -> None:
        """
        The permission to stop a job does not include its checks.
        """
        (row,) = api.register(web)

        with api.allowed("submit-job"):
            assert 403 == api.checks(row["AllocID"]).status

    def test_an_unknown_allocation_comes_first(self, api: Api) -> None:
        """
        An unknown allocation is reported even without the permission to read known ones.
        """
        assert 404 == api.checks(UNKNOWN).status
