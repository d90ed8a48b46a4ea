"""The links between clients and nodes lose replies, and requests are not lost with them."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import suppress

import pytest

from cluster.faults import Fault, Mode
from tests.nemesis.doors import Doors

DEADLINE_S = 60.0
PASS = Fault()


class Node:
    """A server that answers each byte with the same byte, and counts what it was asked."""

    def __init__(self) -> None:
        self._server = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._server.getsockname()[1]}"
        self.asked = threading.Semaphore(0)
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        with suppress(OSError):  # closed, here or by a door
            while True:
                wire, _ = self._server.accept()
                with wire, suppress(OSError):
                    while byte := wire.recv(1):
                        self.asked.release()
                        wire.sendall(byte)

    def close(self) -> None:
        self._server.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._server.close()


@pytest.fixture
def node() -> Iterator[Node]:
    node = Node()
    yield node
    node.close()


@pytest.fixture
def doors(node: Node) -> Iterator[Doors]:
    with Doors({"n1": node.address}) as doors:
        yield doors


@pytest.fixture
def wire(doors: Doors) -> Iterator[socket.socket]:
    """A client's connection that has been used."""
    host, _, port = doors.endpoints["n1"].rpartition(":")
    with socket.create_connection((host, int(port)), DEADLINE_S) as wire:
        wire.sendall(b"a")
        assert wire.recv(1) == b"a"
        yield wire


def test_a_held_reply_is_late(doors: Doors, wire: socket.socket, node: Node) -> None:
    assert node.asked.acquire(timeout=DEADLINE_S)
    doors.set(["n1"], PASS, Fault(Mode.DROP))
    wire.sendall(b"b")
    assert node.asked.acquire(timeout=DEADLINE_S), "the request has to arrive"
    doors.set(["n1"], PASS, PASS)
    assert wire.recv(1) == b"b"


def test_a_reply_is_lost_with_its_connection(doors: Doors, wire: socket.socket, node: Node) -> None:
    assert node.asked.acquire(timeout=DEADLINE_S)
    doors.set(["n1"], PASS, Fault(Mode.DROP))
    wire.sendall(b"b")
    assert node.asked.acquire(timeout=DEADLINE_S), "the request has to arrive"
    doors.set(["n1"], PASS, Fault(Mode.RESET))
    with pytest.raises(ConnectionResetError):
        wire.recv(1)
    assert doors.hits() > 0
