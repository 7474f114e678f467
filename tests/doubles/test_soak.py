import sys

import pytest

from tests.support import nginxes
from tests.support.soak.leaks import leaking
from tests.support.soak.run import soak
from tests.support.soak.samples import COUNTED, HELD

#: The allowed rise of memory in kB in the second half of a short run, which still warms up.
WARMING_UP = 2_000

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("binary", nginxes.BOTH)
def test_L10_changes_and_traffic_lose_no_request_and_leak_nothing(binary: str) -> None:
    """
    With two changes a second, traffic of all kinds, an access log and a Nomad that is unavailable
    twice, no request fails, no other warning is logged, and files, threads, processes and memory
    are flat.  `make soak` does the same for any duration.
    """
    found = soak(20, cycle=9, NGINX_BINARY=binary)

    assert not found.failed, found.last
    assert [] == found.bad
    assert found.reloads >= 10
    assert found.away >= 5
    assert found.logged > found.answered.total() / 2
    assert 6 == len(found.answered)
    assert {} == {s.name: s.judged(found.samples) for s in COUNTED if not s.is_flat(found.samples)}
    assert {} == {
        s.name: s.judged(found.samples) for s in HELD if s.judged(found.samples).risen > WARMING_UP
    }


@pytest.mark.parametrize("leak", ["file", "thread"])
def test_L10_an_injected_leak_is_found(leak: str) -> None:
    """
    A program that leaks a file or a thread with each change is not flat; every other series is.
    """
    found = soak(12, command=leaking(sys.executable, leak))

    grown = {series.name for series in COUNTED if not series.is_flat(found.samples)}
    assert {f"supervisor, {'open files' if leak == 'file' else 'threads'}"} == grown
    assert not found.failed, found.last
