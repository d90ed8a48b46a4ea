"""Real nodes on a test's own event loop: on disk, over gRPC, started and stopped at will."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from cluster.ports import PortReservations
from kvnode.config import Config
from kvnode.core.entry import Entry, encode_entry
from kvnode.core.operations import Operation
from kvnode.core.replica import Request
from kvnode.core.types import PN_COUNTER, SIBLINGS
from kvnode.core.types.slots import value as counter_value
from kvnode.node.node import Node
from kvnode.storage.tailed_log import TailedLog
from tests.storage.faulty import until


class Nodes:
    """Nodes that know each other; each keeps its directory and port when it is started again."""

    def __init__(self, folder: Path, names: str = "abc", **settings: Any) -> None:
        self.running: dict[str, Node] = {}
        self._folder = folder
        self._reservations = PortReservations()
        ports = self._reservations.choose(len(names))
        self._addresses = dict(zip(names, (f"127.0.0.1:{port}" for port in ports), strict=True))
        self._settings = settings

    def __getitem__(self, name: str) -> Node:
        return self.running[name]

    async def start(
        self,
        *names: str,
        before: Callable[[Node], None] = lambda _: None,
        **settings: Any,
    ) -> None:
        """Start nodes, with what they had; ``before`` they meet anybody."""
        for name in names:
            peers = {other: self._addresses[other] for other in self._addresses if other != name}
            config = Config(
                name=name,
                listen=self._addresses[name],
                data=str(self._folder / name),
                peers=peers,
                found=name == min(self._addresses),
                **self._settings | settings,
            )
            self.running[name] = Node(config)
            before(self.running[name])
            await self.running[name].start()

    async def stop(self, *names: str) -> None:
        for name in names:
            await self.running.pop(name).close()

    async def close(self) -> None:
        await self.stop(*self.running)
        self._reservations.close()

    async def write(self, name: str, *operations: Operation) -> None:
        await self[name].membership.wait_serving()
        await self[name].enqueue(Request(operations, secrets.token_bytes(16)), 100)

    def counter(self, name: str, key: bytes) -> int:
        return counter_value(self[name].read(key).get(PN_COUNTER, {}))

    def siblings(self, name: str, key: bytes) -> list[bytes]:
        state = self[name].read(key).get(SIBLINGS)
        return sorted(value for _, value in state[0].values()) if state else []

    def entries(self, name: str) -> dict[bytes, bytes]:
        found: dict[bytes, bytes] = {}

        def take(key: bytes, entry: Entry) -> bool:
            if entry:
                found[key] = encode_entry(entry)
            return True

        assert self[name].entries().scan(b"", b"", take) is None
        return found

    def equal(self, *names: str) -> bool:
        first, *others = names
        return all(self[name].vector == self[first].vector for name in others)

    async def settle(self, *names: str) -> None:
        """Wait until they have the same, and see that they do."""
        await until(lambda: self.equal(*names))
        for name in names:
            assert self.entries(name) == self.entries(names[0]), name
            self[name].engine.replica.check_invariants()

    async def forget_log(self, *names: str) -> None:
        """Let nodes cut all of their logs, as a byte cap would while somebody is away."""
        for name in names:
            engine = self[name].engine
            await engine.checkpoints.flush()
            log = engine.log
            assert isinstance(log, TailedLog)
            while log.first_arrival <= log.last_arrival:
                log.cut(log.last_arrival)


def run(nodes: Nodes, test: Callable[[], Awaitable[None]]) -> None:
    """Run the test on a loop of its own; whatever happens, no node is left."""

    async def whole() -> None:
        try:
            await test()
        finally:
            await nodes.close()

    asyncio.run(asyncio.wait_for(whole(), 100))
