from pathlib import Path

import pytest

from tests.support.fake_nomad import FakeNomad
from tests.support.mix.run import mixed
from tests.support.nginxes import BOTH
from tests.support.supervised import Supervised

CHANGES = 200
REQUESTS = 20_000
GAP = 0.2


@pytest.mark.timeout(600)
@pytest.mark.parametrize("nginx", BOTH)
def test_L04_the_golden_mix_loses_nothing(nomad: FakeNomad, tmp_path: Path, nginx: str) -> None:
    """
    Sixty clients, more than 20,000 requests, 200 changes with replicas that start slowly, are
    killed or stop gracefully: only requests that a killed replica was executing are lost.  An nginx
    configured by hand on the same replicas must lose some, or the test proves nothing.
    """
    subject = Supervised(nomad, pid1=False, NGINX_BINARY=nginx, ACCESS_LOG="json", START_WAIT="5s")
    try:
        result = mixed(subject, nginx, tmp_path, changes=CHANGES, gap=GAP, least=REQUESTS)
    finally:
        subject.close()
    print(result)

    assert [] == list(result.ours.faults), result.ours.details
    assert len(result.ours.stood_still) <= REQUESTS // 1000
    assert result.control.faults
    assert [] == result.executed_twice
    assert CHANGES == result.changes.changed
    assert len(result.ours.outcomes) >= REQUESTS
    assert len(result.changes.kills) > 5
    assert result.changes.graceful > 20
