"""
Something that is done again and again beside a test.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress


@contextmanager
def repeated(act: Callable[[], object], every: float) -> Iterator[None]:
    """
    Do something again and again meanwhile; errors are those of a service that has ended.
    """
    done = threading.Event()

    def run() -> None:
        while not done.wait(every):
            with suppress(OSError):
                act()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
