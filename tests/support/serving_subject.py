"""
The program under test at the point where discovery becomes interesting: all is well, and it waits.
"""

from collections.abc import Callable

from tests.support.replica import Replica
from tests.support.supervised import Supervised
from tests.support.waiting import eventually


def start_serving(
    supervise: Callable[..., Supervised], replica: Replica, **options: str
) -> Supervised:
    """
    Return the program, serving one replica, with the query for changes open.
    """
    # However busy the machine is, the first configuration is the one with the replica in it.
    patient = {"START_WAIT": "5s", **options}
    subject = supervise(pid1=False, LOG_LEVEL="debug", **patient)
    subject.offer(replica)
    assert replica.name == subject.ready(status=200).text
    subject.wait_for_log("reload.applied", mode="serve")
    eventually(lambda: subject.nomad.blocked)
    return subject
