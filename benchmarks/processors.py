"""
Assigns processes to processors.

The measured program gets one processor for itself, the load generator and the servers get the
others.  So the measured program is the bottleneck, and the result is its cost per request.
"""

import contextlib
import os
from collections.abc import Iterator

_ALL = sorted(os.sched_getaffinity(0))

#: One processor, if there are two or more.
MEASURED = set(_ALL[:1])
OTHERS = set(_ALL[1:]) or MEASURED


@contextlib.contextmanager
def on(processors: set[int]) -> Iterator[None]:
    """
    Restrict processes started in this context to these processors.
    """
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, processors)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
