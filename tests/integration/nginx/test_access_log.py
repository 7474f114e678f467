"""
The access log: one line per request, without delaying any request.
"""

import re
import signal
import sys
import time
from collections.abc import Callable
from datetime import datetime
from typing import Literal

import pytest

from tests.support.access_log import JSON, access_lines, start_with_access_log
from tests.support.client import connect, read_answer, request_bytes
from tests.support.fake_nomad import FakeNomad
from tests.support.nginxes import BOTH, current
from tests.support.reloading import reload
from tests.support.replica import Replica
from tests.support.supervised import Supervised
from tests.support.waiting import eventually

Supervise = Callable[..., Supervised]
Replicas = Callable[..., list[Replica]]

nginxes = pytest.mark.parametrize("nginx", BOTH)
RUN = (sys.executable, "-m", "supervisor", "run")


@nginxes
def test_each_request_is_logged_with_all_fields(
    supervise: Supervise, replicas: Replicas, nginx: str
) -> None:
    """
    The line holds the request, the response, the endpoint, durations and byte counts, and the
    request ID that the replica received.
    """
    (one,) = replicas("one")
    subject = start_with_access_log(supervise, nginx, one)
    request = request_bytes(
        "/headers?a=%22b", "POST", b"x" * 1000, {"Host": "shop.example", "User-Agent": "curl/8"}
    )
    began = time.time()
    with connect(subject.port) as client:
        client.sendall(request)
        received = 0
        while data := client.recv(65536):
            received += len(data)
    eventually(lambda: access_lines(subject, "/headers?a=%22b"), 4)
    (line,) = access_lines(subject, "/headers?a=%22b")

    moment = datetime.fromisoformat(line.pop("time")).timestamp()
    assert began - 0.01 < moment < time.time()
    for name in ("duration", "endpoint_duration", "endpoint_connect"):
        assert 0 <= float(line.pop(name)) < 5
    assert one.seen[-1].headers["X-Request-ID"] == line.pop("request_id")
    assert {
        "level": "info",
        "event": "request",
        "client": "127.0.0.1",
        "method": "POST",
        "uri": "/headers?a=%22b",
        "protocol": "HTTP/1.1",
        "host": "shop.example",
        "status": 200,
        "received": len(request),
        "sent": received,
        "endpoint": f"127.0.0.1:{one.port}",
        "endpoint_status": "200",
        "agent": "curl/8",
    } == line


@nginxes
def test_the_last_requests_before_the_exit_are_logged(
    supervise: Supervise, replicas: Replicas, nginx: str
) -> None:
    """
    After a stop with 50 completed requests and one in progress, each is logged once, before the
    last line.
    """
    subject = start_with_access_log(supervise, nginx, *replicas("one"))
    with connect(subject.port) as slow:
        slow.sendall(request_bytes("/slow?seconds=0.5"))
        for n in range(50):
            subject.get(f"/n{n}")
        subject.signal(signal.SIGTERM)
        assert 200 == read_answer(slow).status
    assert 0 == subject.wait()
    uris = [line["uri"] for line in subject.log_lines("request")]
    assert sorted([f"/n{n}" for n in range(50)]) == sorted(u for u in uris if u.startswith("/n"))
    assert 1 == uris.count("/slow?seconds=0.5")
    assert "ended" == subject.logs[-1]["event"]


@pytest.mark.skipif(not current(), reason="no nginx wheel for this machine")
def test_requests_are_logged_in_order(supervise: Supervise, replicas: Replicas) -> None:
    """
    The order holds for one connection.  Two workers may log concurrent requests out of order within
    the second for which they buffer lines, and each line has its time.
    """
    subject = start_with_access_log(supervise, current(), *replicas("one"))
    with connect(subject.port) as client:
        for n in range(300):
            client.sendall(b"GET /-/ready?%d HTTP/1.1\r\nHost: x\r\n\r\n" % n)
            while not client.recv(65536).endswith(b"ready\n"):
                pass
    eventually(lambda: access_lines(subject, "/-/ready?299"), 4)
    logged = [line for line in subject.log_lines("request") if line["uri"].startswith("/-/ready?")]
    assert [f"/-/ready?{n}" for n in range(300)] == [line["uri"] for line in logged]
    assert sorted(line["time"] for line in logged) == [line["time"] for line in logged]


@pytest.mark.slow
@nginxes
def test_a_deleted_file_loses_no_line(supervise: Supervise, replicas: Replicas, nginx: str) -> None:
    """
    Nginx continues to write to the deleted file; at a reload and at SIGUSR1 it creates a new one,
    which is then followed.
    """
    subject = start_with_access_log(supervise, nginx, *replicas("one"))
    log = subject.home / "run" / "access.log"

    def is_logged_once(uri: str) -> None:
        assert 200 == subject.get(uri).status
        eventually(lambda: 1 == len(access_lines(subject, uri)), 4, what=uri)

    is_logged_once("/before")
    log.unlink()
    is_logged_once("/deleted")
    reload(subject)
    is_logged_once("/reloaded")
    log.rename(log.with_suffix(".1"))
    is_logged_once("/renamed")
    subject.signal(signal.SIGUSR1)
    eventually(log.exists)
    is_logged_once("/reopened")


@nginxes
def test_the_file_of_an_earlier_run_is_removed(
    nomad: FakeNomad, replicas: Replicas, nginx: str
) -> None:
    """
    A link that was planted in its place is not followed.
    """
    (one,) = replicas("one")
    with Supervised(nomad, pid1=False, NGINX_BINARY=nginx, **JSON) as subject:
        subject.offer(one)
        subject.ready(status=200)
        subject.signal(signal.SIGKILL)
        subject.wait()
        victim = subject.home / "victim"
        victim.write_text("precious\n")
        log = subject.home / "run" / "access.log"
        log.unlink()
        log.symlink_to(victim)
        subject.start().ready(status=200)
        subject.get("/second-run")
        eventually(lambda: access_lines(subject, "/second-run"), 4)
        assert "precious\n" == victim.read_text()


@pytest.mark.parametrize("level", ["warning", "error"])
def test_requests_are_logged_at_every_level(
    supervise: Supervise, replicas: Replicas, level: str
) -> None:
    """
    LOG_LEVEL does not apply to the access log.
    """
    subject = start_with_access_log(supervise, "nginx", *replicas("one"), LOG_LEVEL=level)
    eventually(lambda: access_lines(subject, "/"), 4)
    assert [] == subject.log_lines("supervisor.started")


def test_the_console_format_has_the_same_fields(supervise: Supervise, replicas: Replicas) -> None:
    """
    With LOG_FORMAT=console each request is one line.
    """
    (one,) = replicas("one")
    subject = supervise(pid1=False, LOG_FORMAT="console", START_WAIT="5s", **JSON)
    subject.offer(one)
    subject.ready(status=200)
    subject.get("/console")

    def console_lines() -> list[str]:
        return [line for line in subject.other_lines if "uri=/console" in line]

    (line,) = eventually(console_lines, 4)
    assert re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}Z info    request ", line)
    assert "status=200" in line
    assert re.search(r"duration=[0-9.]+(ms|s)( |$)", line)


@nginxes
@pytest.mark.parametrize("folder", ["conf.d", "server.d"])
@pytest.mark.parametrize("ours", ["off", "json"])
def test_an_operators_own_log_is_written(
    nomad: FakeNomad,
    replicas: Replicas,
    nginx: str,
    folder: Literal["conf.d", "server.d"],
    ours: str,
) -> None:
    """
    It is written with ACCESS_LOG on or off: one in conf.d beside ours, one in server.d instead of
    ours, as nginx defines it.
    """
    (one,) = replicas("one")
    subject = Supervised(nomad, pid1=False, NGINX_BINARY=nginx, ACCESS_LOG=ours, START_WAIT="5s")
    try:
        own = subject.home / "own.log"
        subject.write_in(folder, "log.conf", f"access_log {own} combined;\n")
        subject.offer(one)
        subject.start().ready(status=200)
        subject.wait_for_log("reload.applied", mode="serve")
        subject.get("/theirs")
        eventually(lambda: '"GET /theirs HTTP/1.1" 200' in own.read_text())
        if ours == "json" and folder == "conf.d":
            eventually(lambda: access_lines(subject, "/theirs"), 4)
        subject.signal(signal.SIGTERM)
        assert 0 == subject.wait()
        assert (ours == "json" and folder == "conf.d") == bool(access_lines(subject, "/theirs"))
    finally:
        subject.close()


@nginxes
def test_without_an_access_log_no_file_is_written(
    supervise: Supervise, replicas: Replicas, nginx: str
) -> None:
    """
    The access log is off by default.
    """
    subject = start_with_access_log(supervise, nginx, *replicas("one"), ACCESS_LOG=None)
    subject.get("/unlogged")
    assert not (subject.home / "run" / "access.log").exists()
    subject.signal(signal.SIGTERM)
    assert 0 == subject.wait()
    assert [] == subject.log_lines("request")
