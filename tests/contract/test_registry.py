"""
Responses of Nomad's registry to a plain query, as far as the supervisor relies on them.

Each test uses services of its own, since the Nomads are shared.
"""

import gzip
import json
from uuid import UUID

import pytest

from tests.support.client import get
from tests.support.nomad_api import Api, index_of, rows_of

COLUMNS = {
    **dict.fromkeys(("ID", "ServiceName", "Namespace", "NodeID"), str),
    **dict.fromkeys(("Datacenter", "JobID", "AllocID", "Address"), str),
    **dict.fromkeys(("Port", "CreateIndex", "ModifyIndex"), int),
    "Tags": list,
}


class TestRows:
    """
    The row of an instance.
    """

    def test_its_columns(self, api: Api, web: str) -> None:
        """
        An instance is a row of twelve columns, none of which contains its health.
        """
        (row,) = api.register(web)

        assert COLUMNS == {name: type(value) for name, value in row.items()}
        assert (web, "default", web) == (row["ServiceName"], row["Namespace"], row["JobID"])
        assert 0 < row["Port"] < 65536

    def test_its_names(self, api: Api, web: str) -> None:
        """
        Its allocation is a UUID in lower case, and part of its own ID.
        """
        (row,) = api.register(web)

        assert str(UUID(row["AllocID"])) == row["AllocID"]
        assert row["ID"].startswith(f"_nomad-task-{row['AllocID']}-group-")
        assert row["ID"].endswith(f"-{web}-http")

    def test_its_tags(self, api: Api, web: str) -> None:
        """
        Tags are a list in the job's order, with any text in them; without tags it is empty.
        """
        tags = ("lb.weight=3", "b", 'a"; return 200')

        (row,) = api.register(web, tags=tags)
        (untagged,) = api.register(f"{web}-untagged")

        assert (list(tags), []) == (row["Tags"], untagged["Tags"])

    def test_its_indexes(self, api: Api, web: str) -> None:
        """
        Its indexes are not higher than the index of the response.
        """
        (row,) = api.register(web)

        assert row["CreateIndex"] == row["ModifyIndex"] <= index_of(api.get_service(web))

    def test_another_instance_leaves_it_alone(self, api: Api, web: str) -> None:
        """
        When an instance is added, the existing rows do not change.
        """
        (old,) = api.register(web)

        rows = api.register(web, 2)

        assert 2 == len({row["AllocID"] for row in rows})
        assert old in rows

    def test_two_jobs_of_one_service(self, api: Api, web: str) -> None:
        """
        Two jobs may register one service; the rows of both are listed, each with its job.
        """
        api.register(web, 2, name=f"{web}-one")
        rows = api.register(web, name=f"{web}-two")

        jobs = sorted(row["JobID"] for row in rows)

        assert [f"{web}-one", f"{web}-one", f"{web}-two"] == jobs


class TestResponses:
    """
    Properties of all responses.
    """

    def test_headers(self, api: Api, web: str) -> None:
        """
        Every response is JSON, with the headers for index, last contact and known leader.
        """
        for where in (api.port, api.socket):
            headers = api.get_service(web, on=where).headers

            assert headers["X-Nomad-Index"].isdigit()
            assert ("0", "true", "application/json") == (
                headers["X-Nomad-LastContact"],
                headers["X-Nomad-KnownLeader"],
                headers["Content-Type"],
            )

    def test_a_missing_service(self, api: Api, web: str) -> None:
        """
        It is 200 and [], never 404, with an index of at least 1.
        """
        answer = api.get_service(web)

        assert (200, b"[]") == (answer.status, answer.body)
        assert index_of(answer) >= 1

    def test_names_are_literal(self, api: Api, web: str) -> None:
        """
        A name in another case, or an invalid one, is a missing service.
        """
        api.register(web)

        assert [[], []] == [rows_of(api.get_service(name)) for name in (web.upper(), f"{web}_x")]

    @pytest.mark.parametrize("space,count", [("default", 1), ("", 1), ("*", 0), ("nowhere", 0)])
    def test_namespaces_are_literal(self, api: Api, web: str, space: str, count: int) -> None:
        """
        A service is listed in its own namespace only; * is a literal name.
        """
        api.register(web)

        assert count == len(rows_of(api.get_service(web, namespace=space)))

    def test_the_own_region(self, api: Api, web: str) -> None:
        """
        The own region can be given by its name or left empty.
        """
        api.register(web)

        assert [1, 1] == [
            len(rows_of(api.get_service(web, region=name))) for name in ("global", "")
        ]

    def test_the_same_on_the_socket(self, api: Api, web: str) -> None:
        """
        The Task API responds like TCP.
        """
        api.register(web, 2)

        assert api.get_service(web).body == api.get_service(web, on=api.socket).body

    def test_filters(self, api: Api, web: str) -> None:
        """
        A filter selects rows by tag and job, and does not change the index.
        """
        api.register(web, tags=("a", "b"), name=f"{web}-one")
        api.register(web, tags=("a",), name=f"{web}-two")
        filters = {
            "Tags%20contains%20%22a%22": 2,
            "Tags%20contains%20%22b%22": 1,
            "Tags%20contains%20%22c%22": 0,
            f"JobID%20%3D%3D%20%22{web}-two%22": 1,
        }

        answers = [api.get_service(web, filter=expression) for expression in filters]

        assert [*filters.values()] == [len(rows_of(answer)) for answer in answers]
        assert {index_of(api.get_service(web))} == {index_of(answer) for answer in answers}

    def test_compression(self, api: Api, web: str) -> None:
        """
        TCP compresses if the client accepts it, errors too; the Task API never does.
        """
        api.register(web)
        token = {"X-Nomad-Token": api.token}
        accepting = {"Accept-Encoding": "gzip", **token}
        path = f"/v1/service/{web}"

        tcp = get(api.port, path, headers=accepting)
        wrong = get(api.port, f"{path}?index=x", headers=accepting)
        plain = get(api.port, path, headers={"Accept-Encoding": "identity", **token})
        unix = get(api.socket, path, headers=accepting)

        assert ["gzip", "gzip", None, None] == [
            answer.headers["Content-Encoding"] for answer in (tcp, wrong, plain, unix)
        ]
        assert gzip.decompress(tcp.body) == plain.body == unix.body
        assert b"Invalid index" == gzip.decompress(wrong.body)


def test_the_names_of_all_services(api: Api, web: str) -> None:
    """
    A workload may list the services of its own namespace: their names and tags, by namespace.
    """
    api.register(web, tags=("a",))

    for where in (api.port, api.socket):
        answer = api.call("/v1/services", on=where)
        (space,) = json.loads(answer.body)
        assert "default" == space["Namespace"]
        assert {"ServiceName": web, "Tags": ["a"]} in space["Services"]
        nowhere = api.call("/v1/services?namespace=nowhere", on=where)
        assert (200, b"[]") == (nowhere.status, nowhere.body)
