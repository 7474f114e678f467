"""
The fake Nomad behaves as measured on real agents.
"""

import gzip
import http.client
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support import nomad_faults as faults
from tests.support.client import Answer, connect, get, read_answer, request_bytes
from tests.support.fake_nomad import TOKEN, FakeNomad
from tests.support.nomad_registry import go_duration
from tests.support.waiting import eventually

WEB = "/v1/service/web"
UNKNOWN = "7f0c1b9e-3d52-4a8e-9a51-0d6a4f6f2c11"


@dataclass
class Query:
    """
    A query in a thread, and the time of its response.
    """

    thread: threading.Thread
    began: float
    ended: float = 0.0
    answer: Answer | None = None
    error: str = ""

    def result(self, within: float = 5.0) -> Answer:
        """
        Wait for the response.
        """
        self.thread.join(within)
        assert self.answer is not None, self.error or "no response"
        return self.answer


def send_query(nomad: FakeNomad, path: str = WEB, **parameters: object) -> Query:
    """
    Send a query in the background and return once it blocks or has a response.
    """
    target = path + "?" + "&".join(f"{name}={value}" for name, value in parameters.items())
    before = nomad.blocked

    def work() -> None:
        try:
            query.answer = get(nomad.port, target, timeout=10)
        except (OSError, http.client.HTTPException) as error:
            query.error = repr(error)
        query.ended = time.monotonic()

    query = Query(threading.Thread(target=work, daemon=True), time.monotonic())
    query.thread.start()
    eventually(lambda: nomad.blocked > before or query.ended, every=0.001)
    return query


def index_of(answer: Answer) -> int:
    """
    Return the index of a response.
    """
    return int(answer.headers["X-Nomad-Index"])


def ports(answer: Answer) -> list[int]:
    """
    Return the ports of the instances in a response.
    """
    return sorted(row["Port"] for row in json.loads(answer.body))


@pytest.fixture
def secured(tmp_path: Path) -> Iterator[FakeNomad]:
    """
    A fake Nomad with ACLs on, over TCP and as the Task API.
    """
    with FakeNomad(tmp_path / "api.sock", acl=True) as server:
        yield server


def on_socket(nomad: FakeNomad, token: str | None, name: str = "X-Nomad-Token") -> Answer:
    """
    Query the Task API with this token.
    """
    assert nomad.socket_path is not None
    return get(nomad.socket_path, WEB, headers={} if token is None else {name: token})


class TestAnswers:
    """
    Responses to a query without an index.
    """

    def test_an_instance_is_a_row_as_in_nomad(self, nomad: FakeNomad) -> None:
        """
        A row has the twelve fields of a ServiceRegistration, and no health.
        """
        nomad.set("web", [("10.0.0.1", 21234)])

        (row,) = json.loads(get(nomad.port, WEB).body)

        assert {
            *("ID", "ServiceName", "Namespace", "NodeID", "Datacenter", "JobID", "AllocID"),
            *("Tags", "Address", "Port", "CreateIndex", "ModifyIndex"),
        } == set(row)
        assert ("web", "default", "10.0.0.1", 21234) == (
            row["ServiceName"],
            row["Namespace"],
            row["Address"],
            row["Port"],
        )

    def test_headers(self, nomad: FakeNomad) -> None:
        """
        Every response has index, last contact and known leader.
        """
        headers = get(nomad.port, WEB).headers

        assert (str(nomad.index), "0", "true") == (
            headers["X-Nomad-Index"],
            headers["X-Nomad-LastContact"],
            headers["X-Nomad-KnownLeader"],
        )

    def test_a_missing_service_is_an_empty_list(self, nomad: FakeNomad) -> None:
        """
        The response is 200 and [], never 404, with an index of at least 1.
        """
        nomad.index = 0

        answer = get(nomad.port, WEB)

        assert (200, b"[]", 1) == (answer.status, answer.body, index_of(answer))

    def test_namespaces_are_literal(self, nomad: FakeNomad) -> None:
        """
        A service is listed in its own namespace only; * is taken literally.
        """
        nomad.set("web", [("10.0.0.1", 1)], namespace="prod")

        counts = [
            len(ports(get(nomad.port, WEB + query)))
            for query in ("", "?namespace=default", "?namespace=*", "?namespace=prod")
        ]

        assert [0, 0, 0, 1] == counts

    @pytest.mark.parametrize(
        "method,target,status,text",
        [
            ("GET", WEB + "?index=x", 400, "Invalid index"),
            ("GET", WEB + "?index=-1", 400, "Invalid index"),
            ("GET", WEB + "?wait=60", 400, "Invalid wait time"),
            ("GET", WEB + "?region=mars", 500, "No path to region"),
            ("GET", "/v1/service/", 400, "missing service name"),
            ("PUT", WEB, 405, "Invalid method"),
            ("GET", "//v1/service/web", 307, ""),
        ],
    )
    def test_invalid_requests(
        self, nomad: FakeNomad, method: str, target: str, status: int, text: str
    ) -> None:
        """
        Invalid requests get Nomad's error as plain text.
        """
        answer = get(nomad.port, target, method=method)

        assert (status, text) == (answer.status, answer.text)

    def test_gzip_over_tcp_only(self, secured: FakeNomad) -> None:
        """
        TCP responses are compressed if the client accepts it, those of the Task API never.
        """
        secured.set("web", [("10.0.0.1", 1)])
        accepting = {"Accept-Encoding": "gzip, deflate", "X-Nomad-Token": TOKEN}

        tcp = get(secured.port, WEB, headers=accepting)
        plain = get(secured.port, WEB, headers={"X-Nomad-Token": TOKEN})
        assert secured.socket_path is not None
        unix = get(secured.socket_path, WEB, headers=accepting)

        assert ["gzip", None, None] == [a.headers["Content-Encoding"] for a in (tcp, plain, unix)]
        assert gzip.decompress(tcp.body) == plain.body == unix.body

    def test_connections_are_kept(self, nomad: FakeNomad) -> None:
        """
        One connection serves several requests, in order.
        """
        with connect(nomad.port) as connection:
            for _ in range(3):
                connection.sendall(request_bytes(WEB, headers={"Connection": "keep-alive"}))
                assert 200 == read_answer(connection).status
        assert 3 == len(nomad.requests)

    def test_requests_are_recorded(self, nomad: FakeNomad) -> None:
        """
        Each request is recorded with method, path, query, headers, listener and time.
        """
        before = time.monotonic()

        get(nomad.port, WEB + "?namespace=default&wait=1s", headers={"X-Nomad-Token": "t"})

        (seen,) = nomad.requests
        assert ("GET", WEB, "tcp") == (seen.method, seen.path, seen.via)
        assert {"namespace": "default", "wait": "1s"} == seen.query
        assert "t" == seen.headers["x-nomad-token"]
        assert before <= seen.at <= time.monotonic()

    @pytest.mark.parametrize(
        "text,seconds", [("60s", 60), ("1h30m", 5400), ("1.5s", 1.5), ("250ms", 0.25), ("0", 0)]
    )
    def test_waits_are_go_durations(self, text: str, seconds: float) -> None:
        """
        Durations have units; only zero may have none.
        """
        assert seconds == pytest.approx(go_duration(text))


class TestBlocking:
    """
    Responses to a query with an index.
    """

    def test_it_blocks_until_the_change(self, nomad: FakeNomad) -> None:
        """
        A change of the service ends a blocking query at once.
        """
        nomad.set("web", [("10.0.0.1", 1)])
        query = send_query(nomad, index=nomad.index, wait="60s")
        assert 1 == nomad.blocked

        changed = time.monotonic()
        nomad.add("web", "10.0.0.2", 2)
        answer = query.result()

        assert [1, 2] == ports(answer)
        assert index_of(answer) == nomad.index
        assert query.ended - changed < 0.05

    def test_an_old_index_is_answered_at_once(self, nomad: FakeNomad) -> None:
        """
        A query with an index before the last change does not block.
        """
        nomad.set("web", [("10.0.0.1", 1)])

        assert [1] == ports(send_query(nomad, index=nomad.index - 1, wait="60s").result(1))

    def test_the_wait_runs_out(self, nomad: FakeNomad) -> None:
        """
        Without a change the same response arrives after the wait plus at most a sixteenth.
        """
        nomad.set("web", [("10.0.0.1", 1)])

        query = send_query(nomad, index=nomad.index, wait="480ms")
        answer = query.result()

        assert ([1], nomad.index) == (ports(answer), index_of(answer))
        assert 0.48 <= query.ended - query.began < 0.48 * 17 / 16 + 0.2

    def test_a_missing_service_blocks(self, nomad: FakeNomad) -> None:
        """
        A query for a missing service blocks until the first instance.
        """
        query = send_query(nomad, index=nomad.index, wait="60s")
        assert not query.ended

        nomad.add("web", "10.0.0.1", 1)

        assert [1] == ports(query.result())

    def test_a_change_elsewhere_does_not_end_the_query(self, nomad: FakeNomad) -> None:
        """
        If the service has instances, another service's change does not end the query.
        """
        nomad.set("web", [("10.0.0.1", 1)])
        before = nomad.index

        query = send_query(nomad, index=before, wait="300ms")
        nomad.set("other", [("10.0.0.9", 9)])
        answer = query.result()

        assert index_of(answer) == before < nomad.index
        assert query.ended - query.began >= 0.3

    def test_a_change_elsewhere_ends_the_next_query(self, nomad: FakeNomad) -> None:
        """
        The index belongs to the table: the next query returns once without a change.
        """
        nomad.set("web", [("10.0.0.1", 1)])
        before = nomad.index
        nomad.bump()

        answer = send_query(nomad, index=before, wait="60s").result(1)

        assert ([1], before + 1) == (ports(answer), index_of(answer))

    def test_a_change_elsewhere_ends_the_query_of_an_empty_service(self, nomad: FakeNomad) -> None:
        """
        Without instances every change in the table ends the query.
        """
        query = send_query(nomad, index=nomad.index, wait="60s")

        nomad.bump()

        assert [] == ports(query.result(1))

    def test_a_restored_snapshot_blocks_on(self, nomad: FakeNomad) -> None:
        """
        After the index went back, a change below the query's index does not end it.
        """
        nomad.set("web", [("10.0.0.1", 1)])
        query = send_query(nomad, index=nomad.index, wait="400ms")

        nomad.index = 5
        nomad.add("web", "10.0.0.2", 2)
        answer = query.result()

        assert query.ended - query.began >= 0.4
        assert ([1, 2], 6) == (ports(answer), index_of(answer))

    def test_rows_are_served_as_they_are(self, nomad: FakeNomad) -> None:
        """
        A test can set any rows, and the client gets them unchanged.
        """
        nomad.rows("web", [None, {"Address": "", "Port": 0}, "x"])

        assert [None, {"Address": "", "Port": 0}, "x"] == json.loads(get(nomad.port, WEB).body)

    def test_remove_takes_one_instance(self, nomad: FakeNomad) -> None:
        """
        The other instances stay, with their CreateIndex.
        """
        nomad.set("web", [("10.0.0.1", 1)])
        created = nomad.index
        nomad.add("web", "10.0.0.2", 2)
        nomad.remove("web", "10.0.0.2", 2)

        (row,) = json.loads(get(nomad.port, WEB).body)

        assert (1, created) == (row["Port"], row["CreateIndex"])


class TestTokens:
    """
    Authentication.
    """

    @pytest.mark.parametrize(
        "token,status,text",
        [
            (None, 401, "Unauthorized"),
            ("", 401, "Unauthorized"),
            (UNKNOWN, 403, "Forbidden"),
            ("junk", 500, "Server error authenticating request\n"),
            (TOKEN + "x", 500, "Server error authenticating request\n"),
            (TOKEN, 200, "[]"),
        ],
    )
    def test_task_api(self, secured: FakeNomad, token: str | None, status: int, text: str) -> None:
        """
        Without a token the status is 401, with an unknown UUID 403, with any other text 500.
        """
        answer = on_socket(secured, token)

        assert (status, text) == (answer.status, answer.text)

    def test_bearer(self, secured: FakeNomad) -> None:
        """
        An Authorization header works like Nomad's own.
        """
        assert 200 == on_socket(secured, "Bearer " + TOKEN, "Authorization").status

    @pytest.mark.parametrize("token", ["", UNKNOWN, "junk"])
    def test_tcp(self, secured: FakeNomad, token: str) -> None:
        """
        Over TCP every wrong token leads to the same 403.
        """
        answer = get(secured.port, WEB, headers={"X-Nomad-Token": token})

        assert (403, "Permission denied") == (answer.status, answer.text)

    def test_task_api_without_acls(self, tmp_path: Path) -> None:
        """
        With ACLs off the Task API still requires a token, and accepts any.
        """
        with FakeNomad(tmp_path / "api.sock") as nomad:
            statuses = [on_socket(nomad, token).status for token in (None, "", "anything")]

        assert [401, 401, 200] == statuses


class TestAbsence:
    """
    A server that stops and starts again.
    """

    def test_gone_and_back(self, tmp_path: Path) -> None:
        """
        While stopped it refuses connections and has no socket file; then it uses the same port and
        path.
        """
        nomad = FakeNomad(tmp_path / "api.sock").start()
        assert nomad.socket_path is not None
        port = nomad.port
        nomad.stop()

        with pytest.raises(ConnectionRefusedError):
            get(port, WEB)
        with pytest.raises(FileNotFoundError):
            get(nomad.socket_path, WEB)
        with nomad:
            assert port == nomad.port
            assert 200 == get(port, WEB).status
            assert 200 == on_socket(nomad, "t").status

    def test_a_killed_agent_leaves_its_socket_file(self, tmp_path: Path) -> None:
        """
        After kill -9 the socket file remains and refuses connections.
        """
        nomad = FakeNomad(tmp_path / "api.sock").start()
        nomad.stop(leave_file=True)

        with pytest.raises(ConnectionRefusedError):
            on_socket(nomad, "t")

    def test_open_queries_end_without_an_answer(self, nomad: FakeNomad) -> None:
        """
        A blocking query is disconnected at once.
        """
        query = send_query(nomad, index=nomad.index, wait="60s")

        nomad.stop()
        query.thread.join(2)

        assert "RemoteDisconnected" in query.error
        eventually(lambda: nomad.blocked == 0)


class TestFaults:
    """
    Faults that a test can set.
    """

    def test_a_fault_ends_a_blocking_query(self, nomad: FakeNomad) -> None:
        """
        A fault applies to the open query, here once, then responses are normal again.
        """
        nomad.set("web", [("10.0.0.1", 1)])
        query = send_query(nomad, index=nomad.index, wait="60s")

        nomad.fault(faults.status(500, "No cluster leader"), times=1)

        assert (500, "No cluster leader") == (query.result().status, query.result().text)
        assert 200 == get(nomad.port, WEB).status

    def test_faults_in_a_row(self, nomad: FakeNomad) -> None:
        """
        Each fault applies as often as requested, in order; without a number for ever.
        """
        nomad.fault(faults.status(404), faults.too_many("7"), times=2)
        nomad.fault(faults.redirect("http://127.0.0.1:1/"))

        answers = [get(nomad.port, WEB) for _ in range(6)]

        assert [404, 404, 429, 429, 301, 301] == [answer.status for answer in answers]
        assert "7" == answers[2].headers["Retry-After"]
        nomad.heal()
        assert 200 == get(nomad.port, WEB).status

    def test_cut(self, nomad: FakeNomad) -> None:
        """
        The connection is closed without a response.
        """
        nomad.fault(faults.cut())

        with pytest.raises(http.client.RemoteDisconnected):
            get(nomad.port, WEB)

    def test_hang(self, nomad: FakeNomad) -> None:
        """
        The request is read and gets no response.
        """
        nomad.fault(faults.hang())

        with pytest.raises(TimeoutError):
            get(nomad.port, WEB, timeout=0.3)

    def test_raw(self, nomad: FakeNomad) -> None:
        """
        The response is the test's bytes.
        """
        nomad.fault(faults.raw(b"SSH-2.0-x\r\n"))

        with connect(nomad.port) as connection:
            connection.sendall(request_bytes(WEB))
            assert b"SSH-2.0-x\r\n" == connection.recv(100)

    @pytest.mark.parametrize("drip", [faults.header_drip(0.1), faults.body_drip(0.1)])
    def test_drips(self, nomad: FakeNomad, drip: faults.Fault) -> None:
        """
        Each read makes progress, and the response never ends.
        """
        nomad.set("web", [("10.0.0.1", 1)])
        nomad.fault(drip)
        got = 0
        with connect(nomad.port, timeout=1) as connection:
            connection.sendall(request_bytes(WEB))
            end = time.monotonic() + 0.5
            while time.monotonic() < end:
                data = connection.recv(1)
                assert data
                got += 1

        assert got < 400

    def test_huge(self, nomad: FakeNomad) -> None:
        """
        The list is valid and has the requested size.
        """
        nomad.fault(faults.huge(5 * faults.MEGABYTE))

        answer = get(nomad.port, WEB)

        assert 5 * faults.MEGABYTE + 2 == len(answer.body)
        assert [] == json.loads(answer.body)

    def test_gzip_bomb(self, nomad: FakeNomad) -> None:
        """
        The response is small, its decompressed body large.
        """
        nomad.fault(faults.gzip_bomb(20 * faults.MEGABYTE))

        answer = get(nomad.port, WEB)

        assert len(answer.body) < faults.MEGABYTE
        assert 20 * faults.MEGABYTE < len(gzip.decompress(answer.body))

    @pytest.mark.parametrize("name", faults.GARBAGE)
    def test_garbage(self, nomad: FakeNomad, name: str) -> None:
        """
        The body has status 200 and the right index.
        """
        nomad.fault(faults.body(faults.GARBAGE[name]))

        answer = get(nomad.port, WEB)

        assert (200, nomad.index) == (answer.status, index_of(answer))
        assert faults.GARBAGE[name] == answer.body

    @pytest.mark.parametrize("value", [None, "0", "-3", "x", "1.5", ""])
    def test_index(self, nomad: FakeNomad, value: str | None) -> None:
        """
        The header has any value, or is missing, and the query does not block.
        """
        nomad.set("web", [("10.0.0.1", 1)])
        nomad.fault(faults.with_index(value))

        answer = send_query(nomad, index=nomad.index, wait="60s").result(1)

        assert ([1], value) == (ports(answer), answer.headers["X-Nomad-Index"])

    def test_at_once(self, nomad: FakeNomad) -> None:
        """
        The same index is returned without blocking.
        """
        nomad.set("web", [("10.0.0.1", 1)])
        nomad.fault(faults.without_blocking())

        answer = send_query(nomad, index=nomad.index, wait="60s").result(1)

        assert nomad.index == index_of(answer)

    def test_stale(self, nomad: FakeNomad) -> None:
        """
        The headers report that there is no leader.
        """
        nomad.fault(faults.stale(4321))

        headers = get(nomad.port, WEB).headers

        assert ("4321", "false") == (headers["X-Nomad-LastContact"], headers["X-Nomad-KnownLeader"])

    def test_empty_for_one_poll(self, nomad: FakeNomad) -> None:
        """
        The list is empty once, with a valid index.
        """
        nomad.set("web", [("10.0.0.1", 1)])
        nomad.fault(faults.empty(), times=1)

        assert [[], [1]] == [ports(get(nomad.port, WEB)) for _ in range(2)]

    def test_truncated(self, nomad: FakeNomad) -> None:
        """
        The body is shorter than its Content-Length.
        """
        nomad.set("web", [("10.0.0.1", 1)])
        nomad.fault(faults.truncated())

        with pytest.raises(http.client.IncompleteRead):
            get(nomad.port, WEB)


def test_nothing_is_left_after_a_stop(nomad: FakeNomad) -> None:
    """
    No thread remains after a stop, whatever the state of its connections.
    """
    before: Callable[[], int] = threading.active_count
    count = before()
    send_query(nomad, index=nomad.index, wait="60s")
    idle = socket.create_connection(("127.0.0.1", nomad.port))
    eventually(lambda: before() > count)

    nomad.stop()

    eventually(lambda: before() < count)
    idle.close()
