"""
The workers that a reload replaces: they stop accepting as soon as a new worker has answered.

nginx's master starts new workers and then sleeps for 100 ms before it sends the old ones SIGQUIT
("allow new processes to start" in ngx_process_cycle.c).  They accept new connections all that time
and send them to endpoints that are gone.  The same signal may come earlier, from us: connections
that wait in the accept queue, which all workers share, are taken by the new ones, and the master
respawns no worker that exits during its sleep.  A second SIGQUIT changes nothing.
"""

import os
import signal
from contextlib import suppress

from supervisor.nginx import workers


class OldWorkers:
    """
    The workers that a master had at its last reload.  Used by one thread only.

    A process is held by a descriptor, so that a signal never reaches another one with its number.
    """

    def __init__(self) -> None:
        self._descriptors: list[int] = []

    def remember(self, master: int) -> None:
        """Hold the workers that a master has now; a kernel that cannot do that holds none."""
        self._forget()
        held = {}
        for pid in workers.children(master):
            with suppress(OSError):
                held[pid] = os.pidfd_open(pid)
        still = frozenset(workers.children(master))
        for pid, descriptor in held.items():
            if pid in still:
                self._descriptors.append(descriptor)
            else:  # it has exited, and its number may belong to another process
                os.close(descriptor)

    def quit(self) -> None:
        """Send SIGQUIT to the workers held: they finish their requests and exit."""
        for descriptor in self._descriptors:
            with suppress(OSError):
                signal.pidfd_send_signal(descriptor, signal.SIGQUIT)
        self._forget()

    def _forget(self) -> None:
        for descriptor in self._descriptors:
            os.close(descriptor)
        self._descriptors = []
