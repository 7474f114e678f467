"""
What Nomad's service discovery does, as far as the supervisor relies on it.

Each statement is checked on the fake always, and on a real agent where there is one: the fake
cannot drift, and a release of Nomad that changes its mind is found here.  A test uses services of
its own, since the agent is shared.
"""

import gzip
import json
import time
import uuid
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from tests.support.client import Answer, get
from tests.support.nomad_api import Api

UNKNOWN = "7f0c1b9e-3d52-4a8e-9a51-0d6a4f6f2c11"
COLUMNS = {
    **dict.fromkeys(("ID", "ServiceName", "Namespace", "NodeID"), str),
    **dict.fromkeys(("Datacenter", "JobID", "AllocID", "Address"), str),
    **dict.fromkeys(("Port", "CreateIndex", "ModifyIndex"), int),
    "Tags": list,
}


@pytest.fixture
def web() -> str:
    """
    A service that nobody has registered yet.
    """
    return f"web-{uuid.uuid4().hex[:8]}"


def index_of(answer: Answer) -> int:
    """
    The index an answer was given under.
    """
    return int(answer.headers["X-Nomad-Index"])


def count(answer: Answer) -> int:
    """
    How many instances an answer lists.
    """
    assert answer.status == 200, answer.text
    return len(json.loads(answer.body))


class Asked:
    """
    A query under way, once it is on its way: its answer, and how long that took.
    """

    def __init__(self, api: Api, service: str, **query: object) -> None:
        self._began = time.monotonic()
        pool = ThreadPoolExecutor(1)
        self._answer: Future[Answer] = pool.submit(api.ask, service, **query)
        pool.shutdown(wait=False)
        self.took = 0.0

    def blocks(self, seconds: float = 0.3) -> bool:
        """
        Whether there is no answer for this long.
        """
        try:
            self._answer.exception(seconds)
        except TimeoutError:
            return True
        return False

    def result(self, within: float = 10.0) -> Answer:
        """
        Wait for the answer.
        """
        answer = self._answer.result(within)
        self.took = time.monotonic() - self._began
        return answer


class TestAnswers:
    """
    What a plain query gets.
    """

    def test_a_row(self, api: Api, web: str) -> None:
        """
        An instance is a row of twelve columns, none of which tells its health.
        """
        api.offer(web, 1)

        (row,) = json.loads(api.ask(web).body)

        assert COLUMNS == {name: type(value) for name, value in row.items()}
        assert (web, "default") == (row["ServiceName"], row["Namespace"])
        assert row["ID"].startswith(f"_nomad-task-{row['AllocID']}-group-")

    def test_headers(self, api: Api, web: str) -> None:
        """
        Index, last contact and known leader are on every answer, which is JSON.
        """
        headers = api.ask(web).headers

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

    def test_namespaces_are_literal(self, api: Api, web: str) -> None:
        """
        A service is seen in its own namespace only; * is looked up as a name.
        """
        api.offer(web, 1)

        spaces = ("default", "*", "nowhere")

        assert [1, 0, 0] == [count(api.ask(web, namespace=space)) for space in spaces]

    @pytest.mark.parametrize(
        "method,target,status,text",
        [
            ("GET", "/v1/service/x?index=x", 400, "Invalid index"),
            ("GET", "/v1/service/x?index=-1", 400, "Invalid index"),
            ("GET", "/v1/service/x?wait=60", 400, "Invalid wait time"),
            ("GET", "/v1/service/x?region=mars", 500, "No path to region"),
            ("GET", "/v1/service/", 400, "missing service name"),
            ("PUT", "/v1/service/x", 405, "Invalid method"),
        ],
    )
    def test_mistakes(self, api: Api, method: str, target: str, status: int, text: str) -> None:
        """
        What Nomad does not understand it says in plain text.
        """
        answer = get(api.port, target, method=method, headers={"X-Nomad-Token": api.token})

        assert (status, text) == (answer.status, answer.text)
        assert answer.headers["Content-Type"].startswith("text/plain")

    def test_a_double_slash(self, api: Api) -> None:
        """
        An address that ends in a slash leads to a redirect, and no answer.
        """
        answer = get(api.port, "//v1/service/x", headers={"X-Nomad-Token": api.token})

        assert (307, "/v1/service/x") == (answer.status, answer.headers["Location"])

    def test_compression(self, api: Api, web: str) -> None:
        """
        TCP compresses where the client accepts it, the Task API never does.
        """
        api.offer(web, 1)
        token = {"X-Nomad-Token": api.token}
        accepting = {"Accept-Encoding": "gzip", **token}

        tcp = get(api.port, f"/v1/service/{web}", headers=accepting)
        plain = get(
            api.port, f"/v1/service/{web}", headers={"Accept-Encoding": "identity", **token}
        )
        unix = get(api.socket, f"/v1/service/{web}", headers=accepting)

        assert ["gzip", None, None] == [a.headers["Content-Encoding"] for a in (tcp, plain, unix)]
        assert gzip.decompress(tcp.body) == plain.body == unix.body


class TestBlocking:
    """
    What a query with an index gets.
    """

    def test_it_blocks_until_the_change(self, api: Api, web: str) -> None:
        """
        A change of the service answers a waiting query.
        """
        api.offer(web, 1)
        asked = Asked(api, web, index=index_of(api.ask(web)), wait="60s")
        assert asked.blocks()

        api.offer(web, 2)

        assert 2 == count(asked.result(2))

    def test_an_old_index_is_answered_at_once(self, api: Api, web: str) -> None:
        """
        A query from before the last change does not wait.
        """
        before = index_of(api.ask(web))
        api.offer(web, 1)

        asked = Asked(api, web, index=before, wait="60s")

        assert 1 == count(asked.result(2))

    def test_the_wait_runs_out(self, api: Api, web: str) -> None:
        """
        With no change the same answer comes after the wait and at most a sixteenth more.
        """
        api.offer(web, 1)
        index = index_of(api.ask(web))

        asked = Asked(api, web, index=index, wait="1600ms")
        answer = asked.result()

        assert (1, index) == (count(answer), index_of(answer))
        assert 1.6 <= asked.took < 1.7 + 0.5

    def test_an_index_to_come(self, api: Api, web: str) -> None:
        """
        An index that was never reached is waited for, and a lower one comes back.
        """
        api.offer(web, 1)

        asked = Asked(api, web, index=999_999, wait="1s")
        answer = asked.result()

        assert index_of(answer) < 999_999
        assert asked.took >= 1.0

    def test_a_missing_service_blocks(self, api: Api, web: str) -> None:
        """
        Nothing there is no reason to answer at once; the first instance is.
        """
        asked = Asked(api, web, index=index_of(api.ask(web)), wait="60s")
        assert asked.blocks()

        api.offer(web, 1)

        assert 1 == count(asked.result(2))

    def test_a_change_elsewhere_does_not_wake(self, api: Api, web: str) -> None:
        """
        With instances of its own a query sleeps through another service's change.
        """
        api.offer(web, 1)
        before = index_of(api.ask(web))
        asked = Asked(api, web, index=before, wait="2s")
        assert asked.blocks(0.1)

        api.offer(f"other-{web}", 1)
        answer = asked.result()

        assert asked.took >= 2.0
        assert (1, before) == (count(answer), index_of(answer))

    def test_a_change_elsewhere_is_seen_by_the_next_query(self, api: Api, web: str) -> None:
        """
        The index belongs to the table: the next query returns at once with nothing new.
        """
        api.offer(web, 1)
        before = api.ask(web)
        api.offer(f"other-{web}", 1)

        asked = Asked(api, web, index=index_of(before), wait="60s")
        answer = asked.result(2)

        assert before.body == answer.body
        assert index_of(answer) > index_of(before)

    def test_a_change_elsewhere_wakes_an_empty_service(self, api: Api, web: str) -> None:
        """
        With no instance a change elsewhere can answer the query: that of a name like it does.
        """
        asked = Asked(api, web, index=index_of(api.ask(web)), wait="60s")
        assert asked.blocks()

        api.offer(f"{web}-other", 1)

        assert 0 == count(asked.result(2))


class TestTokens:
    """
    Who may ask where ACLs are on.
    """

    @pytest.mark.parametrize(
        "token,status,text",
        [
            ("", 401, "Unauthorized"),
            (UNKNOWN, 403, "Forbidden"),
            ("junk", 500, "Server error authenticating request\n"),
        ],
    )
    def test_task_api(self, api: Api, token: str, status: int, text: str) -> None:
        """
        With an empty token 401, with an unknown UUID 403, with any other nonsense 500.
        """
        answer = api.on_socket("x", X_Nomad_Token=token)

        assert (status, text) == (answer.status, answer.text)

    def test_task_api_without_a_token(self, api: Api) -> None:
        """
        No token at all is a 401.
        """
        answer = api.on_socket("x")

        assert (401, "Unauthorized") == (answer.status, answer.text)

    def test_a_tampered_identity(self, api: Api) -> None:
        """
        A token whose signature is wrong is a 500, not a 403.
        """
        assert 500 == api.on_socket("x", X_Nomad_Token=api.token + "x").status

    def test_its_identity_is_enough(self, api: Api) -> None:
        """
        A workload may read services by its identity alone, in either header, without a policy.
        """
        answers = [
            api.on_socket("x", X_Nomad_Token=api.token),
            api.on_socket("x", Authorization=f"Bearer {api.token}"),
            api.ask("x"),
        ]

        assert [200] * 3 == [answer.status for answer in answers]

    @pytest.mark.parametrize("token", ["", UNKNOWN, "junk"])
    def test_tcp(self, api: Api, token: str) -> None:
        """
        Over TCP every wrong token is the same 403.
        """
        answer = get(api.port, "/v1/service/x", headers={"X-Nomad-Token": token})

        assert (403, "Permission denied") == (answer.status, answer.text)


def test_task_api_without_acls(open_api: Api) -> None:
    """
    With ACLs off the Task API wants a token all the same, and takes any.
    """
    statuses = [open_api.on_socket("x", X_Nomad_Token=token).status for token in ("", "anything")]

    assert [401, 401, 200] == [open_api.on_socket("x").status, *statuses]


def test_tcp_without_acls(open_api: Api) -> None:
    """
    With ACLs off nobody is asked for a token over TCP.
    """
    assert 200 == get(open_api.port, "/v1/service/x").status
