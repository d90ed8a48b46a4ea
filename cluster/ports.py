"""Ports that stay a node's own across its restarts.

A port from the kernel's ephemeral range would not do: while its node is down, any outgoing
connection of the machine may take it. So ports come from below that range, and each is reserved
against other clusters as long as this process lives.
"""

from __future__ import annotations

import random
import socket
import sys
from collections.abc import Iterable
from typing import Final

HOST: Final = "127.0.0.1"
PORT_FIRST: Final = 10_000
PORT_LAST: Final = 29_999
"""Inclusive. Linux hands out ephemeral ports from 32768 on."""


class NoPort(Exception):
    """No port of the range is free."""


class PortReservations:
    """Ports chosen by this process."""

    def __init__(self) -> None:
        self._held: list[socket.socket] = []
        self._chosen: set[int] = set()

    def choose(self, count: int, first: int | None = None) -> list[int]:
        """``count`` free ports: from ``first`` upwards, or at random places of the range.

        Raises ``NoPort`` when the range is exhausted.
        """
        candidates: Iterable[int]
        if first is None:
            candidates = random.sample(range(PORT_FIRST, PORT_LAST + 1), k=2000)
        else:
            candidates = range(first, PORT_LAST + 1)
        ports: list[int] = []
        for port in candidates:
            if len(ports) == count:
                break
            if port not in self._chosen and self._reserve(port):
                ports.append(port)
        if len(ports) < count:
            raise NoPort(f"found {len(ports)} free ports of {count} on {HOST}")
        self._chosen.update(ports)
        return ports

    def _reserve(self, port: int) -> bool:
        with socket.socket() as probe:
            # As a server would bind: connections in TIME_WAIT do not count, listeners do.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
            except OSError:
                return False
        if sys.platform != "linux":
            return True
        # An abstract socket is a lock by name that the kernel drops with the process.
        name = socket.socket(socket.AF_UNIX)
        try:
            name.bind(f"\0kvnode-cluster-port-{port}")
        except OSError:
            name.close()
            return False
        self._held.append(name)
        return True

    def close(self) -> None:
        """Give the ports up."""
        for name in self._held:
            name.close()
        self._held.clear()
        self._chosen.clear()
