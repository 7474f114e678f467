"""
The one queue of the loop.
"""

import signal

from supervisor.core.events import SignalArrived, TimePassed
from supervisor.daemon.inbox import Inbox


def test_P22_equal_signals_that_wait_are_one() -> None:
    """
    However many signals come while the loop is busy, one of each kind waits for it.
    """
    inbox = Inbox()
    for _ in range(50_000):
        inbox.post_signal(signal.SIGHUP)
        inbox.post_signal(signal.SIGTERM)

    assert [
        SignalArrived(signal.SIGHUP),
        SignalArrived(signal.SIGTERM),
        TimePassed(),
    ] == [inbox.next(0) for _ in range(3)]


def test_P22_a_signal_after_one_that_was_taken_counts_again() -> None:
    """
    What comes after the loop took a signal is another one: the last state is never missed.
    """
    inbox = Inbox()
    for _ in range(3):
        inbox.post_signal(signal.SIGTERM)

        assert SignalArrived(signal.SIGTERM) == inbox.next(0)
    assert TimePassed() == inbox.next(0)
