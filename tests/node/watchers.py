"""Nodes and readers for the tests of watches: all in one process, nothing between them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from typing import Any

import pytest

from kvnode.config import Config
from kvnode.core.block import decode_block
from kvnode.core.dots import Vector
from kvnode.core.entry import Entry, visible_types
from kvnode.core.errors import Refused
from kvnode.core.operations import Operation
from kvnode.core.replica import Request
from kvnode.node.clocks import now_ms
from kvnode.node.engine import Engine
from kvnode.node.watching import Watching
from kvnode.rpc.kv_codec import KvCodec
from kvnode.rpc.watch_service import WatchService
from kvnode.storage.interfaces import Log
from kvnode.storage.memory import MemoryLog, MemoryState
from kvnode.v1 import types_pb2, watch_pb2

SETTINGS: dict[str, Any] = {"checkpoint_interval_ms": 3_600_000, "watch_wait_ms": 1}
Response = watch_pb2.WatchResponse
Responses = AsyncGenerator[Response]


class Node:
    """An engine with its watches; blocks come when a test brings them."""

    def __init__(self, origin: int, log: Log | None = None, **settings: Any) -> None:
        config = Config(**(SETTINGS | settings))
        self.log = log or MemoryLog()
        self.engine = Engine(config, origin, self.log, MemoryState())
        self.refusal: Refused | None = None
        self.watching = Watching(self.engine, self._check_place)
        self.engine.on_commit = lambda _: self.watching.committed()
        codec = KvCodec(config.token_secret, config.limits, lambda _: "")
        self.codec = codec
        self.service = WatchService(self, self.watching, codec, heartbeat_ms=1)

    @property
    def vector(self) -> Vector:
        return self.engine.vector

    def read(self, key: bytes) -> Entry:
        return self.engine.memtable.read(key)

    def watch(self, prefix: bytes = b"", **fields: Any) -> Responses:
        request = watch_pb2.WatchRequest(prefix=prefix, **fields)
        return self.service.watch(request)

    async def write(self, *operations: Operation) -> Vector:
        """The vector that the batch led to."""
        _, vector = await self.engine.submit(Request(operations), 100)
        return vector

    async def pull(self, other: Node, blocks_max: int = 1_000_000) -> None:
        """Get what the other has."""
        raws, _ = other.log.lacking(self.vector, 1 << 30)
        if raws:
            await self.engine.receive([decode_block(raw) for raw in raws[:blocks_max]])

    def states(self, prefix: bytes = b"") -> dict[bytes, types_pb2.KeyState]:
        """What a reader sees of every key."""
        found: dict[bytes, types_pb2.KeyState] = {}

        def take(key: bytes, entry: Entry) -> bool:
            if key.startswith(prefix) and visible_types(entry, self.now_ms()):
                found[key] = self.codec.state(key, entry, self.now_ms())
            return True

        assert self.engine.memtable.scan(b"", b"", take) is None
        return found

    def now_ms(self) -> int:
        """What its readers take for now."""
        return now_ms(self.engine.replica.durable, self.engine.ambient.wall_ms())

    def _check_place(self) -> None:
        if self.refusal:
            raise self.refusal


def visible(state: types_pb2.KeyState) -> bool:
    return len(state.ListFields()) > 2  # key and context are always there


async def step(responses: Responses) -> Response:
    """All that belongs together, as one response."""
    whole = Response()
    while not whole.token:
        part = await anext(responses)
        whole.MergeFrom(part)
    return whole


async def news(responses: Responses) -> Response:
    """The next step with a change."""
    while True:
        found = await step(responses)
        if found.changes:
            return found


async def refused(responses: AsyncIterator[object]) -> Refused:
    """How the watch ends."""
    with pytest.raises(Refused) as caught:
        async for _ in responses:
            pass
    return caught.value


def keys(response: Response) -> list[bytes]:
    return [change.state.key for change in response.changes]


def run(test: Callable[[], Any]) -> None:
    asyncio.run(asyncio.wait_for(test(), 100))


def small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps and parts of a few changes, so that a short history makes many."""
    for name, size in (("STEP_BYTES", 300), ("STEP_KEYS", 2)):
        monkeypatch.setattr(f"kvnode.node.watching.{name}", size)
    monkeypatch.setattr("kvnode.rpc.watch_service.PART_BYTES", 100)
