"""
A list of endpoints that cannot be served: each reason has its own words and its value.
"""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.replica import Replica
from tests.support.supervised import Supervised

Replicas = Callable[..., list[Replica]]
Supervise = Callable[..., Supervised]

#: A name that no server resolves.
NAMES = "no-such-replica.invalid"


@pytest.mark.parametrize(
    "content, reason",
    [
        ('{"endpoints": ["10.0.0.5:5000"]}\n', 'line 1 is not host:port: \'{"endpoints": '),
        ("# mine\n\n10.0.0.5\n", "line 3 is not host:port: '10.0.0.5'"),
        ("169.254.169.254:80\n", "169.254.169.254 is a special address; set ALLOW_NETWORKS"),
        (f"{NAMES}:80\n", f"cannot resolve the name '{NAMES}'"),
        ("\x00\x01\n\x00\x01\n", "line 1 is not host:port: '\\x00\\x01'; line 2 is not"),
    ],
    ids=["JSON", "no port", "refused", "unresolvable", "binary"],
)
def test_a_file_that_is_no_list_is_reported_with_the_line(
    supervise: Supervise, tmp_path: Path, content: str, reason: str
) -> None:
    """
    The log has the setting, its value and the first line that is wrong.
    """
    path = tmp_path / "endpoints"
    path.write_text(content)
    subject = supervise(pid1=False, ENDPOINTS_FILE=str(path), SERVICE_NAME=None)
    line = subject.wait_for_log("discovery.failed")

    assert line["reason"].startswith("cannot serve ")
    assert f"of ENDPOINTS_FILE='{path}': {reason}" in line["reason"]


def test_a_part_that_is_not_served_is_reported_beside_the_rest(
    supervise: Supervise, replicas: Replicas
) -> None:
    """
    The others serve, and the log line of the list names what is left out.
    """
    (one,) = replicas("one")
    listed = f"127.0.0.1:{one.port},{NAMES}:80,169.254.169.254:80"
    subject = supervise(pid1=False, ENDPOINTS=listed, SERVICE_NAME=None)
    line = subject.wait_for_log("endpoints.changed")

    assert ("warning", 1, 2) == (line["level"], line["endpoints"], line["refused"])
    assert line["reasons"] == [
        f"cannot resolve the name '{NAMES}'",
        "169.254.169.254 is a special address; set ALLOW_NETWORKS to serve it",
    ]
    assert "one" == subject.ready(status=200).text
