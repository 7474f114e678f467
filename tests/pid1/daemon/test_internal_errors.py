"""
A defect of our own ends the program at once and says so: half of it left running would be worse.
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
    "the policy": "import supervisor.core.balancing as place\nplace.balance",
    "a thread": "import supervisor.nginx.internal_socket as place\nplace.read_generation",
}


@pytest.mark.parametrize("what", _BREAKS)
@pytest.mark.parametrize("pid1", [True, False], ids=["pid1", "plain"])
def test_P20_a_defect_is_code_70(
    serve: Serve, replicas: Replicas, tmp_path: Path, what: str, *, pid1: bool
) -> None:
    """
    Whether the loop or a thread meets it, the code is 70, the reason is told, and no nginx stays.
    """
    one, two = replicas("one", "two")
    trigger = tmp_path / "now"
    place = _BREAKS[what]
    name = place.rpartition(".")[2]
    (tmp_path / "sitecustomize.py").write_text(
        f"import os, sys\nif 'supervisor' in ' '.join(sys.orig_argv):\n"
        f"    {place.partition(chr(10))[0]}\n    whole = place.{name}\n"
        f"    def broken(*given, **named):\n"
        f"        if os.path.exists({str(trigger)!r}):\n            raise KeyError('a defect')\n"
        f"        return whole(*given, **named)\n    place.{name} = broken\n"
    )
    subject = serve(one, pid1=pid1, PYTHONPATH=str(tmp_path))
    master = subject.nginx_master()
    trigger.touch()
    subject.offer(two)

    assert 70 == subject.wait(10)
    assert any("a defect" in str(line) for line in subject.logs)
    eventually(lambda: not runs(master), 5)


def runs(pid: int | None) -> bool:
    """
    Tell whether a process is there, and no zombie that whoever adopted it has not buried yet.
    """
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
