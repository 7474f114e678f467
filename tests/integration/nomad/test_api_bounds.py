"""
A Nomad that sends too much, too slowly, or is unreachable: its cost is bounded.
"""

import contextlib
import json
import os
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from supervisor.core.config import load
from supervisor.nomad.api import ServiceQuery
from supervisor.nomad.errors import NomadError
from tests.support.fake_nomad import FakeNomad
from tests.support.live_files import live_files
from tests.support.namespaces import why_no_unshare
from tests.support.nomad_faults import (
    MEGABYTE,
    Fault,
    body,
    body_drip,
    gzip_bomb,
    header_drip,
    huge,
)
from tests.support.nomad_registry import row
from tests.support.replica import Replica
from tests.support.serving_subject import start_serving
from tests.support.subjects import Ours
from tests.support.supervised import Supervised
from tests.support.waiting import eventually, free_port

Supervise = Callable[..., Supervised]
Replicas = Callable[..., list[Replica]]

BOMBS: dict[str, tuple[Fault, str]] = {
    "100 MB": (huge(100 * MEGABYTE), "longer than"),
    "gzip": (gzip_bomb(1024 * MEGABYTE), "compressed"),
    "endless": (huge(10_000 * MEGABYTE), "longer than"),
    "many small values": (body(b"[" + b"[]," * 2_700_000 + b"[]]"), "values"),
    "many small objects": (body(b'{"":' + b"[{}" + b",{}" * 2_700_000 + b"]}"), "not a list"),
    "a long row": (body(b'[{"Tags":[' + b'"lb.",' * 100_000 + b'""]}]'), "longer than"),
}

#: Valid JSON of 8 MB each.
SMALL_VALUES: dict[str, bytes] = {
    "lists": b"[" + b"[]," * 2_700_000 + b"[]]",
    "numbers": b"[" + b"1.25         ," * 600_000 + b"1]",
    "objects": b"[" + b",".join(b'{"%d":%d}' % (n, n) for n in range(500_000)) + b"]",
    "rows": b"["
    + b",".join(b'{"Address":"10.0.0.1","Port":%d}' % n for n in range(250_000))
    + b"]",
}


def peak(pid: int) -> float:
    """
    Return the peak memory of a process, in megabytes.
    """
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024 / 1e6
    raise AssertionError(pid)


def test_A06_a_bomb_is_aborted_at_the_limit(
    supervise: Supervise, nomad: FakeNomad, replicas: Replicas
) -> None:
    """
    Bodies of 100 MB, without end, compressed a thousandfold, of millions of small values, or with
    one long row are errors; their memory never exceeds a few times the limit of 8 MiB, and the
    files do not change.
    """
    one, two = replicas("one", "two")
    subject = start_serving(supervise, one, HEALTH_CHECK="off")
    before, memory = live_files(subject), peak(subject.pid)
    for number, (kind, (bomb, reason)) in enumerate(BOMBS.items(), 1):
        nomad.fault(bomb, times=2)
        eventually(
            lambda n=number: len(subject.log_lines("discovery.recovered")) >= n, 10, what=kind
        )
        assert reason in subject.log_lines("discovery.failed")[-1]["reason"], kind
        eventually(lambda: nomad.blocked, 5)
    assert peak(subject.pid) - memory < 45
    assert before == live_files(subject)
    assert "one" == subject.get().text

    subject.offer(two)
    eventually(lambda: "two" == subject.get().text)


def test_A06_small_values_cost_no_multiple_of_their_size(
    supervise: Supervise, nomad: FakeNomad, replicas: Replicas
) -> None:
    """
    500,000 small values in 8 MB are an error before they take 10 MB of memory, whatever they are.
    """
    (one,) = replicas("one")
    subject = start_serving(supervise, one, HEALTH_CHECK="off")
    memory = peak(subject.pid)
    for number, (kind, text) in enumerate(SMALL_VALUES.items(), 1):
        nomad.fault(body(text), times=1)
        eventually(
            lambda n=number: len(subject.log_lines("discovery.recovered")) >= n, 10, what=kind
        )
        reason = subject.log_lines("discovery.failed")[-1]["reason"]
        assert "the response has too many small values" == reason, kind
        eventually(lambda: nomad.blocked, 5)
    assert peak(subject.pid) - memory < 10
    assert "one" == subject.get().text


def test_A06_a_large_service_fits(nomad: FakeNomad, client: ServiceQuery) -> None:
    """
    An ordinary response of 8 MB is read, with every field that an endpoint needs.
    """
    rows = [row("web", "10.0.0.1", 1 + n % 60_000, tags=["lb.backup"]) for n in range(20_000)]
    nomad.fault(body(json.dumps(rows)))
    found = client.list_instances("web", 0, 1.0).rows
    used = ("Address", "Port", "Tags", "JobID", "AllocID", "NodeID", "CreateIndex")
    assert [{name: each[name] for name in used} for each in rows] == found


@pytest.mark.slow
@pytest.mark.parametrize(
    "fault,longest",
    [(header_drip(0.2), 5.0), (body_drip(0.2), 15.0)],
    ids=["header", "body"],
)
def test_A07_a_drip_has_a_total_deadline(
    supervise: Supervise, nomad: FakeNomad, replicas: Replicas, fault: Fault, longest: float
) -> None:
    """
    A response that arrives one byte at a time is aborted after 5 s for its head, 15 s in total; the
    last endpoints stay in service, and the next correct response is used.
    """
    one, two = replicas("one", "two")
    subject = start_serving(supervise, one, HEALTH_CHECK="off")
    nomad.stop()  # so that the next query, which does not block, gets the fault
    subject.wait_for_log("discovery.failed")
    nomad.fault(fault)
    count = len(nomad.requests)
    nomad.start()
    eventually(lambda: len(nomad.requests) > count)
    started_at = nomad.requests[count].at
    eventually(lambda: len(nomad.requests) > count + 1, longest + 8)
    assert longest - 0.5 < nomad.requests[count + 1].at - started_at < longest + 6
    where = f"Nomad at {nomad.address} (NOMAD_ADDR)"
    reason = f"timed out before the response of {where} was complete"
    assert subject.wait_for_log("discovery.failed", reason=reason)
    assert "one" == subject.get().text
    nomad.heal()
    subject.offer(two)
    eventually(lambda: "two" == subject.get().text, longest + 8)


@contextlib.contextmanager
def blackhole() -> Iterator[int]:
    """
    Yield a port whose backlog is full: the kernel does not respond to SYNs.
    """
    with contextlib.ExitStack() as stack:
        full = stack.enter_context(socket.socket())
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        address = full.getsockname()
        for _ in range(8):
            client = stack.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex(address)
        yield address[1]


def test_A13_an_address_that_times_out_changes_nothing_else(supervise: Supervise) -> None:
    """
    While connections to Nomad time out the port responds with 503 at once, the reason is logged,
    and the program exits at its deadline with 0.
    """
    with blackhole() as port:
        subject = supervise(
            pid1=False, NOMAD_ADDR=f"http://127.0.0.1:{port}", TTL="6s", LOG_LEVEL="debug"
        )
        assert 503 == subject.ready(3).status
        line = subject.wait_for_log("discovery.failed")
        address = f"http://127.0.0.1:{port}"
        assert f"connection to Nomad at {address} timed out (NOMAD_ADDR)" == line["reason"]
        assert 503 == subject.get().status
        assert 0 == subject.wait(12)
        assert 6 <= subject.lasted < 9


def test_A13_a_name_that_does_not_resolve_changes_nothing_else(supervise: Supervise) -> None:
    """
    An unknown name is logged and retried; nginx serves, and exits in time.
    """
    subject = supervise(
        pid1=False, NOMAD_ADDR="http://no-such-host.invalid:4646", TTL="6s", LOG_LEVEL="debug"
    )
    assert 503 == subject.ready(3).status
    line = subject.wait_for_log("discovery.failed")
    address = "http://no-such-host.invalid:4646"
    assert line["reason"].endswith(f" the name no-such-host.invalid of NOMAD_ADDR={address}")
    assert 0 == subject.wait(12)
    assert 6 <= subject.lasted < 9


@pytest.mark.skipif(bool(why_no_unshare()), reason=why_no_unshare() or "-")
def test_A13_a_hanging_resolver_does_not_block_the_program(
    supervise: Supervise, nomad: FakeNomad, tmp_path: Path
) -> None:
    """
    With a name server that never responds the port responds with 503 at once, the reason is logged
    within 3 s, and a stop signal ends the program as fast as usual.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.53", 53))
        (tmp_path / "resolv.conf").write_text("nameserver 127.0.0.53\noptions timeout:30\n")
        (tmp_path / "nsswitch.conf").write_text("hosts: files dns\n")
        mounts = " && ".join(
            f"mount --bind {tmp_path}/{name} /etc/{name}"
            for name in ("resolv.conf", "nsswitch.conf")
        )
        command = (
            *("unshare", "-m", "sh", "-c", f'{mounts} && exec "$@"', "sh"),
            *(sys.executable, "-m", "supervisor", "run"),
        )
        subject = supervise(
            pid1=False,
            subject=Ours(nomad, "web", command),
            NOMAD_ADDR="http://nomad.example:4646",
            LOG_LEVEL="debug",
        )
        assert 503 == subject.ready(3).status
        line = subject.wait_for_log("discovery.failed", 5)
        address = "http://nomad.example:4646"
        what = f"the name nomad.example of NOMAD_ADDR={address}"
        assert f"timed out resolving {what}" == line["reason"]
        eventually(lambda: len(subject.log_lines("discovery.failed")) >= 2, 10)
        before = subject.lasted
        subject.signal(15)
        assert 0 == subject.wait(5)
        assert subject.lasted - before < 2


@pytest.fixture
def client(nomad: FakeNomad) -> Iterator[ServiceQuery]:
    """
    A client whose NOMAD_ADDR contains a host name.
    """
    nomad.set("web", [("127.0.0.1", 1)])
    environ = {"SERVICE_NAME": "web", "NOMAD_ADDR": f"http://localhost:{nomad.port}"}
    query = ServiceQuery(load.read(environ, lambda _: True), lambda _: None)
    yield query
    query.close()


def test_a_name_may_have_several_addresses(nomad: FakeNomad, client: ServiceQuery) -> None:
    """
    Each address of a name is tried, and the name is resolved for each connection.
    """
    assert 1 == len(client.list_instances("web", 0, 1.0).rows)
    nomad.stop()
    for _ in range(2):
        with pytest.raises(NomadError) as error:
            client.list_instances("web", 0, 1.0)
    assert error.value.refused
    nomad.start()
    assert 1 == len(client.list_instances("web", 0, 1.0).rows)
    assert "resolver" not in {thread.name for thread in threading.enumerate()}


def test_a_host_that_is_gone_is_detected(nomad: FakeNomad, client: ServiceQuery) -> None:
    """
    TCP keep-alive detects a silent host after 11 s, so that a blocking query does not wait on a
    dead connection.
    """
    client.list_instances("web", 0, 1.0)
    fd = client._transport._fd
    assert fd is not None
    with socket.socket(fileno=os.dup(fd)) as connection:
        assert connection.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        idle, every, times = (
            connection.getsockopt(socket.IPPROTO_TCP, option)
            for option in (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT)
        )
        assert idle + every * times <= 11
        assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) <= 11_000


def test_an_address_without_a_listener_is_a_refusal() -> None:
    """
    A port without a listener and a path without a socket are distinguished from timeouts: they can
    be retried soon.
    """
    port, socket_path = f"http://127.0.0.1:{free_port()}", "unix:///nowhere/api.sock"
    for address, reason in (
        (port, f"connection to Nomad at {port} refused: nothing listens there (NOMAD_ADDR)"),
        (socket_path, f"cannot connect to Nomad: NOMAD_ADDR={socket_path} has no socket"),
    ):
        settings = load.read({"SERVICE_NAME": "web", "NOMAD_ADDR": address}, lambda _: True)
        client = ServiceQuery(settings, lambda _: None)
        with pytest.raises(NomadError) as error:
            client.list_instances("web", 0, 1.0)
        assert error.value.refused
        assert reason == error.value.reason
        client.close()
