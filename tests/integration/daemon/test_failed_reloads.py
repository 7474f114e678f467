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
def test_F01_a_refused_configuration_leaves_the_last_good_files(
    supervise: Supervise, replicas: Replicas, nginx: str
) -> None:
    """
    If nginx refuses a configuration, the live files are unchanged to the byte and the old
    generation serves; endpoint changes still apply, and a corrected file is loaded.

    For each kind of error the log contains nginx's own reason.
    """
    one, two = replicas("one", "two")
    subject = started(supervise, one, NGINX_BINARY=nginx)
    subject.wait_for_log("reload.applied", mode="serve")
    before, workers = live_files(subject), all_workers(subject)
    path = subject.write_in("conf.d", "mine.conf", "")
    with FileWatch(live_folder(subject) / "upstream.conf", b"}\n") as watch:
        for attempt, text in enumerate(BROKEN.values(), 1):
            path.write_text(text)
            subject.signal(signal.SIGHUP)
            eventually(lambda n=attempt: len(subject.log_lines("reload.failed")) >= n, 5)
        for line in subject.log_lines("reload.failed"):
            assert "mine.conf" in line["reason"] or "service" in line["reason"], line
        assert before == live_files(subject)
        assert workers == subject.nginx_workers()
        assert "one" == subject.get().text

        subject.offer(two)
        eventually(lambda: "two" == subject.get().text)
        path.write_text("# corrected\n")
        subject.signal(signal.SIGHUP)
        eventually(lambda: b"# corrected\n" == live_files(subject).get("conf.d/mine.conf"))
    assert [] == watch.truncated
    assert watch.reads > 20


def test_F01_an_invalid_registered_address_cannot_break_the_files(
    supervise: Supervise, replicas: Replicas
) -> None:
    """
    A registered address that would break nginx's configuration reaches no file: the files are
    unchanged to the byte, and the next valid response is served.
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
def test_F02_a_port_in_use_fails_the_verification_of_the_generation(
    supervise: Supervise, replicas: Replicas, nginx: str
) -> None:
    """
    If another process holds a port of a configuration that passes `nginx -t`, the new generation
    does not respond: the last good files are restored, no request is lost, no file is ever missing,
    and once the port is free the configuration is applied without further action.
    """
    (one,) = replicas("one")
    subject = started(supervise, one, NGINX_BINARY=nginx)
    subject.wait_for_log("reload.applied", mode="serve")
    before, applied = live_files(subject), len(subject.log_lines("reload.applied"))
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]
        subject.write_in(
            "conf.d", "mine.conf", f"server {{ listen 127.0.0.1:{port}; return 204; }}"
        )
        with (
            Traffic(subject.port, every=0.02) as traffic,
            FileWatch(live_folder(subject) / "nginx.conf", b"}\n") as watch,
        ):
            subject.signal(signal.SIGHUP)
            line = subject.wait_for_log("reload.failed", 12)
            assert "did not respond" in line["reason"]
            eventually(lambda: before == live_files(subject), 2)
            assert subject.log_lines("nginx.output", level="error"), "nginx's own reason is logged"
    assert [] == traffic.failures
    assert [] == watch.truncated

    eventually(lambda: 204 == get(port).status, 15)
    eventually(lambda: len(subject.log_lines("reload.applied")) > applied, 5)
    assert "conf.d/mine.conf" in live_files(subject)


def test_F03_a_hanging_nginx_t_is_killed(
    supervise: Supervise, replicas: Replicas, fake_nginx: FakeNginx
) -> None:
    """
    An `nginx -t` that hangs is killed after START_TIMEOUT; the last good files stay and the old
    generation keeps serving until a later check succeeds.
    """
    one, two = replicas("one", "two")
    subject = started(supervise, one, NGINX_BINARY=str(fake_nginx), START_TIMEOUT="2s")
    before = live_files(subject)
    fake_nginx.set(check="hang")
    subject.offer(two)
    eventually(lambda: running_checks(subject), 5, what="a hanging nginx -t")
    line = subject.wait_for_log("reload.failed", 6)
    assert "nginx -t did not exit within 2s" == line["reason"]
    fake_nginx.set(check="real")
    assert before == live_files(subject)
    eventually(lambda: not running_checks(subject), 1, what="no nginx -t left")

    assert subject.running
    eventually(lambda: "two" == subject.get().text)


def running_checks(subject: Supervised) -> list[str]:
    """
    Return the titles of the running `nginx -t` processes.
    """
    return [p.title for p in subject.processes() if " -t " in p.title and not p.zombie]


def test_F04_the_same_endpoints_in_another_order_are_no_change(
    supervise: Supervise, replicas: Replicas, nomad: FakeNomad
) -> None:
    """
    The same endpoints in another order, with another index, change nothing: no file is written,
    not even beside the live ones, and nginx receives no signal.
    """
    names = [replica.endpoint for replica in replicas(*"abcde")]
    subject = supervise()
    subject.offer(*names)
    subject.ready(status=200)
    eventually(
        (subject.home / "run" / "endpoints.json").exists,
        what="the cache, which is the last file that a start writes",
    )
    before, workers, stamps = live_files(subject), all_workers(subject), change_times(subject)
    for shift in range(1, 5):
        subject.offer(*names[shift:], *names[:shift])
        rows = nomad._registry.rows(("default", "web"))
        nomad.rows("web", [*rows[shift:], *rows[:shift]])
        index = str(nomad.index)
        eventually(
            lambda index=index: nomad.blocked and nomad.requests[-1].query["index"] == index,
            what="the next query with the new index",
        )
    assert stamps == change_times(subject)
    assert before == live_files(subject)
    assert workers == subject.nginx_workers()
    assert 1 == len(subject.log_lines("reload.applied"))
    assert [] == subject.log_lines("reload.unchanged")


def change_times(subject: Supervised) -> dict[str, int]:
    """
    Return the change time of each folder and file of the configuration.
    """
    folders = [live_folder(subject).parent, live_folder(subject).resolve()]
    paths = [path for folder in folders for path in (folder, *folder.glob("*.conf"))]
    return {str(path): path.lstat().st_ctime_ns for path in paths}
