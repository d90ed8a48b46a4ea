"""Two plain TCP servers in the place of nodes, with faulty links between them."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from functools import wraps
from typing import Any, cast

from cluster.faults import Counters
from cluster.links import Links
from cluster.ports import HOST

DEADLINE_S = 60.0


async def until(condition: Callable[[], bool]) -> None:
    """Wait until it holds; fails after the deadline."""
    async with asyncio.timeout(DEADLINE_S):
        while not condition():  # noqa: ASYNC110 (a condition over counters has no event)
            await asyncio.sleep(0.001)


@dataclass
class Peer:
    """One end of a connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    def pause(self) -> None:
        """Take nothing, as a node that is too busy to read."""
        cast(asyncio.Transport, self.writer.transport).pause_reading()

    def resume(self) -> None:
        cast(asyncio.Transport, self.writer.transport).resume_reading()

    async def receive(self, size: int) -> bytes:
        async with asyncio.timeout(DEADLINE_S):
            return await self.reader.readexactly(size)

    async def receive_rest(self) -> bytes:
        async with asyncio.timeout(DEADLINE_S):
            return await self.reader.read()


@dataclass
class Rig:
    """Nodes ``a`` and ``b``, each with a server that keeps its connections in ``accepted``."""

    links: Links = field(default_factory=lambda: Links(["a", "b"]))
    ports: dict[tuple[str, str], int] = field(default_factory=dict)
    servers: dict[str, asyncio.Server] = field(default_factory=dict)
    accepted: dict[str, list[Peer]] = field(default_factory=lambda: {"a": [], "b": []})
    dialed: list[Peer] = field(default_factory=list)

    async def open(self) -> None:
        for node in "ab":
            self.servers[node] = await asyncio.start_server(self._acceptor(node), HOST, 0)
        for source, target in self.links.directions:
            port = self.servers[target].sockets[0].getsockname()[1]
            self.ports[source, target] = await self.links.listen(source, target, port)

    def _acceptor(self, node: str) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], None]:
        return lambda reader, writer: self.accepted[node].append(Peer(reader, writer))

    async def dial(self, source: str = "a", target: str = "b") -> Peer:
        """Connect from ``source`` to the link's listener; the other node may not know of it yet."""
        peer = Peer(*await asyncio.open_connection(HOST, self.ports[source, target]))
        self.dialed.append(peer)
        return peer

    async def connect(self, source: str = "a", target: str = "b") -> tuple[Peer, Peer]:
        """Both ends of a new connection through the link."""
        count = len(self.accepted[target])
        peer = await self.dial(source, target)
        await until(lambda: len(self.accepted[target]) > count)
        return peer, self.accepted[target][-1]

    def counters(self, source: str = "a", target: str = "b") -> Counters:
        return self.links.counters(source, target)

    async def close(self) -> None:
        self.links.close()
        for server in self.servers.values():
            server.close()
        for peer in (*self.dialed, *self.accepted["a"], *self.accepted["b"]):
            peer.writer.transport.abort()
        # What was aborted tells its protocol in the next turns of the loop.
        await until(lambda: all(peer.writer.transport.is_closing() for peer in self.dialed))


def with_rig(test: Callable[[Rig], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    """Run the test in an event loop of its own, with a rig that is closed whatever happens."""

    async def run() -> None:
        rig = Rig()
        await rig.open()
        try:
            await test(rig)
        finally:
            await rig.close()

    @wraps(test)
    def in_loop() -> None:
        asyncio.run(run())

    # pytest would look for a fixture named after the wrapped test's argument.
    del in_loop.__wrapped__
    return in_loop


def reset(peer: Peer) -> None:
    """Close this end with RST, as the kernel does for a process killed with unread bytes."""
    wire = peer.writer.get_extra_info("socket")
    wire.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    peer.writer.transport.abort()
