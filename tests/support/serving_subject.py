"""
The program under test in its steady state: it serves and waits for changes in discovery.
"""

from collections.abc import Callable

from tests.support.replica import Replica
from tests.support.supervised import Supervised
from tests.support.waiting import eventually


def start_serving(
    supervise: Callable[..., Supervised], replica: Replica, **options: str
) -> Supervised:
    """
    Start the program; return it once it serves one replica and its blocking query is open.
    """
    # On a busy machine, too, the first configuration must contain the replica.
    patient = {"START_WAIT": "5s", **options}
    subject = supervise(pid1=False, LOG_LEVEL="debug", **patient)
    subject.offer(replica)
    assert replica.name == subject.ready(status=200).text
    subject.wait_for_log("reload.applied", mode="serve")
    eventually(lambda: subject.nomad.blocked)
    return subject
