"""
What Nomad's registry answers to a plain query, as far as the supervisor relies on it.

A test uses services of its own, since the Nomads are shared.
"""

import gzip
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
    What is said of an instance.
    """

    def test_its_columns(self, api: Api, web: str) -> None:
        """
        An instance is a row of twelve columns, none of which tells its health.
        """
        (row,) = api.offer(web)

        assert COLUMNS == {name: type(value) for name, value in row.items()}
        assert (web, "default", web) == (row["ServiceName"], row["Namespace"], row["JobID"])
        assert 0 < row["Port"] < 65536

    def test_its_names(self, api: Api, web: str) -> None:
        """
        Its allocation is a UUID in lower case, and the heart of its own ID.
        """
        (row,) = api.offer(web)

        assert str(UUID(row["AllocID"])) == row["AllocID"]
        assert row["ID"].startswith(f"_nomad-task-{row['AllocID']}-group-")
        assert row["ID"].endswith(f"-{web}-http")

    def test_its_tags(self, api: Api, web: str) -> None:
        """
        Tags are a list in the job's order, whatever stands in them, and an empty one for none.
        """
        tags = ("lb.weight=3", "b", 'a"; return 200')

        (row,) = api.offer(web, tags=tags)
        (bare,) = api.offer(f"{web}-bare")

        assert (list(tags), []) == (row["Tags"], bare["Tags"])

    def test_its_indexes(self, api: Api, web: str) -> None:
        """
        It says when it was written, which is not after the index of the answer.
        """
        (row,) = api.offer(web)

        assert row["CreateIndex"] == row["ModifyIndex"] <= index_of(api.ask(web))

    def test_another_instance_leaves_it_alone(self, api: Api, web: str) -> None:
        """
        When a service grows, the row that was there stays as it was.
        """
        (old,) = api.offer(web)

        rows = api.offer(web, 2)

        assert 2 == len({row["AllocID"] for row in rows})
        assert old in rows

    def test_two_jobs_of_one_service(self, api: Api, web: str) -> None:
        """
        Two jobs may register one service; the rows of both are listed, each under its job.
        """
        api.offer(web, 2, name=f"{web}-one")
        rows = api.offer(web, name=f"{web}-two")

        jobs = sorted(row["JobID"] for row in rows)

        assert [f"{web}-one", f"{web}-one", f"{web}-two"] == jobs


class TestAnswers:
    """
    What all answers have in common.
    """

    def test_headers(self, api: Api, web: str) -> None:
        """
        Index, last contact and known leader are on every answer, which is JSON.
        """
        for where in (api.port, api.socket):
            headers = api.ask(web, on=where).headers

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
        answer = api.ask(web)

        assert (200, b"[]") == (answer.status, answer.body)
        assert index_of(answer) >= 1

    def test_names_are_literal(self, api: Api, web: str) -> None:
        """
        Another case, or a name that no service can have, is a service that is missing.
        """
        api.offer(web)

        assert [[], []] == [rows_of(api.ask(name)) for name in (web.upper(), f"{web}_x")]

    @pytest.mark.parametrize("space,count", [("default", 1), ("", 1), ("*", 0), ("nowhere", 0)])
    def test_namespaces_are_literal(self, api: Api, web: str, space: str, count: int) -> None:
        """
        A service is seen in its own namespace only; * is a name, as is one that does not exist.
        """
        api.offer(web)

        assert count == len(rows_of(api.ask(web, namespace=space)))

    def test_our_region(self, api: Api, web: str) -> None:
        """
        The region that is asked, by its name or by none, is the one that answers.
        """
        api.offer(web)

        assert [1, 1] == [len(rows_of(api.ask(web, region=name))) for name in ("global", "")]

    def test_the_same_on_the_socket(self, api: Api, web: str) -> None:
        """
        The Task API answers as TCP does.
        """
        api.offer(web, 2)

        assert api.ask(web).body == api.ask(web, on=api.socket).body

    def test_filters(self, api: Api, web: str) -> None:
        """
        A filter chooses rows by tag and job, and leaves the index alone.
        """
        api.offer(web, tags=("a", "b"), name=f"{web}-one")
        api.offer(web, tags=("a",), name=f"{web}-two")
        filters = {
            "Tags%20contains%20%22a%22": 2,
            "Tags%20contains%20%22b%22": 1,
            "Tags%20contains%20%22c%22": 0,
            f"JobID%20%3D%3D%20%22{web}-two%22": 1,
        }

        answers = [api.ask(web, filter=words) for words in filters]

        assert [*filters.values()] == [len(rows_of(answer)) for answer in answers]
        assert {index_of(api.ask(web))} == {index_of(answer) for answer in answers}

    def test_compression(self, api: Api, web: str) -> None:
        """
        TCP compresses where the client accepts it, errors too; the Task API never does.
        """
        api.offer(web)
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
