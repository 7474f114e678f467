"""
The internal sockets: what the supervisor tells about itself, and what it may be asked to do.

One socket is our own, for who runs as we do: it tells everything, moves the deadline and stops.
The other, where there is an ADMIN_PORT, is for nginx's workers, who are the network: it only tells.
Each client has a thread of its own, so that a slow or silent one delays nobody.
"""

import threading
from collections.abc import Callable

from supervisor.admin.bridge import Surroundings, Window
from supervisor.admin.history import Samples
from supervisor.admin.routes import Desk
from supervisor.admin.server import Server
from supervisor.core.commands import Reply
from supervisor.core.events import Event
from supervisor.core.state import State

__all__ = ["Admin", "Surroundings"]

_OWN = "supervisor.sock"
_READERS = "readers.sock"


class Admin:
    """
    Both sockets, and what is behind them.
    """

    def __init__(self, around: Surroundings, post: Callable[[Event], None]) -> None:
        self._window = Window(around, post)
        self._samples = Samples(self._window)
        desk = Desk(self._window, self._samples)
        self._servers = [Server(around.folder / _OWN, desk.own)]
        path = around.folder / _READERS
        path.unlink(missing_ok=True)  # an earlier process may have had an ADMIN_PORT
        if around.is_published:
            self._servers.append(Server(path, desk.read, group=around.readers))

    def start(self) -> None:
        """Answer from now on."""
        for server in self._servers:
            threading.Thread(target=server.serve_forever, name="admin", daemon=True).start()
        if len(self._servers) > 1:  # nobody else draws plots
            self._samples.start()

    def show(self, state: State, now: float) -> None:
        """Show this state from now on, which was true at an instant on the loop's clock."""
        self._window.show(state, now)

    def reply(self, reply: Reply) -> None:
        """Hand the answer to who waits for it."""
        self._window.reply(reply)
