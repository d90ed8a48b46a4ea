"""TCP links between nodes of one process, which can be cut.

Node A reaches node B through a listener of the pair (A, B), which passes the bytes on. While the
pair is cut its connections are closed, and new ones end as soon as they are made, as if B's
machine refused them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

HOST: Final = "127.0.0.1"
CHUNK_BYTES: Final = 64 << 10


class Links:
    """The links between ``names``; ``port_of`` tells where a node listens, None if it does not."""

    def __init__(self, port_of: Callable[[str], int | None]) -> None:
        self._port_of = port_of
        self._cut: set[frozenset[str]] = set()
        self._passing: dict[asyncio.Task[None], frozenset[str]] = {}
        self._servers: list[asyncio.Server] = []

    async def listen(self, source: str, target: str) -> int:
        """Open the listener by which ``source`` reaches ``target``; its port."""

        async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            pair = frozenset((source, target))
            self._passing[task] = pair
            try:
                port = self._port_of(target)
                if pair not in self._cut and port is not None:
                    await pass_on(reader, writer, port)
            except (OSError, asyncio.CancelledError):
                pass  # the other side notices that the connection is gone
            finally:
                del self._passing[task]
                writer.transport.abort()

        server = await asyncio.start_server(accept, HOST, 0)
        self._servers.append(server)
        return int(server.sockets[0].getsockname()[1])

    def cut(self, one: str, other: str) -> None:
        """Let nothing pass between the two."""
        pair = frozenset((one, other))
        self._cut.add(pair)
        for task, passed in list(self._passing.items()):
            if passed == pair:
                task.cancel()

    def heal(self) -> None:
        """Let everything pass."""
        self._cut.clear()

    async def close(self) -> None:
        """Close all listeners and connections."""
        for server in self._servers:
            server.close()
        await asyncio.sleep(0)  # what was accepted just now begins
        while self._passing:
            tasks = list(self._passing)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await asyncio.sleep(0)  # and what was aborted ends


async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, port: int) -> None:
    """Both ways, until either side ends."""
    there_reader, there_writer = await asyncio.open_connection(HOST, port)
    ways = [
        asyncio.create_task(copy(reader, there_writer)),
        asyncio.create_task(copy(there_reader, writer)),
    ]
    try:
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
    finally:
        there_writer.transport.abort()
        for way in ways:
            way.cancel()
        await asyncio.gather(*ways, return_exceptions=True)


async def copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    """One way, until its end."""
    while chunk := await source.read(CHUNK_BYTES):
        target.write(chunk)
        await target.drain()
