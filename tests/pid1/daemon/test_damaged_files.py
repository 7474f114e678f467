"""
Files of the program that something has damaged or replaced.
"""

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.deadlines import write_record
from tests.support.replica import Replica
from tests.support.supervised import Supervised
from tests.support.waiting import eventually

Replicas = Callable[..., list[Replica]]
Prepare = Callable[..., Supervised]
Damage = Callable[[Path], object]


def fifo(path: Path) -> None:
    """
    Put a FIFO there, which nothing writes to.
    """
    os.mkfifo(path)


def link(path: Path) -> None:
    """
    Put a link to a file of somebody else there.
    """
    target = path.with_name("target")
    target.write_text("precious")
    path.symlink_to(target)


def cache_with(answered_at: str = "1", port: str = "80", weight: str = "1") -> Damage:
    """
    Write an endpoint cache with these numbers.
    """
    row = f'["10.0.0.1", {port}, {weight}, false, false, true]'
    source = f'{{"answered_at": {answered_at}, "endpoints": [{row}]}}'
    text = f'{{"query": ["", "default", ""], "sources": {{"nomad:web": {source}}}}}'
    return lambda path: path.write_text(text)


HUGE = "9" * 401

CACHES = {
    "fifo": fifo,
    "folder": Path.mkdir,
    "link": link,
    "endless": lambda path: path.symlink_to("/dev/zero"),
    "huge time": cache_with(HUGE),
    "negative time": cache_with("-" + HUGE),
    "infinite time": cache_with("Infinity"),
    "time before all times": cache_with("-Infinity"),
    "no time": cache_with("NaN"),
}


def prepared(prepare: Prepare, *replicas: Replica, **settings: str) -> tuple[Supervised, Path]:
    """
    Return a program that is not started, and its RUNTIME_DIR.
    """
    subject = prepare(*replicas, **settings)
    folder = subject.home / "run"
    folder.mkdir(mode=0o711)
    return subject, folder


def stop(subject: Supervised) -> int:
    """
    Send SIGTERM and return the exit code.
    """
    subject.signal(signal.SIGTERM)
    return subject.wait(5)


def status(subject: Supervised) -> dict[str, object]:
    """
    Return the status, which must be JSON without NaN and Infinity.
    """
    text = subject.run_inside(
        f"curl -s --unix-socket {subject.home}/run/supervisor.sock http://x/status"
    )
    found = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} in the status"))
    assert isinstance(found, dict)
    return found


@pytest.mark.parametrize("damage", CACHES.values(), ids=CACHES.keys())
def test_a_damaged_cache_does_not_count(
    prepare: Prepare, replicas: Replicas, damage: Damage
) -> None:
    """
    A cache that cannot be read leads to a warning; the registry's endpoints are served.
    """
    subject, folder = prepared(prepare, *replicas("one"))
    damage(folder / "endpoints.json")
    subject.start().ready(status=200)

    (line,) = subject.log_lines("cache.unusable")
    assert line["reason"].startswith(f"cannot use {folder}/endpoints.json: ")
    eventually(lambda: status(subject)["ready"])
    assert 0 == stop(subject)


@pytest.mark.parametrize("numbers", [{"port": HUGE}, {"weight": HUGE}, {"port": "-1"}], ids=str)
def test_an_invalid_row_of_the_cache_is_skipped(
    prepare: Prepare, replicas: Replicas, numbers: dict[str, str]
) -> None:
    """
    A row with an impossible number is left out.
    """
    subject, folder = prepared(prepare, *replicas("one"))
    cache_with(**numbers)(folder / "endpoints.json")
    subject.start().ready(status=200)

    assert [0] == [line["endpoints"] for line in subject.log_lines("discovery.restored")]
    assert 0 == stop(subject)


@pytest.mark.parametrize("damage", [fifo, link, Path.mkdir])
def test_a_record_that_is_no_file_does_not_count(
    prepare: Prepare, replicas: Replicas, tmp_path: Path, damage: Damage
) -> None:
    """
    The TTL counts from now, with a warning, and a stop signal is obeyed.
    """
    subject = prepare(*replicas("one"), STATE_DIR=str(tmp_path))
    damage(tmp_path / "state.json")
    subject.start().ready(status=200)

    (line,) = subject.log_lines("state.unusable")
    assert line["reason"].startswith(f"cannot use {tmp_path}/state.json: ")
    assert 0 == stop(subject)


def test_an_extension_to_before_the_first_start_does_not_count(
    prepare: Prepare, replicas: Replicas, tmp_path: Path
) -> None:
    """
    Such a record contradicts itself; the deadline that it has without the extension holds.
    """
    folder = write_record(tmp_path / "state", extended_to=time.time() - 7200)
    subject = prepare(*replicas("one"), TTL="2h", STATE_DIR=folder)
    subject.start().ready(status=200)

    assert "extension" in subject.log_lines("deadline.anchored", level="warning")[0]["reason"]
    assert subject.log_lines("deadline.set")[0]["remaining"] == pytest.approx(3600, abs=5)


def test_a_fifo_among_the_operator_s_files_stops_no_change(
    prepare: Prepare, replicas: Replicas
) -> None:
    """
    The reload at a SIGHUP fails with the reason; later changes of endpoints are served.
    """
    one, two = replicas("one", "two")
    subject = prepare(one)
    subject.start().ready(status=200)
    path = subject.home / "operator" / "conf.d" / "x.conf"
    fifo(path)
    subject.signal(signal.SIGHUP)

    assert f"{path}: not a regular file" in subject.wait_for_log("reload.failed")["reason"]
    subject.offer(two)
    eventually(lambda: "two" == subject.get().text)
    assert 0 == stop(subject)


def test_a_fifo_among_the_operator_s_files_stops_the_start(
    prepare: Prepare, replicas: Replicas
) -> None:
    """
    At the start it is a mistake as any other in these files: exit code 78 and the reason.
    """
    subject = prepare(*replicas("one"))
    path = subject.home / "operator" / "conf.d" / "x.conf"
    fifo(path)

    assert 78 == subject.start().wait(5)
    assert f"{path}: not a regular file" in subject.log_lines("ended")[0]["message"]


def test_an_operator_s_file_may_be_a_link(prepare: Prepare, replicas: Replicas) -> None:
    """
    Orchestrators mount files as links: these are followed.
    """
    subject = prepare(*replicas("one"))
    target = subject.home / "operator" / "data"
    target.write_text("location /linked { return 204; }\n")
    (subject.home / "operator" / "server.d" / "x.conf").symlink_to(target)
    subject.start().ready(status=200)

    assert 204 == subject.get("/linked").status


@pytest.mark.parametrize(
    "name, damage",
    [
        ("lock", fifo),
        ("access.log", Path.mkdir),
        *((name, link) for name in ("lock", "supervisor.sock", "readers.sock")),
        *((name, Path.mkdir) for name in ("lock", "supervisor.sock", "readers.sock")),
    ],
)
def test_another_kind_of_file_is_78(
    prepare: Prepare, replicas: Replicas, name: str, damage: Damage
) -> None:
    """
    A lock that is no file, and the place of a socket or a log taken by a link or a folder, lead to
    78 and one line with the path; what a link points to is unchanged.
    """
    subject, folder = prepared(prepare, *replicas("one"), ACCESS_LOG="json")
    damage(folder / name)

    assert 78 == subject.start().wait(5)
    (line,) = subject.errors
    assert line.startswith(f"cannot use {folder}/{name}: ")
    assert damage is not link or "precious" == (folder / "target").read_text()


@pytest.mark.parametrize("name", ["nginx.pid", "conf", "over", "supervisor.sock", "access.log"])
def test_a_fifo_in_the_place_of_another_file_is_removed(
    prepare: Prepare, replicas: Replicas, name: str
) -> None:
    """
    What is written anew at each start replaces whatever is there.
    """
    subject, folder = prepared(prepare, *replicas("one"), ACCESS_LOG="json")
    fifo(folder / name)
    subject.start().ready(status=200)

    assert not (folder / name).is_fifo()
    assert 0 == stop(subject)


def test_an_endpoints_file_that_is_a_fifo_is_an_error(prepare: Prepare, tmp_path: Path) -> None:
    """
    It is reported as any file that cannot be read, and read once it is a file.
    """
    path = tmp_path / "endpoints"
    fifo(path)
    subject = prepare(ENDPOINTS_FILE=str(path))
    subject.start()

    assert "not a regular file" in subject.wait_for_log("discovery.failed")["reason"]
    path.unlink()
    path.write_text("127.0.0.1:1\n")
    subject.wait_for_log("endpoints.changed", endpoints=1)
