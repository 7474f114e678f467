"""
With any input each line of stdout is one JSON object, and none is forged.
"""

import json
import random
import signal
import socket
from collections.abc import Callable
from contextlib import suppress

import pytest

from tests.support.access_log import start_with_access_log
from tests.support.client import connect, get
from tests.support.fake_nomad import FakeNomad
from tests.support.nginxes import BOTH
from tests.support.nomad_registry import row
from tests.support.replica import Replica
from tests.support.supervised import Supervised
from tests.support.waiting import eventually

Supervise = Callable[..., Supervised]
Replicas = Callable[..., list[Replica]]

nginxes = pytest.mark.parametrize("nginx", BOTH)

FORGED = b'{"time": "2020-01-01T00:00:00.000Z", "level": "error", "event": "forged"}'
#: Texts that might end a line, a string or an object, colour a terminal, or are not UTF-8.
HOSTILE = [
    b'"}',
    b'", "event": "forged", "x": "',
    b"\\",
    b'\\"',
    b"\\u0000\\n",
    b"\x1b[2J\x1b[31m",
    b"\x7f\x08\x08",
    b"\xff\xfe\xc0\xaf",
    b"\xed\xa0\x80",
    b"\xe2\x80\xa8\xe2\x80\xae",
    b"\xc2\x85\x0b\x0c",
    b"%0d%0a" + FORGED,
    FORGED,
    b"%s%n$remote_addr${x}",
]


def requests() -> list[bytes]:
    """
    Return hostile requests, each for its own connection; most of them are not HTTP.
    """
    head = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
    rng = random.Random(8)
    found = []
    for hostile in HOSTILE:
        found += [
            b"GET /" + hostile + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
            b"GET /?q=" + hostile.replace(b" ", b"%20") + b" HTTP/1.1\r\nHost: x\r\n\r\n",
            head + b"User-Agent: " + hostile + b"\r\nX-Request-ID: " + hostile + b"\r\n\r\n",
            head + b"X-Forwarded-For: " + hostile + b"\r\nCookie: " + hostile + b"\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: " + hostile + b"\r\nConnection: close\r\n\r\n",
            hostile + b" / HTTP/1.1\r\nHost: x\r\n\r\n",
            b"GET / " + hostile + b"\r\n\r\n",
            hostile + b"\r\n\r\n",
        ]
    found += [
        b"GET /\x00 HTTP/1.1\r\nHost: x\r\n\r\n",
        head + b"User-Agent: a\x00b\r\n\r\n",
        head + b"User-Agent: a\rb\r\n\r\n",
        head + b"User-Agent: a\n" + FORGED + b"\r\n\r\n",
        b"GET /" + b"a" * 7000 + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        b"GET /" + b"\x01" * 7000 + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        b"GET /" + b"\xff" * 7000 + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        b"GET /" + b"a" * 70000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        head + b"User-Agent: " + b'"' * 8000 + b"\r\n\r\n",
        head + b"User-Agent: " + b"x" * 70000 + b"\r\n\r\n",
        *(rng.randbytes(rng.choice([1, 10, 100, 1000])) + b"\r\n\r\n" for _ in range(60)),
        b"GET /\r\n",
        b"GET http://[::1]:80/%20 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        b"OPTIONS * HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + rng.randbytes(200),
    ]
    return found


def send(port: int, request: bytes) -> None:
    """
    Send bytes and wait until the server has handled them.

    An immediate disconnect would be a different case.
    """
    with connect(port, timeout=0.2) as client:
        with suppress(OSError):
            client.sendall(request)
            while client.recv(65536):
                pass
        with suppress(OSError):
            client.shutdown(socket.SHUT_WR)
            while client.recv(65536):
                pass


def assert_lines_are_valid(subject: Supervised) -> None:
    """
    Assert that each line is a JSON object with a time, a level and an event, and none is forged.
    """
    assert [] == subject.other_lines
    for line in subject.logs:
        assert {"time", "level", "event"} <= line.keys()
        assert "2026" <= line["time"][:4]
        raw = json.dumps(line)
        assert raw.isascii()
        assert not set(map(chr, range(32))) & set(raw)
    assert [] == subject.log_lines("forged")


@nginxes
def test_S08_no_request_forges_a_line_of_the_access_log(
    supervise: Supervise, replicas: Replicas, nginx: str
) -> None:
    """
    With line ends, quotes, escapes, NUL, broken UTF-8, colours, very long texts, other protocols
    and random bytes in every part of a request, each request that nginx accepts as one is one line,
    and each line is an object with known fields.
    """
    subject = start_with_access_log(supervise, nginx, *replicas("one"), TRUSTED_PROXIES="127.0.0.1")
    for request in requests():
        send(subject.port, request)
    subject.get("/last")
    subject.signal(signal.SIGTERM)
    assert 0 == subject.wait()
    assert_lines_are_valid(subject)
    assert [] == subject.log_lines("access.unreadable")
    logged = subject.log_lines("request")
    assert len(logged) > 100
    known = {"time", "level", "event", "client", "method", "uri", "protocol", "host", "status"}
    known |= {"duration", "received", "sent", "endpoint", "endpoint_status", "endpoint_connect"}
    known |= {"endpoint_duration", "agent", "request_id"}
    for line in logged:
        assert line.keys() <= known
        assert line["level"] == "info"
        assert isinstance(line["status"], int)
        assert 200 <= line["status"] < 600
        assert max(len(str(value)) for value in line.values()) <= 2001
    assert 1 == len(subject.log_lines("request", uri="/last"))


@nginxes
def test_S08_no_request_forges_a_line_of_the_error_log(
    supervise: Supervise, replicas: Replicas, nginx: str
) -> None:
    """
    Nginx's error log repeats the bytes of a request unchanged: each of its lines is a text field of
    a log line.
    """
    (one,) = replicas("one")
    subject = start_with_access_log(supervise, nginx, one, HEALTH_INTERVAL="1h", ACCESS_LOG=None)
    one.stop()
    for request in requests():
        send(subject.port, request)
    assert 502 == get(subject.port, "/last").status
    eventually(lambda: [x for x in subject.log_lines("nginx.output") if "/last" in x["text"]])
    assert_lines_are_valid(subject)
    assert len(subject.log_lines("nginx.output")) > 20


def test_S08_no_text_of_the_registry_forges_a_line(
    supervise: Supervise, nomad: FakeNomad, replicas: Replicas
) -> None:
    """
    Addresses, tags, jobs, ports and names in the registry hold hostile texts.
    """
    (one,) = replicas("one")
    texts = [each.decode("utf-8", "replace") for each in HOSTILE] + [
        "a\r\nb",
        "\n" + FORGED.decode(),
    ]
    good = row("web", *one.endpoint)
    hostile_rows = [
        {**row("web", text, 80, tags=(text, f"lb.{text}")), "JobID": text, "ID": text}
        for text in texts
    ]
    nomad.rows("web", [good, *hostile_rows])
    subject = supervise(pid1=False, START_WAIT="5s", LOG_LEVEL="debug")
    assert "one" == subject.ready(status=200).text
    subject.wait_for_log("endpoints.changed", refused=len(hostile_rows))
    for text in texts:
        nomad.rows("web", [good, {"Address": text, "Port": text, "ServiceName": text}])
    subject.signal(signal.SIGHUP)
    eventually(lambda: subject.get().text == "one")
    subject.signal(signal.SIGUSR2)
    subject.wait_for_log("status")
    assert_lines_are_valid(subject)


def test_S08_no_text_of_the_environment_forges_a_line(nomad: FakeNomad) -> None:
    """
    Values, and names of unknown variables, are repeated in log lines; errors that end the start are
    plain text on stderr, one line per variable.
    """
    hostile = "a\r\n" + FORGED.decode() + "\x1b[31m"
    with Supervised(
        nomad, pid1=False, NOMAD_REGION="é", LB_METOD=hostile, NOMAD_JOB_ID=hostile
    ) as subject:
        assert 78 == subject.wait()
        assert_lines_are_valid(subject)
        starts = ("NOMAD_REGION=", "LB_METOD is not a setting", "autoexit-nginx:")
        assert all(line.startswith(starts) for line in subject.errors)
    with Supervised(nomad, pid1=False, LB_METOD=hostile, NOMAD_JOB_ID=hostile) as subject:
        assert 503 == subject.ready().status
        subject.wait_for_log("settings.suspect")
        assert_lines_are_valid(subject)
