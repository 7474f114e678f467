"""
An internal error ends the program at once: half of it left running would be worse.
"""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.injected import inject
from tests.support.replica import Replica
from tests.support.supervised import Supervised
from tests.support.waiting import eventually

Serve = Callable[..., Supervised]
Replicas = Callable[..., list[Replica]]

_BREAKS = {
    "the policy": ("supervisor.core.balancing", "balance"),
    "a thread": ("supervisor.nginx.internal_socket", "read_generation"),
}


@pytest.mark.parametrize("what", _BREAKS)
@pytest.mark.parametrize("pid1", [True, False], ids=["pid1", "plain"])
def test_P20_an_internal_error_is_code_70(
    serve: Serve, replicas: Replicas, tmp_path: Path, what: str, *, pid1: bool
) -> None:
    """
    An exception in the loop or in a thread leads to exit code 70, the reason in the log, and no
    remaining nginx.
    """
    one, two = replicas("one", "two")
    trigger = inject(tmp_path, *_BREAKS[what])
    subject = serve(one, pid1=pid1, PYTHONPATH=str(tmp_path))
    master = subject.nginx_master()
    trigger.touch()
    subject.offer(two)

    assert 70 == subject.wait(10)
    assert any("injected" in str(line) for line in subject.logs)
    eventually(lambda: not runs(master), 5)


def runs(pid: int | None) -> bool:
    """
    Return whether a process exists and is not a zombie that its adopter has not reaped yet.
    """
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
