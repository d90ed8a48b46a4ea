"""Faulty TCP links between nodes: one listener for every ordered pair, one fault per direction.

Node A never dials node B itself. It dials the listener of the pair (A, B), which dials B and
carries the bytes. A fault belongs to a *direction of bytes*: on any connection between A and B,
whoever dialed it, what travels from A to B obeys the fault of (A, B), and what travels from B to A
obeys that of (B, A).

Limits, on purpose:

- A TCP connection needs both directions. If either is cut no connection can exist between the two;
  a partition that lets one way through is a ``drop`` of the other way.
- The handshake cannot be withheld by a socket that listens: a connection is always accepted, then
  left hanging while either direction drops, or reset at once while either is cut.
- A delay applies to bytes, not to the handshake.
- Bytes already given to the receiver's side (its kernel buffers, and up to 256 KiB that it is too
  slow to take) are past the fault.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from cluster.connections import Connection, Direction, Pair
from cluster.faults import Counters, Fault, Mode
from cluster.ports import HOST


class Links:
    """The links between ``names``, all passing at first. Lives in one event loop.

    ``listen`` makes the listener for one ordered pair; ``set_fault`` changes a direction.
    """

    def __init__(self, names: Iterable[str]) -> None:
        names = tuple(names)
        pairs = [(a, b) for a in names for b in names if a != b]
        self._directions = {pair: Direction() for pair in pairs}
        self._pairs = {frozenset(pair): Pair() for pair in pairs}
        self._servers: list[asyncio.Server] = []

    async def listen(self, source: str, target: str, target_port: int) -> int:
        """Open the listener by which ``source`` reaches ``target`` and return its port."""
        pair = self._pairs[frozenset((source, target))]
        forth, back = self._directions[source, target], self._directions[target, source]
        server = await asyncio.get_running_loop().create_server(
            lambda: Connection(pair, forth, back, target_port).accepting_side, HOST, 0
        )
        self._servers.append(server)
        return int(server.sockets[0].getsockname()[1])

    def set_fault(self, source: str, target: str, fault: Fault) -> None:
        """Let the bytes from ``source`` to ``target`` obey ``fault`` from now on."""
        self.set_faults([(source, target)], fault)

    def set_faults(self, directions: Iterable[tuple[str, str]], fault: Fault) -> None:
        """``set_fault`` for several directions at the same moment.

        No connection sees some of them changed and others not, and each direction counts its hits.
        """
        affected = [
            (self._directions[names], tuple(self._pairs[frozenset(names)].connections))
            for names in directions
        ]
        once = fault.mode is Mode.RESET
        for direction, connections in affected:
            direction.fault = Fault() if once else fault
            direction.busy_until = 0.0
            if once:
                direction.counters.connections_reset += len(connections)
        for direction, connections in affected:
            for connection in connections:
                if once:
                    connection.reset()
                elif not connection.reset_if_cut():
                    connection.fault_changed(direction)

    def heal(self) -> None:
        """Let everything pass again; what was held flows on."""
        self.set_faults(self.directions, Fault())

    def fault(self, source: str, target: str) -> Fault:
        """What the bytes from ``source`` to ``target`` obey now."""
        return self._directions[source, target].fault

    def counters(self, source: str, target: str) -> Counters:
        """What happened to the bytes from ``source`` to ``target`` so far; a live object."""
        return self._directions[source, target].counters

    @property
    def directions(self) -> tuple[tuple[str, str], ...]:
        """Every ordered pair of nodes."""
        return tuple(self._directions)

    def close(self) -> None:
        """Close all listeners and reset all connections."""
        for server in self._servers:
            server.close()
        for pair in self._pairs.values():
            for connection in tuple(pair.connections):
                connection.reset()
