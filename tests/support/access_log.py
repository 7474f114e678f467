"""
The program with its access log on, and the logged requests.
"""

from collections.abc import Callable
from typing import Any

from tests.support.replica import Replica
from tests.support.supervised import Supervised

JSON = {"ACCESS_LOG": "json"}


def start_with_access_log(
    supervise: Callable[..., Supervised], nginx: str, *served: Replica, **options: Any
) -> Supervised:
    """
    Start the program with its access log on, and return it once it serves these replicas.
    """
    subject = supervise(
        **{"pid1": False, "NGINX_BINARY": nginx, "START_WAIT": "5s", **JSON, **options}
    )
    subject.offer(*served)
    subject.ready(status=200)
    if subject.stdout == "read" and "LOG_LEVEL" not in options:
        subject.wait_for_log("reload.applied", mode="serve")
    return subject


def access_lines(subject: Supervised, uri: str) -> list[dict[str, Any]]:
    """
    Return the access log lines for a URI.
    """
    return subject.log_lines("request", uri=uri)
