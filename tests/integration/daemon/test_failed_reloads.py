import signal
import socket
from collections.abc import Callable

import pytest

from tests.support.client import get
from tests.support.fake_nginx import FakeNginx
from tests.support.fake_nomad import FakeNomad
from tests.support.live_files import FileWatch, all_workers, live_files, live_folder
from tests.support.nginxes import BOTH
from tests.support.replica import Replica
from tests.support.supervised import Supervised
from tests.support.traffic import Traffic
from tests.support.waiting import eventually

Supervise = Callable[..., Supervised]
Replicas = Callable[..., list[Replica]]

BROKEN = {
    "garbage": "no such directive;",
    "cut short": "server { listen 127.0.0.1:1; location / { return 204;",
    "an include that is missing": "include /nowhere/at/all.conf;",
    "no servers": "upstream none { }",
    "the upstream's own name": "upstream service { server 127.0.0.1:9; }",
    "port 70000": "server { listen 127.0.0.1:70000; }",
}


def started(supervise: Supervise, replica: Replica, **options: str) -> Supervised:
    """
    Return the program once it serves this replica.
    """
    subject = supervise(**{"START_WAIT": "5s", **options})
    subject.offer(replica)
    assert replica.name == subject.ready(status=200).text
    return subject


@pytest.mark.parametrize("nginx", BOTH)
def test_F01_what_nginx_refuses_leaves_the_last_good_files(
    supervise: Supervise, replicas: Replicas, nginx: str
) -> None:
    """
    A configuration that nginx refuses leaves the live files as they are, to the byte, and the old
    generation serving; endpoints change all the same, and a mended file is taken up.

    The refusal is said with nginx's own reason, for every kind of mistake.
    """
    one, two = replicas("one", "two")
    subject = started(supervise, one, NGINX_BINARY=nginx)
    subject.wait_for_log("reload.applied", mode="serve")
    before, workers = live_files(subject), all_workers(subject)
    path = subject.write_in("conf.d", "mine.conf", "")
    with FileWatch(live_folder(subject) / "upstream.conf", b"}\n") as watch:
        for tried, text in enumerate(BROKEN.values(), 1):
            path.write_text(text)
            subject.signal(signal.SIGHUP)
            eventually(lambda n=tried: len(subject.log_lines("reload.failed")) >= n, 5)
        for line in subject.log_lines("reload.failed"):
            assert "mine.conf" in line["reason"] or "service" in line["reason"], line
        assert before == live_files(subject)
        assert workers == subject.nginx_workers()
        assert "one" == subject.get().text

        subject.offer(two)
        eventually(lambda: "two" == subject.get().text)
        path.write_text("# mended\n")
        subject.signal(signal.SIGHUP)
        eventually(lambda: b"# mended\n" == live_files(subject).get("conf.d/mine.conf"))
    assert [] == watch.truncated
    assert watch.reads > 20


def test_F01_what_the_registry_says_cannot_break_the_files(
    supervise: Supervise, replicas: Replicas
) -> None:
    """
    A registered address that nginx would choke on never reaches a file: the last good one stays,
    to the byte, and the next good answer is served.
    """
    one, two = replicas("one", "two")
    subject = started(supervise, one)
    before = live_files(subject)
    subject.offer(("10.0.0.1 {{", 80))
    subject.wait_for_log("discovery.failed")
    assert before == live_files(subject)
    assert "one" == subject.get().text

    subject.offer(two)
    eventually(lambda: "two" == subject.get().text)


@pytest.mark.parametrize("nginx", BOTH)
def test_F02_a_port_that_is_taken_is_found_out_by_the_generation(
    supervise: Supervise, replicas: Replicas, nginx: str
) -> None:
    """
    A configuration that passes `nginx -t` and still cannot be used, because another process holds
    a port, is found out: the new generation does not answer, the last good files come back, no
    request is lost, no file is ever missing, and once the port is free it is taken up by itself.
    """
    (one,) = replicas("one")
    subject = started(supervise, one, NGINX_BINARY=nginx)
    subject.wait_for_log("reload.applied", mode="serve")
    before, applied = live_files(subject), len(subject.log_lines("reload.applied"))
    with socket.create_server(("127.0.0.1", 0)) as holder:
        taken = holder.getsockname()[1]
        subject.write_in(
            "conf.d", "mine.conf", f"server {{ listen 127.0.0.1:{taken}; return 204; }}"
        )
        with (
            Traffic(subject.port, every=0.02) as traffic,
            FileWatch(live_folder(subject) / "nginx.conf", b"}\n") as watch,
        ):
            subject.signal(signal.SIGHUP)
            line = subject.wait_for_log("reload.failed", 12)
            assert "did not answer" in line["reason"]
            eventually(lambda: before == live_files(subject), 2)
            assert subject.log_lines("nginx.output", level="error"), (
                "nginx's own reason is passed on"
            )
    assert [] == traffic.failures
    assert [] == watch.truncated

    eventually(lambda: 204 == get(taken).status, 15)
    eventually(lambda: len(subject.log_lines("reload.applied")) > applied, 5)
    assert "conf.d/mine.conf" in live_files(subject)


def test_F03_a_check_that_hangs_is_killed(
    supervise: Supervise, replicas: Replicas, fake_nginx: FakeNginx
) -> None:
    """
    An `nginx -t` that does not end is killed after START_TIMEOUT; the last good files stay and the
    old generation serves on, until a check that ends lets the change in.
    """
    one, two = replicas("one", "two")
    subject = started(supervise, one, NGINX_BINARY=str(fake_nginx), START_TIMEOUT="2s")
    before = live_files(subject)
    fake_nginx.set(check="hang")
    subject.offer(two)
    eventually(lambda: hung(subject), 5, what="nginx -t that hangs")
    line = subject.wait_for_log("reload.failed", 6)
    assert "nginx -t did not end within 2s" == line["reason"]
    fake_nginx.set(check="real")
    assert before == live_files(subject)
    eventually(lambda: not hung(subject), 1, what="no nginx -t left")

    assert subject.running
    eventually(lambda: "two" == subject.get().text)


def hung(subject: Supervised) -> list[str]:
    """
    Return the checks that run now.
    """
    return [p.title for p in subject.processes() if " -t " in p.title and not p.zombie]


def test_F04_the_same_endpoints_in_another_order_are_no_change(
    supervise: Supervise, replicas: Replicas, nomad: FakeNomad
) -> None:
    """
    The same endpoints in another order, under another index, change nothing: no file is written,
    not even beside the live ones, and nginx gets no signal.
    """
    names = [replica.endpoint for replica in replicas(*"abcde")]
    subject = supervise()
    subject.offer(*names)
    subject.ready(status=200)
    before, workers, stamps = live_files(subject), all_workers(subject), written(subject)
    for turn in range(1, 5):
        subject.offer(*names[turn:], *names[:turn])
        rows = nomad._registry.rows(("default", "web"))
        nomad.rows("web", [*rows[turn:], *rows[:turn]])
        asked_from = str(nomad.index)
        eventually(
            lambda index=asked_from: nomad.blocked and nomad.requests[-1].query["index"] == index,
            what="the next query, from the new index on",
        )
    assert stamps == written(subject)
    assert before == live_files(subject)
    assert workers == subject.nginx_workers()
    assert 1 == len(subject.log_lines("reload.applied"))
    assert [] == subject.log_lines("reload.unchanged")


def written(subject: Supervised) -> dict[str, int]:
    """
    Return when each folder and file that the configuration lives in was changed last.
    """
    places = [live_folder(subject).parent, live_folder(subject).resolve()]
    paths = [path for place in places for path in (place, *place.glob("*.conf"))]
    return {str(path): path.lstat().st_ctime_ns for path in paths}
