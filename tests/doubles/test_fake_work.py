"""
Jobs, allocations and checks of the fake; the contract tests compare them with Nomad.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from tests.support.client import Answer, get
from tests.support.fake_nomad import TOKEN, FakeNomad

ALLOCATION = "7f0c1b9e-3d52-4a8e-9a51-0d6a4f6f2c11"


@pytest.fixture
def secured(tmp_path: Path) -> Iterator[FakeNomad]:
    """
    A fake Nomad with ACLs on.
    """
    with FakeNomad(tmp_path / "api.sock", acl=True) as server:
        yield server


def request(nomad: FakeNomad, path: str, method: str = "GET") -> Answer:
    """
    Send a request with the valid token.
    """
    return get(nomad.port, path, method=method, headers={"X-Nomad-Token": TOKEN})


def rows(nomad: FakeNomad, service: str = "web", query: str = "") -> list[Any]:
    """
    Return the instances of a service.
    """
    found: list[Any] = json.loads(request(nomad, f"/v1/service/{service}{query}").body)
    return found


def checks(nomad: FakeNomad) -> list[tuple[str, str, str]] | None:
    """
    Return the allocation's checks as services, names and statuses, or None.
    """
    answer = request(nomad, f"/v1/client/allocation/{ALLOCATION}/checks")
    assert answer.status == 200, answer.text
    found = json.loads(answer.body)
    if found is None:
        return None
    return sorted((c["Service"], c["Check"], c["Status"]) for c in found.values())


class TestRows:
    """
    Properties of an instance that a test can set.
    """

    def test_its_allocation(self, nomad: FakeNomad) -> None:
        """
        The allocation is the given one, or derived from the address; both are UUIDs.
        """
        nomad.add("web", "10.0.0.1", 1, alloc=ALLOCATION)
        nomad.add("web", "10.0.0.2", 2)

        given, derived = rows(nomad)

        assert (ALLOCATION, nomad.allocation("web", 2)) == (given["AllocID"], derived["AllocID"])
        assert given["ID"].startswith(f"_nomad-task-{ALLOCATION}-group-")
        assert UUID(derived["AllocID"])

    def test_its_job_and_tags(self, nomad: FakeNomad) -> None:
        """
        Each instance may have its own job and tags.
        """
        nomad.add("web", "10.0.0.1", 1, job="one", tags=["a"])
        nomad.add("web", "10.0.0.2", 2, job="two")

        found = [(row["JobID"], row["Tags"]) for row in rows(nomad)]

        assert [("one", ["a"]), ("two", [])] == found


class TestChecks:
    """
    Results of checks that a test can set.
    """

    def test_statuses(self, nomad: FakeNomad) -> None:
        """
        Each check has its last status, whatever it is, under the service of its row.
        """
        nomad.add("web", "10.0.0.1", 1, alloc=ALLOCATION)
        nomad.checks(ALLOCATION, {"alive": "success", "ready": "pending"})
        nomad.checks(ALLOCATION, {"alive": "failure", "ready": "on fire"})

        found = checks(nomad)

        assert [("web", "alive", "failure"), ("web", "ready", "on fire")] == found

    def test_two_services(self, nomad: FakeNomad) -> None:
        """
        An allocation with two services has the checks of both.
        """
        for service in ("web", "admin"):
            nomad.add(service, "10.0.0.1", 1, alloc=ALLOCATION)
            nomad.checks(ALLOCATION, {"alive": "success"}, service=service)
        nomad.checks(ALLOCATION, {"alive": "failure"}, service="admin")

        assert [("admin", "alive", "failure"), ("web", "alive", "success")] == checks(nomad)

    def test_none(self, nomad: FakeNomad) -> None:
        """
        There are no checks before a test sets them, after it sets None, and after the instance
        left.
        """
        nomad.add("web", "10.0.0.1", 1, alloc=ALLOCATION)
        found = [checks(nomad)]
        nomad.checks(ALLOCATION, {"alive": "success"})
        found.append(checks(nomad))
        nomad.checks(ALLOCATION, None)
        found.append(checks(nomad))
        nomad.checks(ALLOCATION, {"alive": "success"})
        nomad.set("web", [])
        found.append(checks(nomad))

        assert [None, [("web", "alive", "success")], None, None] == found

    def test_rights(self, secured: FakeNomad) -> None:
        """
        With ACLs there are no capabilities until a test adds them.
        """
        secured.add("web", "10.0.0.1", 1, alloc=ALLOCATION)
        path = f"/v1/client/allocation/{ALLOCATION}/checks"
        before = request(secured, path).status
        secured.rights.add("read-job")

        assert (403, 200) == (before, request(secured, path).status)


class TestJobs:
    """
    Effects of stopping and restarting.
    """

    def test_a_stopped_job(self, nomad: FakeNomad) -> None:
        """
        Its instances leave all services in one change; other entries stay.
        """
        nomad.rows("web", [None, "x"])
        nomad.add("web", "10.0.0.1", 1, job="one")
        nomad.add("web", "10.0.0.2", 2, job="two")
        nomad.add("admin", "10.0.0.1", 3, job="one")
        before = nomad.index

        request(nomad, "/v1/job/one", "DELETE")

        assert before + 1 == nomad.index
        assert [None, "x"] == rows(nomad)[:2]
        assert ["two"] == [row["JobID"] for row in rows(nomad)[2:]]
        assert [] == rows(nomad, "admin")

    def test_a_namesake_in_another_namespace(self, secured: FakeNomad) -> None:
        """
        Capabilities and jobs are looked up in the requested namespace, if it exists.
        """
        secured.rights.add("submit-job")
        for space in ("default", "prod"):
            secured.add("web", "10.0.0.1", 1, job="one", namespace=space)

        statuses = [
            request(secured, f"/v1/job/one?namespace={space}", "DELETE").status
            for space in ("prod", "nowhere")
        ]

        assert [200, 403] == statuses
        assert [1, 0] == [
            len(rows(secured, query=f"?namespace={space}")) for space in ("default", "prod")
        ]

    def test_a_restart(self, nomad: FakeNomad) -> None:
        """
        The allocation's rows are created again, other rows are unchanged.
        """
        nomad.add("web", "10.0.0.1", 1, alloc=ALLOCATION)
        nomad.add("web", "10.0.0.2", 2)
        before = rows(nomad)

        nomad.restart(ALLOCATION)
        after = rows(nomad)

        assert after[0]["CreateIndex"] == nomad.index > before[0]["CreateIndex"]
        assert before[1] == after[1]
