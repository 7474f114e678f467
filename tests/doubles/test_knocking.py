"""
Tests of the client that measures a change for the benchmarks.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from socket import socket

from benchmarks import scene
from tests.support.listening import Listener
from tests.support.waiting import eventually, free_port


class Answering:
    """
    A server whose responses are one address at a time, as a balancer's before and after a change.
    """

    def __init__(self, address: str) -> None:
        self.address = address
        self.total = 0
        self._listener = Listener(("127.0.0.1", 0), self._answer)

    @contextmanager
    def running(self) -> Iterator[int]:
        """Yield its port."""
        self._listener.open()
        assert not isinstance(self._listener.address, Path)
        yield self._listener.address[1]
        self._listener.close()

    def _answer(self, connection: socket) -> None:
        connection.recv(65536)
        connection.sendall(f"HTTP/1.0 200 OK\r\n\r\n{self.address}".encode())
        self.total += 1


def test_it_ends_once_the_old_set_has_not_answered_for_a_while() -> None:
    """
    So a change takes no longer than it must, and a late response of the old set is still seen.
    """
    server = Answering("127.1.0.1")
    with server.running() as port, scene.Client() as client:
        client.begin(port, 30.0, old="127.1.")
        for requests, address in ((300, "127.2.0.1"), (5, "127.1.0.2"), (5, "127.2.0.2")):
            enough = server.total + requests
            eventually(lambda least=enough: server.total > least)
            server.address = address
        found = client.result()

    old = [each.at for each in found if each.answer.startswith("127.1.")]
    assert {"127.1.0.1", "127.2.0.1", "127.1.0.2", "127.2.0.2"} == {each.answer for each in found}
    assert 0.2 < found[-1].at - max(old) < 1.0


def test_it_does_not_end_while_only_the_old_set_answers() -> None:
    """
    A change that is not applied takes the whole time.
    """
    with Answering("127.1.0.1").running() as port, scene.Client() as client:
        client.begin(port, 0.6, old="127.1.")
        found = client.result()

    assert {"127.1.0.1"} == {each.answer for each in found}
    assert 0.5 < found[-1].at - found[0].at


def test_it_does_not_end_while_nothing_answers() -> None:
    """
    Refused connections are no new set.
    """
    with scene.Client() as client:
        client.begin(free_port(), 0.6, old="127.1.")
        found = client.result()

    assert {"refused"} == {each.answer for each in found}
    assert 0.5 < found[-1].at - found[0].at
