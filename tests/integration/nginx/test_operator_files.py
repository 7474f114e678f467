"""
The operator's own files: tested, applied at SIGHUP, and never harmful to a running service.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import pytest

from tests.support.checkout import CHECKOUT
from tests.support.live_files import live_files
from tests.support.nginxes import BOTH
from tests.support.reloading import FAST_RELOADS, wait_for_reloads
from tests.support.replica import Replica
from tests.support.supervised import Supervised
from tests.support.waiting import eventually, free_port

Supervise = Callable[..., Supervised]
Replicas = Callable[..., list[Replica]]
Folder = Literal["conf.d", "server.d"]

nginxes = pytest.mark.parametrize("nginx", BOTH)
folders = pytest.mark.parametrize("folder", ["conf.d", "server.d"])


def checked(operator: Path, nginx: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """
    Run `check` with these files.
    """
    environ = {
        "PATH": os.environ["PATH"],
        "ENDPOINTS": "10.0.0.1:1",
        "LISTEN_ADDRESS": "127.0.0.1",
        "LISTEN_PORT": str(free_port()),
        "OPERATOR_DIR": str(operator),
        "NGINX_BINARY": nginx,
        **settings,
    }
    return subprocess.run(
        [sys.executable, "-m", "supervisor", "check"],
        cwd=CHECKOUT,
        env=environ,
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )


@nginxes
@folders
def test_a_check_tests_the_operators_files(tmp_path: Path, nginx: str, folder: Folder) -> None:
    """
    An error is reported with file and line, and valid files are accepted.
    """
    path = tmp_path / folder / "mine.conf"
    path.parent.mkdir()
    path.write_text("# mine\n\nno_such_directive on;\n")
    done = checked(tmp_path, nginx)
    assert 78 == done.returncode
    assert 'unknown directive "no_such_directive"' in done.stderr
    assert f"{folder}/mine.conf:3" in done.stderr

    path.write_text("map $uri $mine { default 1; }\n" if folder == "conf.d" else "gzip on;\n")
    done = checked(tmp_path, nginx)
    assert 0 == done.returncode, done.stderr
    assert "accepts the configuration" in done.stdout

    path.unlink()
    path.mkdir()
    assert 78 == checked(tmp_path, nginx).returncode


def test_a_server_on_our_port_is_reported(
    supervise: Supervise, replicas: Replicas, tmp_path: Path
) -> None:
    """
    It answers its name instead of the replicas, and nginx accepts it: the start, a reload and
    `check` warn.
    """
    (one,) = replicas("one")
    subject = supervise(pid1=False, **FAST_RELOADS)
    subject.offer(one)
    subject.ready(status=200)
    assert [] == subject.log_lines("config.warning")
    text = (
        f"server {{ listen 127.0.0.1:{subject.port}; server_name old.example;"
        ' return 200 "old"; }\n'
    )
    subject.write_in("conf.d", "old.conf", text)
    subject.signal(signal.SIGHUP)
    line = subject.wait_for_log("config.warning")
    expected = f"conf.d/old.conf:1: `listen 127.0.0.1:{subject.port}` is on our port {subject.port}"
    assert line["reason"].startswith(expected)
    eventually(lambda: "old" == subject.get(headers={"Host": "old.example"}).text)

    subject.signal(signal.SIGTERM)
    assert 0 == subject.wait()
    again = subject.start().wait_for_log("config.warning")
    assert (line["reason"], "warning") == (again["reason"], again["level"])

    (tmp_path / "conf.d").mkdir()
    (tmp_path / "conf.d" / "old.conf").write_text("server {\n listen 8080;\n}\n")
    done = checked(tmp_path, "nginx", LISTEN_PORT="8080")
    assert 0 == done.returncode
    assert "warning: conf.d/old.conf:2: `listen 8080` is on our port 8080" in done.stderr


@nginxes
@folders
def test_a_broken_file_never_replaces_a_good_one(
    supervise: Supervise, replicas: Replicas, nginx: str, folder: Folder
) -> None:
    """
    At SIGHUP, at a change of endpoints and when nginx exits meanwhile, the last good bytes of the
    file stay live until it is repaired.
    """
    one, two = replicas("one", "two")
    subject = supervise(pid1=False, NGINX_BINARY=nginx, **FAST_RELOADS)
    subject.offer(one)
    subject.ready(status=200)
    subject.wait_for_log("reload.applied", mode="serve")
    good = {
        "conf.d": "map $uri $mine { default 1; }\n",
        "server.d": "add_header X-Mine 1 always;\n",
    }
    subject.write_in(folder, "mine.conf", good[folder])
    subject.signal(signal.SIGHUP)
    name = f"{folder}/mine.conf"
    eventually(lambda: good[folder].encode() == live_files(subject).get(name))
    eventually(lambda: 2 == len(subject.log_lines("reload.applied")))

    subject.write_in(folder, "mine.conf", "}\nno_such_directive on;\n")
    subject.signal(signal.SIGHUP)
    assert name in subject.wait_for_log("reload.failed")["reason"]
    subject.offer(two)
    eventually(lambda: "two" == subject.get().text)
    assert good[folder].encode() == live_files(subject)[name]

    master = subject.nginx_master()
    assert master
    os.kill(master, signal.SIGKILL)
    subject.wait_for_log("nginx.died")
    eventually(lambda: subject.nginx_master() not in {None, master})
    eventually(lambda: "two" == subject.get().text)
    assert good[folder].encode() == live_files(subject)[name]
    assert (folder == "server.d") == (subject.get().headers["X-Mine"] == "1")

    subject.write_in(folder, "mine.conf", "# repaired\n")
    subject.signal(signal.SIGHUP)
    eventually(lambda: b"# repaired\n" == live_files(subject).get(name))


@nginxes
def test_a_removed_file_is_dropped_at_sighup(
    supervise: Supervise, replicas: Replicas, nginx: str
) -> None:
    """
    A file renamed to another suffix is dropped as well, and a new file is added.
    """
    (one,) = replicas("one")
    subject = supervise(pid1=False, NGINX_BINARY=nginx, **FAST_RELOADS)
    first = subject.write_in("server.d", "first.conf", "add_header X-First 1 always;\n")
    second = subject.write_in("server.d", "second.conf", "add_header X-Second 1 always;\n")
    subject.offer(one)
    subject.ready(status=200)
    subject.wait_for_log("reload.applied", mode="serve")
    subject.signal(signal.SIGHUP)
    eventually(lambda: {"X-First", "X-Second"} <= {*subject.get().headers})

    applied, old = len(subject.log_lines("reload.applied")), {*subject.nginx_workers()}
    first.unlink()
    second.rename(second.with_suffix(".conf.off"))
    subject.write_in("server.d", "third.conf", "add_header X-Third 1 always;\n")
    subject.signal(signal.SIGHUP)
    wait_for_reloads(subject, applied + 1, old)
    assert "X-Third" in subject.get().headers
    assert not {"X-First", "X-Second"} & {*subject.get().headers}
