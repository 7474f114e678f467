"""
The admin sockets: status, metrics and configuration to read, and requests to change the deadline.

The operator's socket, for the supervisor's user and root, permits everything.  With ADMIN_PORT
there is also the readers' socket, for nginx's workers, which serve the network: it is read-only.
Each client has its own thread, so that a slow client delays no other.
"""

import threading
from collections.abc import Callable

from supervisor.admin.bridge import AdminContext, LoopBridge
from supervisor.admin.defects import Defects
from supervisor.admin.history import History
from supervisor.admin.routes import Routes
from supervisor.admin.server import Server, clear_place, serve
from supervisor.core.commands import Reply
from supervisor.core.events import Event
from supervisor.core.state import State

__all__ = ["Admin", "AdminContext"]

_OPERATOR_SOCKET = "supervisor.sock"
_READERS_SOCKET = "readers.sock"


class Admin:
    """
    Both sockets and the state that they serve.
    """

    def __init__(
        self, context: AdminContext, post: Callable[[Event], None], log: Callable[..., None]
    ) -> None:
        defects = Defects(log)
        self._bridge = LoopBridge(context, post)
        self._history = History(self._bridge)
        routes = Routes(self._bridge, self._history)
        operators, readers = context.folder / _OPERATOR_SOCKET, context.folder / _READERS_SOCKET
        self._servers = [Server(operators, routes.operator_response, defects)]
        clear_place(readers)  # an earlier process may have had an ADMIN_PORT
        if context.admin_port is not None:
            public = Server(readers, routes.public_response, defects, group=context.readers)
            self._servers.append(public)

    def start(self) -> None:
        """Start to accept clients."""
        for server in self._servers:
            threading.Thread(target=serve, args=(server,), name="admin", daemon=True).start()
        if len(self._servers) > 1:  # only the page on ADMIN_PORT draws plots
            self._history.start()

    def restore(self) -> list[str]:
        """Listen again on the sockets that were removed, and return their names."""
        restored = []
        for index, server in enumerate(self._servers):
            if server.is_lost():
                self._servers[index] = server.reopened()
                restored.append(server.path.name)
        return restored

    def publish(self, state: State, now: float) -> None:
        """Serve this state from now on; `now` is its instant on the loop's clock."""
        self._bridge.publish(state, now)

    def reply(self, reply: Reply) -> None:
        """Pass a reply to the thread that waits for it."""
        self._bridge.reply(reply)
