"""
An internal error ends the program at once: half of it left running would be worse.
"""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.replica import Replica
from tests.support.supervised import Supervised
from tests.support.waiting import eventually

Serve = Callable[..., Supervised]
Replicas = Callable[..., list[Replica]]

_BREAKS = {
    "the policy": "import supervisor.core.balancing as module\nmodule.balance",
    "a thread": "import supervisor.nginx.internal_socket as module\nmodule.read_generation",
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
    trigger = tmp_path / "now"
    target = _BREAKS[what]
    name = target.rpartition(".")[2]
    (tmp_path / "sitecustomize.py").write_text(
        f"import os, sys\nif 'supervisor' in ' '.join(sys.orig_argv):\n"
        f"    {target.partition(chr(10))[0]}\n    whole = module.{name}\n"
        f"    def broken(*args, **kwargs):\n"
        f"        if os.path.exists({str(trigger)!r}):\n            raise KeyError('injected')\n"
        f"        return whole(*args, **kwargs)\n    module.{name} = broken\n"
    )
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
