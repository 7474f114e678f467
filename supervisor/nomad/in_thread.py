"""
One request in a thread of its own, because the loop must not block; the client bounds its duration.
"""

import threading
from collections.abc import Callable

from supervisor.core.events import Event
from supervisor.nomad.errors import NomadError, no_thread_error


def post_outcome(
    name: str,
    ask: Callable[[], Event],
    failed: Callable[[NomadError], Event],
    post: Callable[[Event], None],
) -> None:
    """
    Post the event that `ask` returns from a thread, or that of `failed` after any error.
    """

    def run() -> None:
        try:
            outcome = ask()
        except NomadError as error:
            outcome = failed(error)
        except Exception as error:  # noqa: BLE001 - the balancer continues after any error
            outcome = failed(NomadError(f"internal error: {type(error).__name__}"))
        post(outcome)

    try:
        threading.Thread(target=run, name=name, daemon=True).start()
    except RuntimeError:
        post(failed(no_thread_error()))
