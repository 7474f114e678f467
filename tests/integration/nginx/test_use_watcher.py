"""
The watcher of the idle clock, with real files and connections: what it sees, and what it admits
not to see.
"""

import os
import resource
import signal
import socket
from pathlib import Path

import pytest

from supervisor.core.events import UseObserved
from supervisor.nginx import use_watcher, workers
from supervisor.nginx.render import RenderedConfig
from supervisor.nginx.use_watcher import UseWatcher
from tests.support.waiting import free_port


class Configs:
    """
    The configurations that nginx may run: one, with these operator's files.
    """

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}

    def configs(self) -> list[RenderedConfig]:
        """Return it."""
        return [RenderedConfig(dict(self.files), str(self.files), "g", "g.sock", "")]


def watcher(folder: Path, port: int, configs: Configs | None = None) -> UseWatcher:
    """
    Return a watcher that has looked once.
    """
    made = UseWatcher(folder, port, 60.0, configs or Configs(), lambda _: None)
    assert UseObserved() == made.look()
    return made


def append(path: Path, count: int) -> None:
    """
    Append as nginx does, which opens the file and creates it if it is missing.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    os.write(descriptor, b"\n" * count)
    os.close(descriptor)


def test_each_byte_is_a_request_once(tmp_path: Path) -> None:
    """
    The watcher's own byte is none.
    """
    watched = watcher(tmp_path, free_port())

    append(tmp_path / "use.log", 3)
    assert [3, 0] == [watched.look().requests, watched.look().requests]


def test_a_writer_that_holds_a_removed_file_is_seen(tmp_path: Path) -> None:
    """
    Workers write on after a cleanup job has removed the file; so do those that open a new one.
    """
    path = tmp_path / "use.log"
    watched = watcher(tmp_path, free_port())
    held = os.open(path, os.O_WRONLY | os.O_APPEND)
    path.unlink()
    append(path, 1)

    os.write(held, b"\n")
    assert 2 == watched.look().requests
    os.write(held, b"\n")
    os.close(held)
    assert 1 == watched.look().requests


def test_a_large_file_is_emptied_and_counts_as_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    What is written while it is emptied may be lost, so that look counts in any case.
    """
    monkeypatch.setattr(use_watcher, "_MAX_SIZE", 100)
    watched = watcher(tmp_path, free_port())

    append(tmp_path / "use.log", 200)
    assert 200 == watched.look().requests
    assert (tmp_path / "use.log").stat().st_size < 10
    append(tmp_path / "use.log", 2)
    assert 2 == watched.look().requests


def test_a_file_that_was_emptied_by_somebody_counts_as_use(tmp_path: Path) -> None:
    """
    What was in it is unknown.
    """
    watched = watcher(tmp_path, free_port())
    watched.look()

    os.truncate(tmp_path / "use.log", 0)

    assert 1 == watched.look().requests


def test_a_disk_that_takes_no_byte_is_an_error(tmp_path: Path) -> None:
    """
    A worker of nginx cannot write there either, so nothing is known.
    """
    watched = watcher(tmp_path, free_port())
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1, before[1]))
    try:
        seen = watched.look()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)

    assert "cannot observe requests: File too large" == seen.error


def test_a_connection_is_open_at_once_and_kept_at_the_next_look(tmp_path: Path) -> None:
    """
    One that is not accepted yet is nobody's; one that is gone is gone.
    """
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = server.getsockname()[:2]
        watched = watcher(tmp_path, address[1])
        with socket.create_connection(address):
            assert UseObserved() == watched.look()
            accepted, _ = server.accept()
            assert UseObserved(open=1) == watched.look()
            assert UseObserved(open=1, kept=1) == watched.look()
            accepted.close()
        assert UseObserved() == watched.look()


def test_a_connection_to_an_operators_server_counts(tmp_path: Path) -> None:
    """
    Such as a server with TLS in conf.d.
    """
    configs = Configs()
    watched = watcher(tmp_path, free_port(), configs)
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = server.getsockname()[:2]
        configs.files["conf.d/tls.conf"] = b"server { listen %d ssl; }" % address[1]
        with socket.create_connection(address), server.accept()[0]:
            assert 1 == watched.look().open


def test_an_operators_access_log_is_an_error_until_it_is_gone(tmp_path: Path) -> None:
    """
    With the places, and what to do.
    """
    configs = Configs()
    watched = watcher(tmp_path, free_port(), configs)
    configs.files["server.d/log.conf"] = b"access_log off;"

    error = watched.look().error
    assert "access_log in server.d/log.conf:1 replaces" in error
    assert "move it to http level" in error
    configs.files.clear()
    assert not watched.look().error


def test_a_kernel_that_lists_nothing_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    Some sandboxes answer with an empty list, which would look like nobody.
    """
    monkeypatch.setattr(workers, "accepted", lambda _: set[int]())
    watched = UseWatcher(tmp_path, free_port(), 60.0, Configs(), lambda _: None)

    assert "the kernel does not list open connections" in watched.look().error
