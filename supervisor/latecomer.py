"""
A start past the deadline: nothing is opened and nothing started.

It has its words to say and, where the job should end with us, one question to ask; that one is
waited for, but never longer than `jobstop.LATE`.
"""

import queue

from supervisor import policy
from supervisor.events import Event, TimePassed
from supervisor.jobstop import LATE
from supervisor.logs import Log
from supervisor.orders import AskJobStop, Exit, Note, Order
from supervisor.settings import Settings
from supervisor.stopper import Stopper


def attend(settings: Settings, orders: list[Order], log: Log) -> Exit:
    """
    Perform the orders of such a start, and return the last of them.
    """
    *first, last = orders
    assert isinstance(last, Exit)
    for order in first:
        notes = [order] if isinstance(order, Note) else []
        if isinstance(order, AskJobStop):
            notes = policy.heard_late(settings, _ask(settings, log))
        for said in notes:
            log.say(said.event, said.level, **said.fields)
    return last


def _ask(settings: Settings, log: Log) -> Event:
    answers: queue.SimpleQueue[Event] = queue.SimpleQueue()
    Stopper(settings, answers.put, log.hide).ask()
    try:
        return answers.get(timeout=LATE)
    except queue.Empty:
        return TimePassed()
