import os
import shutil
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.checkout import CHECKOUT
from tests.support.fake_nomad import FakeNomad
from tests.support.live_files import live_files
from tests.support.nginxes import BOTH
from tests.support.replica import Replica
from tests.support.subjects import Ours, chosen
from tests.support.supervised import Supervised
from tests.support.waiting import eventually

Supervise = Callable[..., Supervised]
Replicas = Callable[..., list[Replica]]

#: Errors in a template, and the message that each produces.
TEMPLATE_ERRORS = {
    "syntax": ("{% if %}", "Expected an expression"),
    "an undefined name": ("{{ nonsense }}", "'nonsense' is undefined"),
    "an unknown directive": ("no_such_directive on;", 'unknown directive "no_such_directive"'),
}


def assert_exits(subject: Supervised, code: int, reason: str) -> None:
    """
    Assert that the program exits with this code and reason, and leaves no nginx.
    """
    assert code == subject.wait()
    last = subject.logs[-1] if subject.logs else {}
    assert reason in "\n".join([*subject.errors, str(last.get("message"))])
    assert [] == subject.processes()


@pytest.mark.parametrize("nginx", BOTH)
def test_F07_an_error_in_an_operator_file_ends_the_first_start(
    supervise: Supervise, nomad: FakeNomad, nginx: str
) -> None:
    """
    If nginx refuses a file in conf.d at the first start, the program exits with 78 and nginx's own
    reason, file and line; once the file is corrected, the next start serves.
    """
    subject = Supervised(nomad, NGINX_BINARY=nginx)
    try:
        path = subject.write_in("conf.d", "mine.conf", "# mine\nworld_domination on;\n")
        assert_exits(subject.start(), 78, 'unknown directive "world_domination" in ')
        assert "conf.d/mine.conf:2" in subject.logs[-1]["message"]
        assert 78 == subject.logs[-1]["code"]
        assert 78 == (subject.ended or {})["code"]

        path.write_text("# mine\n")
        assert 503 == subject.start().ready().status
    finally:
        subject.close()


def test_F07_an_operator_file_that_cannot_be_read_ends_the_first_start(nomad: FakeNomad) -> None:
    """
    If a file in conf.d cannot be read, the first start exits with 78 and that reason.
    """
    subject = Supervised(nomad)
    try:
        (subject.home / "operator" / "conf.d" / "mine.conf").mkdir()
        assert_exits(subject.start(), 78, "Is a directory")
    finally:
        subject.close()


@pytest.mark.skipif(chosen() == "old", reason="the old pattern has no templates")
@pytest.mark.parametrize("kind", TEMPLATE_ERRORS)
@pytest.mark.parametrize("name", ["nginx.conf.j2", "upstream.conf.j2"])
def test_F07_a_broken_template_ends_the_first_start(
    supervise: Supervise, nomad: FakeNomad, tmp_path: Path, name: str, kind: str
) -> None:
    """
    An error in a template, in its own syntax or in nginx's, ends the first start with 78.
    """
    broken, reason = TEMPLATE_ERRORS[kind]
    for folder in ("supervisor", "nginx"):
        shutil.copytree(CHECKOUT / folder, tmp_path / folder)
    template = tmp_path / "nginx" / name
    template.write_text(f"{broken}\n{template.read_text()}")
    command = ("env", "-C", str(tmp_path), sys.executable, "-m", "supervisor", "run")
    assert_exits(supervise(subject=Ours(nomad, command=command)), 78, reason)


def test_F08_the_files_of_a_killed_run_do_not_prevent_a_start(
    supervise: Supervise, replicas: Replicas
) -> None:
    """
    Killed by SIGKILL with all its processes, the program starts again in the same folders and
    serves.  The pattern being replaced does this too.
    """
    one, two = replicas("one", "two")
    subject = supervise()
    subject.offer(one)
    assert "one" == subject.ready(status=200).text
    subject.signal(signal.SIGKILL)
    subject.wait()
    if chosen() == "ours":
        left = list((subject.home / "run").glob("gen-*.sock"))
        assert left, "it leaves no socket behind"
    subject.offer(two)
    assert "two" == subject.start().ready(status=200).text
    if chosen() == "ours":
        assert not [path for path in left if path.exists()], "earlier sockets are removed"


def test_F08_stale_files_of_any_kind_do_not_prevent_a_start(
    supervise: Supervise, nomad: FakeNomad, replicas: Replicas
) -> None:
    """
    With stale sockets, the pid of another process, a free lock, dangling links and half a
    configuration, the program starts, serves, and does not signal the other process.
    """
    (one,) = replicas("one")
    subject = Supervised(nomad)
    try:
        run = subject.home / "run"
        run.mkdir(mode=0o711)
        for name in ("generation.sock", "current.sock", "gen-0-1.sock", "supervisor.sock"):
            with socket.socket(socket.AF_UNIX) as stale:
                stale.bind(str(run / name))
        bystander = os.getpid()
        for folder in (run, subject.home):
            (folder / "nginx.pid").write_text(f"{bystander}\n")
        (run / "lock").write_text("")
        (run / "conf").symlink_to("conf-7")
        (run / ".conf-new").symlink_to("nowhere")
        (run / "conf-1").mkdir()
        (run / "conf-1" / "nginx.conf").write_text("events {")
        subject.offer(one)
        assert "one" == subject.start().ready(status=200).text
        subject.wait_for_log("reload.applied", mode="serve")
        eventually(lambda: bystander != int((run / "nginx.pid").read_text()))
        assert {"nginx.conf", "upstream.conf"} == live_files(subject).keys()
        subject.signal(signal.SIGTERM)
        assert 0 == subject.wait()
    finally:
        subject.close()
