"""
The inbox of the loop.
"""

import signal

from supervisor.core.events import SignalArrived, TimePassed
from supervisor.daemon.inbox import Inbox


def test_P22_equal_pending_signals_are_queued_once() -> None:
    """
    While the loop is busy, at most one signal of each kind is queued.
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


def test_P22_a_signal_after_one_that_was_taken_is_queued_again() -> None:
    """
    After the loop has taken a signal, the next one is queued: none after it is missed.
    """
    inbox = Inbox()
    for _ in range(3):
        inbox.post_signal(signal.SIGTERM)

        assert SignalArrived(signal.SIGTERM) == inbox.next(0)
    assert TimePassed() == inbox.next(0)
