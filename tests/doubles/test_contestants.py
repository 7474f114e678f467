"""
The handwritten configuration that throughput is compared with sends what the generated one sends.
"""

import re

import pytest

from benchmarks.contestants import by_hand, generated
from tests.support.client import get
from tests.support.nginxes import BOTH
from tests.support.replica import Replica


@pytest.mark.slow
@pytest.mark.parametrize("nginx", BOTH)
def test_by_hand_with_the_same_headers(nginx: str) -> None:
    """
    Replicas and clients get the same headers from both; values differ only where they must.
    """
    with (
        Replica("a") as replica,
        generated("generated", nginx, [replica.port]) as ours,
        by_hand("by hand", nginx, [replica.port], same_headers=True) as other,
    ):
        answers = [
            get(each.port, "/headers", headers={"Host": f"127.0.0.1:{each.port}"})
            for each in (ours, other)
        ]
        received, expected = (
            sorted(re.sub(rf"\b{each.port}$|(?<=Request-ID: ).*", "-", line) for line in lines)
            for each, lines in zip(
                (ours, other), (answer.text.splitlines() for answer in answers), strict=True
            )
        )

    assert expected == received
    assert {"X-Request-ID: -", "X-Forwarded-Port: -"} <= set(received)
    assert sorted(answers[0].headers) == sorted(answers[1].headers)
    assert answers[0].headers["Sunset"]
    assert answers[0].headers["Server"] == answers[1].headers["Server"]
