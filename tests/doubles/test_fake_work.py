"""
What a test can let the fake's jobs and allocations do; that Nomad does it so, the contract says.
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
    A Nomad with ACLs on.
    """
    with FakeNomad(tmp_path / "api.sock", acl=True) as server:
        yield server


def ask(nomad: FakeNomad, path: str, method: str = "GET") -> Answer:
    """
    Ask with the token that is known.
    """
    return get(nomad.port, path, method=method, headers={"X-Nomad-Token": TOKEN})


def rows(nomad: FakeNomad, service: str = "web", query: str = "") -> list[Any]:
    """
    The instances of a service.
    """
    found: list[Any] = json.loads(ask(nomad, f"/v1/service/{service}{query}").body)
    return found


def checks(nomad: FakeNomad) -> list[tuple[str, str, str]] | None:
    """
    What is said of the allocation's checks: their services, names and statuses, or nothing.
    """
    answer = ask(nomad, f"/v1/client/allocation/{ALLOCATION}/checks")
    assert answer.status == 200, answer.text
    found = json.loads(answer.body)
    if found is None:
        return None
    return sorted((c["Service"], c["Check"], c["Status"]) for c in found.values())


class TestRows:
    """
    What a test may say of an instance.
    """

    def test_its_allocation(self, nomad: FakeNomad) -> None:
        """
        It is the one that was given, else one made from the address, a UUID either way.
        """
        nomad.add("web", "10.0.0.1", 1, alloc=ALLOCATION)
        nomad.add("web", "10.0.0.2", 2)

        given, made = rows(nomad)

        assert (ALLOCATION, nomad.allocation("web", 2)) == (given["AllocID"], made["AllocID"])
        assert given["ID"].startswith(f"_nomad-task-{ALLOCATION}-group-")
        assert UUID(made["AllocID"])

    def test_its_job_and_tags(self, nomad: FakeNomad) -> None:
        """
        Each instance may be of another job, and have tags of its own.
        """
        nomad.add("web", "10.0.0.1", 1, job="one", tags=["a"])
        nomad.add("web", "10.0.0.2", 2, job="two")

        found = [(row["JobID"], row["Tags"]) for row in rows(nomad)]

        assert [("one", ["a"]), ("two", [])] == found


class TestChecks:
    """
    What a test may let them find.
    """

    def test_statuses(self, nomad: FakeNomad) -> None:
        """
        Each has the status that it was given last, whatever that is, for the service of its row.
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
        There are none before a test says so, once it says None, and when the instance has left.
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
        With ACLs nobody has a right until a test gives it.
        """
        secured.add("web", "10.0.0.1", 1, alloc=ALLOCATION)
        path = f"/v1/client/allocation/{ALLOCATION}/checks"
        before = ask(secured, path).status
        secured.rights.add("read-job")

        assert (403, 200) == (before, ask(secured, path).status)


class TestJobs:
    """
    What becomes of them.
    """

    def test_a_stopped_job(self, nomad: FakeNomad) -> None:
        """
        Its instances leave all its services in one change; what is no row stays where it is.
        """
        nomad.rows("web", [None, "x"])
        nomad.add("web", "10.0.0.1", 1, job="one")
        nomad.add("web", "10.0.0.2", 2, job="two")
        nomad.add("admin", "10.0.0.1", 3, job="one")
        before = nomad.index

        ask(nomad, "/v1/job/one", "DELETE")

        assert before + 1 == nomad.index
        assert [None, "x"] == rows(nomad)[:2]
        assert ["two"] == [row["JobID"] for row in rows(nomad)[2:]]
        assert [] == rows(nomad, "admin")

    def test_a_namesake_in_another_namespace(self, secured: FakeNomad) -> None:
        """
        Rights and jobs are looked for in the namespace that is asked for, if it holds something.
        """
        secured.rights.add("submit-job")
        for space in ("default", "prod"):
            secured.add("web", "10.0.0.1", 1, job="one", namespace=space)

        statuses = [
            ask(secured, f"/v1/job/one?namespace={space}", "DELETE").status
            for space in ("prod", "nowhere")
        ]

        assert [200, 403] == statuses
        assert [1, 0] == [
            len(rows(secured, query=f"?namespace={space}")) for space in ("default", "prod")
        ]

    def test_a_restart(self, nomad: FakeNomad) -> None:
        """
        The allocation's rows are written anew, those beside them are not.
        """
        nomad.add("web", "10.0.0.1", 1, alloc=ALLOCATION)
        nomad.add("web", "10.0.0.2", 2)
        before = rows(nomad)

        nomad.restart(ALLOCATION)
        after = rows(nomad)

        assert after[0]["CreateIndex"] == nomad.index > before[0]["CreateIndex"]
        assert before[1] == after[1]
