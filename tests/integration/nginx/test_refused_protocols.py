"""
Clients that do not use HTTP/1.1 in plain text: what they get, and what is logged about them.
"""

import os
import shutil
import signal
import ssl
import subprocess
from collections.abc import Callable
from functools import cache
from typing import Any

import pytest

from tests.support.access_log import JSON
from tests.support.client import Answer, connect, read_answer
from tests.support.fake_nomad import FakeNomad
from tests.support.image import subject_for
from tests.support.nginxes import BOTH
from tests.support.reloading import reload
from tests.support.replica import Replica
from tests.support.subjects import RUN
from tests.support.supervised import Supervised
from tests.support.waiting import eventually

Supervise = Callable[..., Supervised]
Replicas = Callable[..., list[Replica]]

pytestmark = pytest.mark.parametrize("nginx", BOTH)

#: How gRPC clients begin: the preface of RFC 9113, and an empty SETTINGS frame.
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])


@cache
def why_no_curl() -> str:
    """
    Return the reason why there is no curl with HTTP/2, or an empty string if there is one.
    """
    if not shutil.which("curl"):
        return "no curl"
    version = subprocess.run(["curl", "--version"], capture_output=True, text=True, check=True)
    return "" if " HTTP2 " in version.stdout else "curl without HTTP/2"


def serve(supervise: Supervise, nginx: str, *replicas: Replica, **options: Any) -> Supervised:
    """
    Start the program, and return once it serves.
    """
    subject = supervise(pid1=False, NGINX_BINARY=nginx, START_WAIT="5s", **options)
    subject.offer(*replicas)
    subject.ready(status=200)
    return subject


def knock(subject: Supervised, host: str = "127.0.0.1") -> Answer:
    """
    Send what a gRPC client sends first, and return the response.
    """
    with connect(subject.port, host) as client:
        client.sendall(PREFACE)
        return read_answer(client)


def knock_with_tls(subject: Supervised) -> None:
    """
    Begin a TLS handshake, which fails.
    """
    context = ssl.create_default_context()
    with connect(subject.port) as client, pytest.raises(OSError, match=r"SSL|reset"):
        context.wrap_socket(client, server_hostname="localhost")


def refused(subject: Supervised) -> list[str]:
    """
    Return the event ids about refused clients.
    """
    return [line["event"] for line in subject.logs if line["event"].startswith("clients.")]


@pytest.mark.parametrize("settings", [{}, JSON], ids=["plain", "with the access log"])
def test_http2_is_refused_and_logged_once(
    supervise: Supervise, replicas: Replicas, nginx: str, settings: dict[str, str]
) -> None:
    """
    The first client leads to one warning with its address and what to do; later ones, also after a
    reload and a restart of nginx, to none.  Requests of HTTP/1.1 are served meanwhile.
    """
    subject = serve(supervise, nginx, *replicas("one"), **settings)
    assert [] == refused(subject)
    assert [400] * 20 == [knock(subject).status for _ in range(20)]
    line = subject.wait_for_log("clients.http2", 2.0)
    assert ("warning", "127.0.0.1") == (line["level"], line["client"])
    assert "gRPC" in line["reason"]
    assert "must use HTTP/1.1" in line["hint"]
    assert "one" == subject.get().text

    reload(subject)
    assert 400 == knock(subject).status
    master = subject.nginx_master()
    assert master
    os.kill(master, signal.SIGKILL)
    eventually(lambda: subject.nginx_master() not in {0, None, master})
    subject.ready(status=200)
    assert 400 == knock(subject).status
    knock_with_tls(subject)
    subject.wait_for_log("clients.tls", 2.0)
    assert ["clients.http2", "clients.tls"] == refused(subject)
    assert [] == [each for each in subject.log_lines("nginx.output") if "refused" in each["text"]]


@pytest.mark.parametrize(
    "command",
    [
        pytest.param(RUN, id="plain"),
        pytest.param(
            ("setpriv", "--bounding-set=-dac_override,-dac_read_search", "--", *RUN),
            id="without CAP_DAC_OVERRIDE",
            marks=pytest.mark.skipif(os.geteuid() != 0, reason="needs root"),
        ),
    ],
)
def test_tls_is_refused_and_logged_once(
    supervise: Supervise,
    nomad: FakeNomad,
    replicas: Replicas,
    nginx: str,
    command: tuple[str, ...],
) -> None:
    """
    As HTTP/2 is; also after SIGUSR1, when nginx's workers open their logs again as another user,
    and a reload, when the master does.
    """
    subject = serve(supervise, nginx, *replicas("one"), subject=subject_for(nomad, command))
    knock_with_tls(subject)
    line = subject.wait_for_log("clients.tls", 2.0)
    assert ("warning", "127.0.0.1") == (line["level"], line["client"])
    assert "http://" in line["hint"]

    subject.signal(signal.SIGUSR1)
    subject.wait_for_log("nginx.logs_reopened", 2.0)
    reload(subject)
    knock_with_tls(subject)
    assert 400 == knock(subject).status
    subject.wait_for_log("clients.http2", 2.0)
    assert ["clients.tls", "clients.http2"] == refused(subject)
    assert [] == subject.log_lines("nginx.output", level="error")


@pytest.mark.skipif(bool(why_no_curl()), reason=why_no_curl())
@pytest.mark.parametrize(
    "arguments, event",
    [
        (["--http2-prior-knowledge", "http://127.0.0.1:{port}/"], "clients.http2"),
        (["--insecure", "https://127.0.0.1:{port}/"], "clients.tls"),
    ],
)
def test_curl_is_refused_and_logged(
    supervise: Supervise, replicas: Replicas, nginx: str, arguments: list[str], event: str
) -> None:
    """
    A real client reports only that it understands nothing, and the log has the reason.  An offer of
    HTTP/2 in a request of HTTP/1.1 is nothing to report: it is served.
    """
    subject = serve(supervise, nginx, *replicas("one"))

    def curl(*words: str) -> subprocess.CompletedProcess[str]:
        command = ["curl", "-sS", "-m", "5", *(word.format(port=subject.port) for word in words)]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    assert "one" == curl("--http2", "http://127.0.0.1:{port}/").stdout
    failed = curl(*arguments)
    assert ("", True) == (failed.stdout, failed.returncode != 0)
    assert subject.wait_for_log(event, 2.0)["client"] == "127.0.0.1"
    assert [event] == refused(subject)
