"""
Standard streams that the parent has closed.
"""

import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.exec_process import EXEC, ExecProcess
from tests.support.fake_nomad import FakeNomad
from tests.support.image import subject_for
from tests.support.replica import Replica
from tests.support.subjects import RUN
from tests.support.supervised import Supervised
from tests.support.waiting import eventually

Replicas = Callable[..., list[Replica]]
Prepare = Callable[..., Supervised]
RunExec = Callable[..., ExecProcess]

#: What the parent's shell closes, and the descriptors of that.
CLOSED = {"stdin": ("<&-", {0}), "stdout": (">&-", {1}), "stderr": ("2>&-", {2})}
CLOSED["all"] = ("<&- >&- 2>&-", {0, 1, 2})


def without(redirections: str, words: tuple[str, ...]) -> tuple[str, ...]:
    """
    Return a command line that starts these words with closed streams.
    """
    return ("sh", "-c", f'exec "$@" {redirections}', "sh", *words)


def links(pid: int) -> dict[int, str]:
    """
    Return what the descriptors of a process are.
    """
    return {int(e.name): str(e.readlink()) for e in Path(f"/proc/{pid}/fd").iterdir()}


@pytest.mark.parametrize("redirections, closed", CLOSED.values(), ids=CLOSED.keys())
def test_closed_streams_are_empty(
    prepare: Prepare, nomad: FakeNomad, replicas: Replicas, redirections: str, closed: set[int]
) -> None:
    """
    The program serves and ends with 0; the closed streams are /dev/null and no file of its own,
    whose content would otherwise be log lines.
    """
    subject = prepare(*replicas("one"))
    subject.subject = subject_for(nomad, without(redirections, RUN))
    subject.start().ready(status=200)
    found = eventually(lambda: links(subject.pid))

    assert dict.fromkeys(closed, "/dev/null") == {number: found[number] for number in closed}
    assert b"" == subject.find("lock").read_bytes()
    subject.signal(signal.SIGTERM)
    assert 0 == subject.wait(5)
    assert subject.ended
    assert "stop signal" == subject.ended["reason"]


@pytest.mark.parametrize("redirections, closed", CLOSED.values(), ids=CLOSED.keys())
def test_a_command_under_exec_has_streams(
    run_exec: RunExec, tmp_path: Path, redirections: str, closed: set[int]
) -> None:
    """
    The command gets /dev/null in place of each closed stream, and its own code is returned.
    """
    listing = tmp_path / "listing"
    script = "import os, sys; names = [os.readlink(f'/proc/self/fd/{n}') for n in (0, 1, 2)]; "
    script += f"open({str(listing)!r}, 'w').write(' '.join(names)); os._exit(7)"
    subject = run_exec(sys.executable, "-c", script, exec_words=without(redirections, EXEC))

    assert 7 == subject.wait()
    found = listing.read_text().split()
    assert all("/dev/null" == found[number] for number in closed)


@pytest.mark.parametrize("words, code", [(("--wrong",), 64), (("status", "--wrong"), 64)])
def test_a_mistake_keeps_its_code(run_exec: RunExec, words: tuple[str, ...], code: int) -> None:
    """
    A wrong command line has its own exit code without any stream to report it on.
    """
    subject = run_exec(*words, exec_words=without(CLOSED["all"][0], EXEC[:3]))

    assert code == subject.wait()


def test_the_settings_are_checked_without_streams(run_exec: RunExec) -> None:
    """
    Invalid settings lead to 78 as always.
    """
    subject = run_exec("true", exec_words=without(CLOSED["all"][0], EXEC), TTL="soon")

    assert 78 == subject.wait()
