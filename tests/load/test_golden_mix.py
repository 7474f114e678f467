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
    Sixty clients of every kind, more than 20,000 requests, 200 changes of endpoints with replicas
    that start slowly, die abruptly and leave politely: no request is lost but what a killed replica
    was executing.  An nginx configured by hand on the same replicas loses some, or this shows
    nothing.
    """
    subject = Supervised(nomad, pid1=False, NGINX_BINARY=nginx, ACCESS_LOG="json", START_WAIT="5s")
    try:
        result = mixed(subject, nginx, tmp_path, changes=CHANGES, gap=GAP, least=REQUESTS)
    finally:
        subject.close()
    print(result)

    assert [] == list(result.ours.faults), result.ours.told
    assert len(result.ours.stood_still) <= REQUESTS // 1000
    assert result.control.faults
    assert [] == result.executed_twice
    assert CHANGES == result.story.changed
    assert len(result.ours.outcomes) >= REQUESTS
    assert len(result.story.kills) > 5
    assert result.story.polite > 20
