"""
Access to the admin sockets, the token and the supervisor's files.
"""

import os
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path

import pytest

from tests.support.admin_subject import AdminSubject, running_with_admin
from tests.support.client import connect, get, read_answer, request_bytes
from tests.support.deadlines import first_start
from tests.support.fake_nomad import FakeNomad
from tests.support.nginxes import BOTH
from tests.support.subjects import Ours
from tests.support.waiting import eventually

TOKEN = "5ec4e7a0-0000-4000-8000-c0ffee5ec4e7"
NOBODY = 65534

ROOT = os.geteuid() == 0

#: Not for the image, whose files are elsewhere; it has its own tests for these cases.
plain = pytest.mark.parametrize("pid1", [False], ids=["plain"])


@pytest.fixture(params=BOTH)
def served(request: pytest.FixtureRequest) -> Iterator[AdminSubject]:
    """
    A program on an old nginx and on a current one.
    """
    with running_with_admin("one", NGINX_BINARY=request.param) as subject:
        yield subject


@plain
def test_S05_the_token_is_nowhere(*, pid1: bool) -> None:
    """
    Not in the debug log, nginx's environment, an error page, any file below RUNTIME_DIR and
    STATE_DIR, or any response of the socket or the admin port.
    """
    with (
        FakeNomad(token=TOKEN) as nomad,
        AdminSubject(
            nomad, pid1=pid1, NOMAD_TOKEN=TOKEN, LOG_LEVEL="debug", LISTEN_ADDRESS="127.0.0.1"
        ) as subject,
    ):
        subject.wait_for_log("nginx.ready")
        nomad.stop()  # for the error messages
        subject.wait_for_log("discovery.failed")
        texts = [subject.get().text, subject.get("/-/ready").text, subject.get("/\0").text]
        for path in ("/status", "/metrics", "/healthz", "/readyz", "/config", "/", "/stop"):
            texts += [get(subject.socket, path).text, get(subject.admin_port, path).text]
        texts.append(subject.run_command("status").stdout)
        texts.append(subject.run_command("check").stdout)
        for pid in [subject.nginx_master(), *subject.nginx_workers()]:
            texts.append(Path(f"/proc/{pid}/environ").read_text())
        texts += [p.read_text() for p in subject.home.rglob("*") if p.is_file()]
        texts += [subject.recent_output, *(str(line) for line in subject.logs)]

        assert len(texts) > 20
        assert [] == [text for text in texts if TOKEN in text]


@plain
@pytest.mark.skipif(not ROOT, reason="switching the user requires root")
def test_S05_a_process_of_the_same_user_cannot_read_the_environment(*, pid1: bool) -> None:
    """
    If nginx's workers run as the supervisor's user, as in a container without root, a compromised
    worker cannot read the token from the supervisor's environment.
    """
    become = ["setpriv", "--reuid", str(NOBODY), "--regid", str(NOBODY), "--clear-groups"]
    with FakeNomad(token=TOKEN) as nomad:
        command = (*become, sys.executable, "-m", "supervisor", "run")
        subject = AdminSubject(
            nomad,
            subject=Ours(nomad, command=command),
            pid1=pid1,
            NOMAD_TOKEN=TOKEN,
            OPERATOR_DIR="/nowhere",
        )
        os.chown(subject.home, NOBODY, NOBODY)
        try:
            subject.start()
            subject.wait_for_log("nginx.ready")
            read_environ = [*become, "cat", f"/proc/{subject.pid}/environ"]
            done = subprocess.run(read_environ, capture_output=True, text=True, check=False)

            assert NOBODY == Path(f"/proc/{subject.pid}").stat().st_uid or done.returncode
            assert (1, "") == (done.returncode, done.stdout)
            assert 200 == get(subject.admin_port, "/healthz").status
        finally:
            sys.stdout.write(subject.recent_output)
            subject.close()


def _is_from_admin(text: str) -> bool:
    return any(
        mark in text for mark in ('"schema"', "autoexit_build", "healthy", "the deadline is")
    )


PATHS = ("/status", "/metrics", "/healthz", "/deadline", "/stop", "/config", "/-/connections")


def test_S07_the_admin_is_not_on_the_public_port(served: AdminSubject) -> None:
    """
    No path, encoding, absolute URI or Host on the public port reaches the admin routes.
    """
    admin = f"127.0.0.1:{served.admin_port}"
    before = served.status(served.socket)["deadline"]
    for path in PATHS:
        bare = path.removeprefix("/")
        variants = [
            path, f"/{path}", f"/.{path}", f"/x/..{path}", f"/%2e{path}", f"/-/..{path}",
            f"/%{ord(bare[0]):02x}{bare[1:]}", path.upper(), f"{path}/", f"{path}%00", f"{path}?a",
            f"http://{admin}{path}", f"http://autoexit_readers{path}",
            f"unix:{served.socket}:{path}",
            f"/-/ready{path}", f"/-/ready/..{path}", f"/;{path}", f"{path};/", f"\\{bare}",
        ]  # fmt: skip
        for target in variants:
            for host in ("x", admin, "autoexit_readers", "admin", "unix", f"{served.socket}", ""):
                for method in ("GET", "POST"):
                    with connect(served.port) as connection:
                        sent = request_bytes(target, method, headers={"Host": host})
                        connection.sendall(sent)
                        answer = read_answer(connection)
                    assert not _is_from_admin(answer.text), (target, host, method, answer.text)
    assert before["at"] == served.status(served.socket)["deadline"]["at"]
    assert "running" == served.status(served.socket)["phase"]


def test_S07_the_admin_port_serves_only_its_own_paths(served: AdminSubject) -> None:
    """
    It serves a few paths by GET and HEAD, but no changes, no configuration and no replicas.
    """
    for path in ("/deadline", "/stop", "/config", "/-/connections", "/-/generation", "/x"):
        for method in ("GET", "POST", "PUT"):
            assert 404 == get(served.admin_port, path, method=method).status
    for path in ("/", "/status", "/metrics", "/healthz", "/readyz"):
        for method in ("POST", "PUT", "DELETE", "PATCH", "OPTIONS"):
            assert 403 == get(served.admin_port, path, method=method).status
    head = get(served.admin_port, "/status", method="HEAD")
    assert (200, b"") == (head.status, head.body)
    assert [] == [key for key in served.replicas[0].requests if "status" in key]


def test_S07_the_readers_socket_is_read_only(served: AdminSubject) -> None:
    """
    The readers' socket itself accepts no changes, whatever nginx passes on.
    """
    readers = served.home / "run" / "readers.sock"
    for path in ("/deadline", "/stop", "/config"):
        for method in ("GET", "POST"):
            assert 404 == get(readers, path, method=method, body=b'{"by": "1h"}').status
    for path in ("/", "/status", "/metrics", "/healthz", "/readyz"):
        answer = get(readers, path, method="POST")
        assert (405, "GET, HEAD") == (answer.status, answer.headers["Allow"])


def test_S07_the_admin_port_is_never_an_endpoint(nomad: FakeNomad) -> None:
    """
    Registered under the service's name it would be reachable on the public port: it is skipped, at
    every local address, and counted in the log.
    """
    with AdminSubject(nomad, LISTEN_ADDRESS=None) as subject:
        subject.offer(
            ("127.0.0.1", subject.admin_port),
            ("127.9.9.9", subject.admin_port),
        )
        subject.wait_for_log("endpoints.changed", skipped=2)
        eventually(lambda: 503 == subject.get("/status").status)
        assert 0 == subject.status()["endpoints"]["known"]


@plain
def test_S10_files_sockets_and_folders_have_their_modes(*, pid1: bool) -> None:
    """
    Rendered files 0640, the record and the operator's socket 0600, the readers' socket only for
    nginx's group, folders 0700, or 0711 as root, where nginx's workers have another user.
    """
    with running_with_admin("one", ACCESS_LOG="json", pid1=pid1) as subject:
        eventually(lambda: subject.state)
        modes = {
            str(path.relative_to(subject.home)): stat.S_IMODE(path.lstat().st_mode)
            for path in [subject.home / "run", *subject.home.rglob("*")]
            if not path.is_symlink() and not path.is_relative_to(subject.home / "operator")
        }
        folder = 0o711 if ROOT else 0o700
        assert 0o600 == modes["run/supervisor.sock"]
        assert (0o660 if ROOT else 0o600) == modes["run/readers.sock"]
        assert 0o600 == modes["state/state.json"]
        assert 0o600 == modes["run/endpoints.json"]
        assert folder == modes["run"]
        assert 0o700 == modes["state"]
        rendered = {name: mode for name, mode in modes.items() if name.endswith(".conf")}
        assert {"admin.conf", "nginx.conf", "upstream.conf"} == {
            Path(name).name for name in rendered
        }
        assert {0o640} == set(rendered.values())
        folders = {mode for name, mode in modes.items() if (subject.home / name).is_dir()}
        assert folders <= {0o700, folder}


@pytest.mark.slow
def test_fifty_silent_connections_do_not_delay_the_shutdown() -> None:
    """
    With fifty silent connections to each socket and port at the deadline, nginx receives QUIT
    within 50 ms of it, and the exit code is 0 once nginx has timed them out (10 s).
    """
    with running_with_admin("one", TTL="4s") as subject, ExitStack() as stack:
        readers = subject.home / "run" / "readers.sock"
        for where in (subject.socket, readers, subject.admin_port, subject.port):
            for _ in range(50):
                stack.enter_context(connect(where))
        deadline = first_start(subject) + 4
        line = subject.wait_for_log("draining", reason="deadline")
        began = datetime.fromisoformat(line["time"]).timestamp()

        assert 0 <= began - deadline + 0.001 < 0.05
        assert 0 == subject.wait(20)
        assert time.time() - deadline < 11.5
