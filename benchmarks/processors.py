"""
Who runs on which processor.

What is measured gets one for itself, and whoever loads it and answers it the others: then it is
the one that has no more to give, and what it takes per request is what is seen.
"""

import contextlib
import os
from collections.abc import Iterator

_ALL = sorted(os.sched_getaffinity(0))

#: One processor, where there are two or more.
MEASURED = set(_ALL[:1])
OTHERS = set(_ALL[1:]) or MEASURED


@contextlib.contextmanager
def on(processors: set[int]) -> Iterator[None]:
    """
    Let what is started here run on these processors only.
    """
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, processors)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
