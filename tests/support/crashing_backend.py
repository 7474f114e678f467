"""
A backend that closes its connections at a chosen point and counts the requests it executed.
"""

import time
from collections import Counter
from enum import Enum, auto
from socket import SO_LINGER, SOL_SOCKET, socket
from struct import pack
from typing import Self

from tests.support.listening import Listener
from tests.support.wire import Reply, read_request


class CrashPoint(Enum):
    """
    The point at which the backend closes the connection.
    """

    NEVER = auto()
    ON_CONNECT = auto()
    IN_THE_REQUEST_HEAD = auto()
    AFTER_THE_REQUEST = auto()
    IN_THE_RESPONSE_HEAD = auto()
    IN_THE_RESPONSE_BODY = auto()
    AFTER_THE_RESPONSE = auto()
    RESET = auto()


class CrashingBackend:
    """
    Closes each connection at the crash point; a completely read request counts as executed.
    """

    def __init__(self, crash_point: CrashPoint = CrashPoint.NEVER) -> None:
        self.crash_point = crash_point
        self.executed: Counter[bytes] = Counter()
        self._listener = Listener(("127.0.0.1", 0), self._handle)

    def __enter__(self) -> Self:
        self._listener.open()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()

    @property
    def endpoint(self) -> tuple[str, int]:
        """
        Address and port.
        """
        assert isinstance(self._listener.address, tuple)
        return self._listener.address

    def _handle(self, connection: socket) -> None:
        if self.crash_point is CrashPoint.ON_CONNECT:
            return
        if self.crash_point is CrashPoint.IN_THE_REQUEST_HEAD:
            connection.recv(64)
            return
        with connection.makefile("rb") as stream:
            while request := read_request(stream):
                self.executed[request.body] += 1
                if self.crash_point is CrashPoint.RESET:
                    connection.setsockopt(SOL_SOCKET, SO_LINGER, pack("ii", 1, 0))
                    return
                reply = Reply(200, b"done", {"Content-Length": "4"}).encode()
                if self.crash_point is CrashPoint.AFTER_THE_REQUEST:
                    return
                if self.crash_point is CrashPoint.IN_THE_RESPONSE_HEAD:
                    connection.sendall(reply[:12])
                    return
                if self.crash_point is CrashPoint.IN_THE_RESPONSE_BODY:
                    connection.sendall(reply[:-2])
                    return
                connection.sendall(reply)
                if self.crash_point is CrashPoint.AFTER_THE_RESPONSE:
                    time.sleep(
                        0.001
                    )  # it keeps the connection, then closes it when the next request arrives
                    return


def fill_accept_queue(listening: socket) -> list[socket]:
    """
    Fill the accept queue of a socket: the next connection attempt gets no response.

    To a client this looks like a machine without power.
    """
    listening.bind(("127.0.0.1", 0))
    listening.listen(0)
    fillers = []
    for _ in range(4):
        filler = socket()
        filler.setblocking(False)
        filler.connect_ex(listening.getsockname())
        fillers.append(filler)
    return fillers
