"""
The internal sockets: what the supervisor tells about itself, and what it may be asked to do.

One socket is our own, for who runs as we do: it tells everything, moves the deadline and stops.
The other, where there is an ADMIN_PORT, is for nginx's workers, who are the network: it only tells.
Each client has a thread of its own, so that a slow or silent one delays nobody.
"""

import threading
from collections.abc import Callable

from supervisor.admin.bridge import AdminContext, LoopBridge
from supervisor.admin.history import History
from supervisor.admin.routes import Routes
from supervisor.admin.server import Server
from supervisor.core.commands import Reply
from supervisor.core.events import Event
from supervisor.core.state import State

__all__ = ["Admin", "AdminContext"]

_OWN = "supervisor.sock"
_READERS = "readers.sock"


class Admin:
    """
    Both sockets, and what is behind them.
    """

    def __init__(self, context: AdminContext, post: Callable[[Event], None]) -> None:
        self._bridge = LoopBridge(context, post)
        self._history = History(self._bridge)
        routes = Routes(self._bridge, self._history)
        self._servers = [Server(context.folder / _OWN, routes.operator_response)]
        path = context.folder / _READERS
        path.unlink(missing_ok=True)  # an earlier process may have had an ADMIN_PORT
        if context.is_published:
            self._servers.append(Server(path, routes.public_response, group=context.readers))

    def start(self) -> None:
        """Answer from now on."""
        for server in self._servers:
            threading.Thread(target=server.serve_forever, name="admin", daemon=True).start()
        if len(self._servers) > 1:  # nobody else draws plots
            self._history.start()

    def publish(self, state: State, now: float) -> None:
        """Show this state from now on, which was true at an instant on the loop's clock."""
        self._bridge.publish(state, now)

    def reply(self, reply: Reply) -> None:
        """Hand the answer to who waits for it."""
        self._bridge.reply(reply)
