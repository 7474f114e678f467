"""
Status, metrics and control of a running supervisor.
"""

import json
import os
import re
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.support.admin_subject import AdminSubject, running_with_admin
from tests.support.client import connect, get, read_answer
from tests.support.held_connection import HeldConnection
from tests.support.metrics_lint import complaints
from tests.support.nginxes import BOTH
from tests.support.waiting import eventually

nginxes = pytest.mark.parametrize("nginx", BOTH)


@pytest.fixture(scope="module")
def served() -> Iterator[AdminSubject]:
    """
    One program with two replicas, for tests that restore its state.
    """
    with running_with_admin("one", "two", TTL="5h") as subject:
        yield subject


@nginxes
def test_the_status_is_correct_and_matches_its_schema(nginx: str) -> None:
    """
    On both sockets, with an old and a current nginx: endpoints, deadline, reloads, connections.
    """
    with running_with_admin("one", "two", TTL="5h", NGINX_BINARY=nginx) as subject:
        for found in (subject.status(), subject.status(subject.socket)):
            assert ("running", "serve", True, True) == tuple(
                found[name] for name in ("phase", "mode", "healthy", "ready")
            )
            assert {f"127.0.0.1:{replica.port}" for replica in subject.replicas} == {
                row["address"] for row in found["endpoints"]["rows"] if row["serving"]
            }
            assert 5 * 3600 - 60 < found["deadline"]["remaining"] <= 5 * 3600
            assert "applied" == found["reloads"]["last"][0]["result"]
            assert [] == found["warnings"]
            can_count = "stub_status" in _configured(nginx)
            assert can_count == (found["nginx"]["connections"] is not None)


def _configured(nginx: str) -> str:
    return subprocess.run([nginx, "-V"], capture_output=True, text=True, check=True).stderr


def test_an_endpoint_that_fails_and_recovers_is_reported(served: AdminSubject) -> None:
    """
    Its health and whether it serves follow the endpoint.
    """
    one = served.replicas[0]
    row = {"address": f"127.0.0.1:{one.port}"}

    def health() -> tuple[str, bool]:
        (found,) = [
            each for each in served.status()["endpoints"]["rows"] if row.items() <= each.items()
        ]
        return found["health"], found["serving"]

    one.stop()
    eventually(lambda: ("failing", False) == health(), 15)
    one.start()
    eventually(lambda: ("ready", True) == health(), 15)


@nginxes
def test_the_metrics_follow_the_rules_and_count_requests(nginx: str) -> None:
    """
    On the port and on the socket; with stub_status nginx's counters increase with the requests.
    """
    with running_with_admin("one", NGINX_BINARY=nginx) as subject:
        answer = get(subject.admin_port, "/metrics")
        assert (200, "text/plain; version=0.0.4; charset=utf-8") == (
            answer.status,
            answer.headers["Content-Type"],
        )
        assert [] == complaints(answer.text)
        if "stub_status" not in _configured(nginx):
            assert "nginx_up" not in answer.text
            return

        def requests() -> float:
            text = get(subject.socket, "/metrics").text
            (line,) = [each for each in text.splitlines() if each.startswith("nginx_http_req")]
            return float(line.split()[1])

        before = requests()
        for _ in range(20):
            subject.get()
        assert requests() >= before + 20


def test_an_extension_moves_the_deadline_the_header_and_the_status(served: AdminSubject) -> None:
    """
    One command moves them all, and the deadline is saved to disk.
    """
    before = served.status()["deadline"]
    done = served.run_command("extend", "2h")

    assert (0, "") == (done.returncode, done.stderr)
    after = served.status()["deadline"]
    assert 7200 == pytest.approx(after["remaining"] - before["remaining"], abs=30)
    (line,) = served.log_lines("deadline.moved")
    assert (before["at"][:19], after["at"][:19]) == (line["was"][:19], line["deadline"][:19])
    hour = after["at"][11:19]
    eventually(lambda: hour in served.get().headers["Sunset"], 5)
    assert hour in (get(served.admin_port, "/status").text)
    assert served.state
    assert served.state["extended_to"] == pytest.approx(served.state["deadline"] + 7200)
    assert 0 == served.run_command("extend", "-2h").returncode


def test_an_extension_survives_a_restart() -> None:
    """
    A supervisor that is killed and restarted keeps the extended deadline.
    """
    with running_with_admin(TTL="1h") as subject:
        subject.wait_for_log("nginx.ready")
        assert 200 == subject.post("/deadline", by="1h").status
        os.kill(subject.pid, signal.SIGKILL)
        subject.wait()
        subject.start()
        line = subject.wait_for_log("deadline.set")

        assert 7100 < line["remaining"] < 7200


def test_the_commands_print_results_and_return_exit_codes(served: AdminSubject) -> None:
    """
    A table or JSON on stdout, reasons on stderr, and the documented exit codes.
    """
    table = served.run_command("status")
    assert 0 == table.returncode
    assert "web: serving, ready" == table.stdout.splitlines()[0]
    row = next(line for line in table.stdout.splitlines() if f":{served.replicas[1].port} " in line)
    found = next(r for r in served.status()["endpoints"]["rows"] if r["address"] in row)
    assert found["job"] == "replicas"
    origin = [found["allocation"][:8], found["node"][:8], found["job"]]
    assert " ".join([*origin, "passed"]) in " ".join(row.split())
    assert "running" == json.loads(served.run_command("status", "--json").stdout)["phase"]

    refused = served.run_command("extend", "-30h")
    assert (1, "") == (refused.returncode, refused.stdout)
    assert refused.stderr.startswith("cannot move the deadline: ")
    for arguments in (
        ["extend"],
        ["extend", "soon"],
        ["extend", "1h", "--until", "2027-01-01T00:00Z"],
        ["extend", "--until", "tomorrow"],
        ["extend", "0"],
        ["status", "--jason"],
        ["status", "--watch", "0"],
        ["stop", "it"],
    ):
        invalid = served.run_command(*arguments)
        assert (64, "") == (invalid.returncode, invalid.stdout), arguments
        assert invalid.stderr.startswith("cannot read the command line: ")
        assert 1 == len(invalid.stderr.splitlines())


def test_an_invalid_argument_is_in_the_message(served: AdminSubject) -> None:
    """
    The message about an invalid duration or time has the expected form and the value.
    """
    for *arguments, value in (
        ("extend", "soon"),
        ("extend", "-0s"),
        ("extend", "--until", "tomorrow"),
        ("extend", "--until", "2027-02-30T00:00Z"),
        ("status", "--watch", "0s"),
    ):
        invalid = served.run_command(*arguments, value)
        assert 64 == invalid.returncode
        assert re.search(rf": expected a .*, not '{value}'; see ", invalid.stderr), invalid.stderr


def test_the_commands_report_that_no_supervisor_is_running(served: AdminSubject) -> None:
    """
    Each command exits with 1 and one line, even if a killed supervisor left its socket.
    """
    with running_with_admin() as subject:
        subject.wait_for_log("nginx.ready")
        os.kill(subject.pid, signal.SIGKILL)
        subject.wait()
        assert subject.socket.exists()
        for arguments in (["status"], ["extend", "1h"], ["stop"]):
            done = subject.run_command(*arguments)
            assert (1, "") == (done.returncode, done.stdout)
            assert f"cannot find a running supervisor in {subject.home}/run" in done.stderr
            assert 1 == len(done.stderr.splitlines())


def test_watch_repeats_until_the_supervisor_exits() -> None:
    """
    `--watch` repeats the status, and exits with 1 after the supervisor has exited.
    """
    with running_with_admin(TTL="5h") as subject:
        subject.wait_for_log("nginx.ready")
        with subprocess.Popen(
            [sys.executable, "-m", "supervisor", "status", "--watch", "0.1"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "RUNTIME_DIR": str(subject.home / "run")},
        ) as watching:
            assert watching.stdout is not None
            lines = iter(watching.stdout.readline, "")
            assert 3 == sum(
                1 for _ in zip(range(3), (x for x in lines if "deadline" in x), strict=False)
            )
            assert 0 == subject.run_command("stop").returncode
            assert 0 == subject.wait()
            assert 1 == watching.wait(10)


def test_a_stop_request_drains_and_exits_with_0() -> None:
    """
    Open requests finish first, as at the deadline.
    """
    with (
        running_with_admin("one", TTL="5h") as subject,
        HeldConnection.slow(subject.port, 1.0) as held,
    ):
        eventually(lambda: subject.replicas[0].requests["GET /slow"])
        answer = subject.post("/stop")
        assert (200, True) == (answer.status, json.loads(answer.text)["accepted"])
        refused = subject.post("/deadline", by="1h")
        assert (409, False) == (refused.status, json.loads(refused.text)["accepted"])
        assert "draining" == subject.status(subject.socket)["phase"]

        assert 0 == subject.wait()
        held.wait(5)
        assert held.answer is not None
        assert "one" == held.answer.text
        assert subject.ended
        assert "stop requested" == subject.ended["reason"]


def test_the_configuration_is_served_only_on_the_socket(served: AdminSubject) -> None:
    """
    In the format of `nginx -T`; the admin port does not serve it.
    """
    answer = get(served.socket, "/config")
    assert 200 == answer.status
    assert "upstream service {" in answer.text
    assert "limit_conn autoexit_all" in answer.text
    assert 404 == get(served.admin_port, "/config").status


def test_the_warnings_before_the_deadline_are_in_the_log_and_the_status() -> None:
    """
    There is one at each span of WARN_AT.
    """
    with running_with_admin("one", TTL="8s", WARN_AT="5s,3s") as subject:
        subject.wait_for_log("deadline.near")
        (warning,) = [w for w in subject.status()["warnings"] if w["kind"] == "deadline_near"]
        assert "shutdown begins in less than 5s" == warning["text"]
        assert 0 == subject.wait(20)
        assert [5, 3] == [round(each["remaining"]) for each in subject.log_lines("deadline.near")]


def test_a_killed_worker_is_counted(served: AdminSubject) -> None:
    """
    The log, the status and the metrics report it.
    """
    before = served.status()["nginx"]["worker_deaths"]
    # A worker that drains after another test's reload might exit before the signal.
    (worker, *_) = eventually(lambda: not served.draining_workers() and served.nginx_workers())
    os.kill(worker, signal.SIGKILL)
    eventually(lambda: served.status()["nginx"]["worker_deaths"] > before)

    assert served.log_lines("nginx.worker_died")
    count = served.status()["nginx"]["worker_deaths"]
    assert f"autoexit_worker_deaths_total {count}.0" in get(served.socket, "/metrics").text


@pytest.mark.slow
def test_the_plots_have_samples() -> None:
    """
    One sample every 5 s: ready endpoints, and requests without the supervisor's own.
    """
    with running_with_admin("one", "two") as subject:
        eventually(lambda: subject.status()["samples"]["at"], 10, 0.3)
        began = time.monotonic()
        for _ in range(50):
            subject.get()
        eventually(lambda: len(subject.status()["samples"]["at"]) >= 2, 10, 0.3)
        samples = subject.status()["samples"]

        assert [2, 2] == samples["ready"][:2]
        assert samples["requests_per_second"][0] is None
        counted = samples["requests_per_second"][1] * (samples["at"][1] - samples["at"][0])
        assert counted == pytest.approx(50, abs=3)
        assert time.monotonic() - began < 20


def test_silent_clients_do_not_block_others(served: AdminSubject) -> None:
    """
    With fifty silent connections to the readers' socket and to the port, the operator's socket
    responds at once, and the port once the silent connections have timed out.
    """
    readers = served.home / "run" / "readers.sock"
    with ExitStack() as stack:
        for where in (readers, served.admin_port):
            for _ in range(50):
                stack.enter_context(connect(where))
        began = time.monotonic()
        assert 200 == get(served.socket, "/healthz").status
        assert time.monotonic() - began < 1
        eventually(lambda: 200 == get(served.admin_port, "/healthz").status, 5)
        assert 200 == served.get().status


def test_a_slow_client_is_disconnected(served: AdminSubject) -> None:
    """
    A request must be complete within two seconds, however slowly it is sent.
    """
    with connect(served.socket, timeout=6) as connection:
        began = time.monotonic()
        eventually(lambda: _is_closed_after(connection, b"GET"), 6, 0.1)
        assert 1.5 < time.monotonic() - began < 4


def _is_closed_after(connection: socket.socket, data: bytes) -> bool:
    """Send a little more, and return whether the server has closed the connection."""
    try:
        connection.sendall(data)
        return bool(select.select([connection], [], [], 0)[0]) and not connection.recv(1)
    except OSError:
        return True


@pytest.mark.parametrize(
    "request_, status",
    [
        (b"GET /status\r\n\r\n", 400),
        (b"\r\n\r\n", 400),
        (b"GET  /status HTTP/1.1\r\n\r\n", 400),
        (b"GET /nothing HTTP/1.1\r\n\r\n", 404),
        (b"POST /deadline HTTP/1.1\r\nContent-Length: x\r\n\r\n", 400),
        (b"POST /deadline HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 400),
        (b"POST /deadline HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
        (b"POST /deadline HTTP/1.1\r\nContent-Length: 99999\r\n\r\n", 413),
        (b"POST /deadline HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", 411),
        (b"GET /status HTTP/1.1\r\n" + b"a: b\r\n" * 5000 + b"\r\n", 431),
        (b"GET /deadline HTTP/1.1\r\n\r\n", 405),
        (b"DELETE /status HTTP/1.1\r\n\r\n", 405),
        (b"GET /status?x=y HTTP/1.1\r\n\r\n", 200),
    ],
)
def test_an_invalid_request_is_refused(served: AdminSubject, request_: bytes, status: int) -> None:
    """
    The response has the expected status.
    """
    with connect(served.socket) as connection:
        connection.sendall(request_)
        assert status == read_answer(connection).status
