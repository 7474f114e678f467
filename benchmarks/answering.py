"""
Any number of replicas in one small process; each responds with its own address.

It is bound to all addresses and so reachable at every address of 127.0.0.0/8: ten thousand
endpoints are ten thousand addresses and one port.  Run by its path, it prints that port and serves
until stdin is closed.
"""

import selectors
import socket
import sys

_SELECTOR = selectors.DefaultSelector()


def main() -> None:
    """
    Serve in one thread.
    """
    listening = socket.socket()
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.bind(("0.0.0.0", 0))  # noqa: S104 - all loopback addresses
    listening.listen(1024)
    listening.setblocking(False)
    _SELECTOR.register(listening, selectors.EVENT_READ)
    _SELECTOR.register(sys.stdin, selectors.EVENT_READ)
    print(listening.getsockname()[1], flush=True)
    while True:
        for key, _ in _SELECTOR.select():
            if key.fileobj is sys.stdin:
                return
            if key.fileobj is listening:
                _accept(listening)
            elif isinstance(key.fileobj, socket.socket):
                _answer(key.fileobj, key.data)


def _accept(listening: socket.socket) -> None:
    connection, _ = listening.accept()
    body = connection.getsockname()[0].encode()
    reply = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
    _SELECTOR.register(connection, selectors.EVENT_READ, reply)


def _answer(connection: socket.socket, reply: bytes) -> None:
    try:
        if connection.recv(65536):
            connection.sendall(reply)
            return
    except OSError:
        pass  # the peer closed
    _SELECTOR.unregister(connection)
    connection.close()


if __name__ == "__main__":
    main()
