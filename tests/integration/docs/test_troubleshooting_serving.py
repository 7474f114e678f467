"""
Scenarios of docs/troubleshooting.md: it serves nothing, and requests fail.

Each scenario makes the mistake of a row; what the page quotes must be reported.
"""

import contextlib
import http.client
import signal
import socket
import ssl
import tempfile
from pathlib import Path

import pytest

from supervisor.system.network import local_addresses
from tests.support import nomad_faults as faults
from tests.support.certificates import Authority
from tests.support.client import connect, read_answer, request_bytes
from tests.support.control_groups import control_group
from tests.support.fake_nomad import FakeNomad
from tests.support.hanging_disk import HangingDisk, why_no_hanging_disk
from tests.support.subjects import RUN, Ours
from tests.support.troubleshooting import Scenario, Scenarios, Seen, Stage, verify
from tests.support.waiting import eventually, free_port

scenarios = Scenarios()


class Respond:
    """
    A server that reads one request and sends these bytes, or closes.
    """

    def __init__(self, text: bytes = b"") -> None:
        self._text = text

    def __call__(self, connection: socket.socket) -> None:
        """Serve a connection."""
        if connection.recv(65536):
            connection.sendall(self._text)


def status(number: int) -> Respond:
    """
    Return a server that responds with a status.
    """
    return Respond(b"HTTP/1.1 %d Reason\r\nContent-Length: 0\r\n\r\n" % number)


# ---------------------------------------------------------------------------- it serves nothing


@scenarios.shows("refused or reset, with Docker's `-p`")
def other_published_port(stage: Stage) -> Seen:
    """The log has the port to publish."""
    return serving(stage)


@scenarios.shows("refused, and the group has other ports")
def unpublished_port(stage: Stage) -> Seen:
    """The group has two labels, neither is `http`."""
    labels = {"NOMAD_PORT_api": str(free_port()), "NOMAD_PORT_web": str(free_port())}
    subject = stage.prepare(ENDPOINTS=endpoint(stage), LISTEN_ADDRESS=None, **labels)
    return Seen(subject.start())


@scenarios.shows("503 `starting`, no probe passes")
def wrong_health_path(stage: Stage) -> Seen:
    """The path does not exist."""
    return stage.start(ENDPOINTS=stage.server(status(404)), HEALTH_PATH="/health")


@scenarios.shows("the same, `connection refused`")
def refused_probe(stage: Stage) -> Seen:
    """The machine's address, as of a replica that listens on loopback only."""
    addresses = [each for each in local_addresses() if "." in each and each != "127.0.0.1"]
    if not addresses:
        pytest.skip("this machine has loopback only")
    return stage.start(ENDPOINTS=f"{addresses[0]}:{stage.replica().port}")


@scenarios.shows("the same, `requires TLS` or `closed after`")
def tls_probe(stage: Stage) -> Seen:
    """A server that responds with an alert."""
    alert = Respond(b"\x15\x03\x01\x00\x02\x02\x46")
    return stage.start(ENDPOINTS=stage.server(alert), HEALTH_PATH="/")


@scenarios.shows("the same, `HTTP 400` or `HTTP 421`")
def wrong_host(stage: Stage) -> Seen:
    """A server that allows some hosts only."""
    return stage.start(ENDPOINTS=stage.server(status(400)), HEALTH_PATH="/")


@scenarios.shows("the same, `HTTP 401` or `HTTP 403`")
def login_required(stage: Stage) -> Seen:
    """A path with a login."""
    return stage.start(ENDPOINTS=stage.server(status(401)), HEALTH_PATH="/")


@scenarios.shows("503 `no_endpoints`, none is registered")
def none_registered(stage: Stage) -> Seen:
    """A name without instances."""
    return stage.start(stage.nomad())


@scenarios.shows("the same, registered in another namespace")
def other_namespace(stage: Stage) -> Seen:
    """The replicas run in `dev`."""
    nomad = stage.nomad()
    nomad.set("web", [("127.0.0.1", 1)], namespace="dev")
    return stage.start(nomad)


@scenarios.shows("the same, `SERVICE_JOB` or `SERVICE_TAGS` exclude all")
def wrong_tags(stage: Stage) -> Seen:
    """Blanks between tags."""
    nomad = stage.nomad()
    nomad.add("web", "127.0.0.1", stage.replica().port, tags=["a", "b"])
    return stage.start(nomad, SERVICE_TAGS="a b")


@scenarios.shows("the same, only the balancer is registered")
def only_itself(stage: Stage) -> Seen:
    """Under the name that it serves."""
    nomad = stage.nomad()
    subject = stage.prepare(nomad)
    nomad.set("web", [("127.0.0.1", subject.port)])
    return Seen(subject.start())


@scenarios.shows("instances are listed and refused")
def refused_address(stage: Stage) -> Seen:
    """A link-local address."""
    nomad = stage.nomad()
    nomad.set("web", [("169.254.1.1", 80)])
    return stage.start(nomad)


@scenarios.shows("a name in `ENDPOINTS` is wrong")
def wrong_name(stage: Stage) -> Seen:
    """A name that does not exist."""
    return stage.start(ENDPOINTS="replica.invalid:80")


@scenarios.shows("`ENDPOINTS_FILE` has other lines")
def wrong_lines(stage: Stage) -> Seen:
    """URLs."""
    subject = stage.prepare(ENDPOINTS_FILE="replaced")
    subject.settings["ENDPOINTS_FILE"] = str(subject.home / "replicas")
    (subject.home / "replicas").write_text("http://10.0.0.5:80/v1\n")
    return Seen(subject.start())


@scenarios.shows("`ENDPOINTS_FILE` does not exist")
def missing_file(stage: Stage) -> Seen:
    """A path of the host."""
    return stage.start(ENDPOINTS_FILE="/nowhere/replicas")


@scenarios.shows("no token")
def no_token(stage: Stage) -> Seen:
    """Nomad has ACLs."""
    return stage.start(stage.nomad(acl=True))


@scenarios.shows("a wrong token")
def wrong_token(stage: Stage) -> Seen:
    """One that Nomad does not know."""
    return stage.start(stage.nomad(acl=True), NOMAD_TOKEN="b4b1f5a2-0000-4000-8000-000000000000")


@scenarios.shows("no Nomad at `NOMAD_ADDR`")
def no_agent(stage: Stage) -> Seen:
    """A port without a listener."""
    return stage.start(NOMAD_ADDR=f"http://127.0.0.1:{free_port()}")


@scenarios.shows("another server at `NOMAD_ADDR`")
def other_server(stage: Stage) -> Seen:
    """A replica."""
    return stage.start(NOMAD_ADDR=f"http://127.0.0.1:{stage.replica().port}")


@scenarios.shows("Nomad without a leader or server")
def no_server(stage: Stage) -> Seen:
    """The agent cannot verify the token."""
    nomad = stage.nomad()
    nomad.fault(faults.status(500, "Server error authenticating request: no servers"))
    return stage.start(nomad)


# ----------------------------------------------------------------------------- requests fail


@scenarios.shows("some responses are of another job")
def two_jobs(stage: Stage) -> Seen:
    """Both register one name."""
    nomad = stage.nomad()
    for job in ("old", "new"):
        nomad.add("web", "127.0.0.1", stage.replica(job).port, job=job)
    return stage.start(nomad)


@scenarios.shows("502, the replica closes the connection")
def closed_by_replica(stage: Stage) -> Seen:
    """It requires TLS, which a TCP probe does not notice."""
    folder = stage.stack.enter_context(tempfile.TemporaryDirectory())
    context = Authority(Path(folder) / "ca", "test").server("127.0.0.1")
    return requested(stage, stage.server(Respond(), lambda: context), 502)


@scenarios.shows("no valid response, the replica does not use HTTP/1")
def no_http(stage: Stage) -> Seen:
    """Another protocol."""
    seen = stage.start(ENDPOINTS=stage.server(Respond(b"220 mail.example ESMTP\r\n")))
    seen.subject.ready(status=200, path="/-/ready")
    with contextlib.suppress(http.client.BadStatusLine):  # nginx passes it on as HTTP/0.9
        seen.subject.get()
    return seen


@scenarios.shows("502 while replicas start or end")
def ended_replica(stage: Stage) -> Seen:
    """It ends while it is listed."""
    replica = stage.replica()
    seen = stage.start(ENDPOINTS=f"127.0.0.1:{replica.port}")
    seen.subject.ready(status=200)
    replica.stop()
    assert 502 == seen.subject.get().status
    return seen


@scenarios.shows("502, the head of the response is large")
def large_head(stage: Stage) -> Seen:
    """Cookies of 100 kB."""
    cookies = b"".join(b"Set-Cookie: c%03d=%b\r\n" % (n, b"x" * 1000) for n in range(100))
    large = Respond(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n%b\r\n" % cookies)
    return requested(stage, stage.server(large), 502)


@scenarios.shows("504")
def silent_replica(stage: Stage) -> Seen:
    """It computes for longer than REQUEST_TIMEOUT."""
    seen = serving(stage, REQUEST_TIMEOUT="200ms")
    assert 504 == seen.subject.get("/slow?seconds=5").status
    return seen


@scenarios.shows("400 or an error of the protocol in gRPC clients")
def http2_client(stage: Stage) -> Seen:
    """The preface of HTTP/2."""
    seen = serving(stage)
    with connect(seen.subject.port) as client:
        client.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        assert 400 == read_answer(client).status
    return seen


@scenarios.shows("an error of TLS in clients")
def tls_client(stage: Stage) -> Seen:
    """A handshake with the plain port."""
    seen = serving(stage)
    with connect(seen.subject.port) as client, pytest.raises(OSError, match=r"SSL|reset"):
        ssl.create_default_context().wrap_socket(client, server_hostname="localhost")
    return seen


@scenarios.shows("413")
def large_body(stage: Stage) -> Seen:
    """A body above the limit."""
    seen = serving(stage, MAX_BODY_SIZE="1k")
    assert 413 == seen.subject.get(method="POST", body=b"x" * 2000).status
    return seen


@scenarios.shows("500, two balancers serve each other")
def two_balancers(stage: Stage) -> Seen:
    """Both are registered under the name that they serve; few open files end the circle early."""
    nomad = stage.nomad()
    few = Ours(nomad, command=("prlimit", "--nofile=128:128", *RUN))
    first, second = (stage.prepare(nomad, subject=few) for _ in range(2))
    nomad.set("web", [("127.0.0.1", first.port), ("127.0.0.1", second.port)])
    for each in (first, second):
        each.start()
    for each in (first, second):
        each.ready(status=200, path="/-/ready")
    assert first.get(timeout=20).status >= 500
    both = (first, second)
    found = eventually(lambda: [x for x in both if x.log_lines("nginx.output", level="error")])
    return Seen(found[0])


@scenarios.shows("500 with many clients")
def few_files(stage: Stage) -> Seen:
    """A low limit of open files."""
    nomad = stage.nomad()
    few = Ours(nomad, command=("prlimit", "--nofile=64:64", *RUN))
    return stage.start(nomad, subject=few, ENDPOINTS=endpoint(stage))


@scenarios.shows("some requests never reach a replica")
def server_on_our_port(stage: Stage) -> Seen:
    """A server of an old `conf.d`."""
    subject = stage.prepare(ENDPOINTS=endpoint(stage))
    text = f"server {{ listen 127.0.0.1:{subject.port}; server_name old.example; }}\n"
    subject.write_in("conf.d", "old.conf", text)
    seen = Seen(subject.start())
    subject.ready(status=200)
    return seen


@scenarios.shows("cut after a minute by a proxy in front")
def client_that_leaves(stage: Stage) -> Seen:
    """The client side closes before the response."""
    seen = serving(stage, ACCESS_LOG="json")
    with socket.create_connection(("127.0.0.1", seen.subject.port), 5) as client:
        client.sendall(request_bytes("/slow?seconds=30"))
        client.settimeout(0.3)
        with contextlib.suppress(TimeoutError):
            client.recv(1)
    return seen


@scenarios.shows("all clients have the proxy's address")
def untrusted_proxy(stage: Stage) -> Seen:
    """X-Forwarded-For of a proxy that is not in TRUSTED_PROXIES."""
    seen = serving(stage, ACCESS_LOG="json")
    seen.subject.get(headers={"X-Forwarded-For": "203.0.113.9"})
    return seen


@scenarios.shows("an edited file has no effect")
def broken_edit(stage: Stage) -> Seen:
    """It is refused, and the last good files serve."""
    seen = serving(stage)
    seen.subject.write_in("conf.d", "mine.conf", "server { listen 81 }\n")
    seen.subject.signal(signal.SIGHUP)
    return seen


@scenarios.shows("a setting seems to be ignored")
def misspelt_setting(stage: Stage) -> Seen:
    """A letter is missing."""
    return serving(stage, HEALT_PATH="/ready")


@scenarios.shows("a dead endpoint delays requests")
def milliseconds(stage: Stage) -> Seen:
    """CONNECT_TIMEOUT in milliseconds."""
    return serving(stage, CONNECT_TIMEOUT="2000")


@scenarios.shows("changes are not served, threads cannot be started")
def no_more_threads(stage: Stage) -> Seen:
    """No thread can be started for a request to Nomad."""
    group = stage.stack.enter_context(control_group("pids"))
    nomad, one, two = stage.nomad(), stage.replica("one"), stage.replica("two")
    nomad.set("web", [one.endpoint])
    nomad.checks(nomad.allocation("web", one.port), {"alive": "success"})
    seen = stage.start(
        nomad, subject=group.around(nomad), HEALTH_CHECK="nomad", NOMAD_JOB_ID="balancer"
    )
    seen.subject.ready(status=200)
    group.limit(1)
    nomad.set("web", [one.endpoint, two.endpoint])
    stage.stack.callback(group.limit, None)
    return seen


@scenarios.shows("the registry's answer is refused")
def small_values(stage: Stage) -> Seen:
    """A long list of numbers."""
    nomad: FakeNomad = stage.nomad()
    nomad.fault(faults.body(f"[{'1,' * 200_000}1]"))
    return stage.start(nomad)


@scenarios.shows("changes are not served, a disk hangs")
def hanging_files(stage: Stage) -> Seen:
    """The operator's files are read again from a disk that hangs."""
    seen = serving(stage, START_TIMEOUT="1s")
    if reason := why_no_hanging_disk(seen.subject.home / "tried"):
        pytest.skip(reason)
    stage.stack.enter_context(HangingDisk(seen.subject.home / "operator" / "conf.d"))
    seen.subject.signal(signal.SIGHUP)
    return seen


def endpoint(stage: Stage) -> str:
    """
    Start a replica and return its address.
    """
    return f"127.0.0.1:{stage.replica().port}"


def serving(stage: Stage, **settings: str) -> Seen:
    """
    Start a program, and return once it serves a replica.
    """
    seen = stage.start(ENDPOINTS=endpoint(stage), **settings)
    seen.subject.ready(status=200)
    return seen


def requested(stage: Stage, address: str, expected: int) -> Seen:
    """
    Start a program with this endpoint, and return it after a request that got this status.
    """
    seen = stage.start(ENDPOINTS=address)
    seen.subject.ready(status=200, path="/-/ready")
    assert expected == seen.subject.get().status
    return seen


@pytest.mark.slow  # together, while those of a start are quick
@pytest.mark.parametrize("symptom, scenario", scenarios.params())
def test_a_row_is_what_is_reported(symptom: str, scenario: Scenario) -> None:
    """
    Its quotes are found where it says, and its commands run.
    """
    with Stage() as stage:
        verify(symptom, scenario(stage))
