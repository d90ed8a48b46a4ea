"""The bulk writer for asyncio; what it decides is in ``bulk.py``."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from types import TracebackType
from typing import TYPE_CHECKING

from grpc import RpcError

from kvnode.client.channels import FRESH_S
from kvnode.client.chunks import Chunk
from kvnode.client.gathering import (
    ENDED,
    BulkFailure,
    BulkLimits,
    Progress,
    gathering,
)
from kvnode.client.levels import Durability
from kvnode.client.operations import Delete, Put
from kvnode.client.rpcs import WRITE_STREAM
from kvnode.client.values import DataType
from kvnode.client.voyages import END_S, Voyage
from kvnode.errors import KvnodeError
from kvnode.v1 import kv_pb2

if TYPE_CHECKING:
    from kvnode.client.calls import Calls
    from kvnode.client.loops import LoopDriver


class AsyncBulk:
    """A bulk writer on an event loop. Use it in an ``async with`` block."""

    def __init__(
        self,
        driver: LoopDriver,
        calls: Calls,
        limits: BulkLimits | None,
        progress: Callable[[Progress], None] | None,
        durability: Durability | None,
        timeout_s: float | None,
    ) -> None:
        self._driver = driver
        self._gathering = gathering(calls, limits, durability, timeout_s, progress)
        self._work = asyncio.Event()
        self._room = asyncio.Condition()
        self._over = False
        self._pump: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        """How far it is."""
        return f"AsyncBulk({self.progress!r})"

    @property
    def progress(self) -> Progress:
        """Counts of operations."""
        return self._gathering.progress

    @property
    def failures(self) -> tuple[BulkFailure, ...]:
        """What failed so far."""
        return tuple(self._gathering.failures)

    async def put(
        self,
        key: bytes | str,
        value: bytes | str,
        *,
        lww: bool = False,
        context: bytes | None = None,
        blind: bool = False,
        ttl: float | None = None,
    ) -> None:
        """As ``AsyncClient.put``; waits for room only."""
        if self._gathering.full:
            await self._wait_for_room()
        if context is None and not blind:
            self._take(self._gathering.put, key, value, lww, ttl)
        else:
            self._take(self._gathering.take, Put(key, value, lww, context, blind, ttl))

    async def increment(
        self,
        key: bytes | str,
        amount: int = 1,
        *,
        type: DataType | None = None,  # noqa: A002 - the proto's name
    ) -> None:
        """As ``AsyncClient.increment``; waits for room only."""
        if self._gathering.full:
            await self._wait_for_room()
        self._take(self._gathering.increment, key, amount, type)

    async def delete(
        self,
        key: bytes | str,
        *,
        type: DataType | None = None,  # noqa: A002 - the proto's name
        context: bytes | None = None,
    ) -> None:
        """As ``AsyncClient.delete``; waits for room only."""
        if self._gathering.full:
            await self._wait_for_room()
        self._take(self._gathering.take, Delete(key, type, context))

    async def flush(self) -> None:
        """Return when all that was taken so far is acknowledged or has failed."""
        taken = self._gathering.flush()
        self._work.set()
        async with self._room:
            await self._room.wait_for(lambda: self._gathering.has_settled(taken) or self._over)
        if not self._gathering.has_settled(taken):
            raise RuntimeError(ENDED)

    async def __aenter__(self) -> AsyncBulk:
        """Start."""
        self._driver.own_loop()
        self._pump = asyncio.create_task(self._write(), name="kvnode-bulk")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Flush; BulkError if anything failed. Left by an exception, what waits is not sent."""
        assert self._pump is not None, "entered"
        try:
            if kind is None:
                await self.flush()
        finally:
            self._pump.cancel()
            (ended,) = await asyncio.gather(self._pump, return_exceptions=True)
        if kind is None and isinstance(ended, Exception):
            raise ended
        if kind is None and self._gathering.failures:
            raise self._gathering.error()

    async def _wait_for_room(self) -> None:
        async with self._room:
            await self._room.wait_for(lambda: not self._gathering.full or self._over)

    def _take(self, take: Callable[..., bool], *asked: object) -> None:
        """``take`` what was asked for."""
        if self._pump is None or self._over:
            raise RuntimeError(ENDED)
        if take(*asked):
            self._work.set()

    async def _write(self) -> None:
        """Write, and whatever ends that: nobody waits for it any more."""
        try:
            await self._run()
        finally:
            self._over = True
            async with self._room:
                self._room.notify_all()

    async def _run(self) -> None:
        """One stream after the other."""
        gathering = self._gathering
        failover = gathering.calls.failover
        while True:
            wait_s = gathering.wait_s()
            if wait_s != 0:
                await self._news(wait_s)
                continue
            deadline = gathering.deadline()
            try:
                endpoint = await self._driver.run(failover.place(deadline, FRESH_S))
                voyage = Voyage(gathering, endpoint)
                passage = Passage(self._driver, voyage, self._work)
            except (KvnodeError, RuntimeError):  # nobody is there, or closed: as any other write
                await self._without_a_stream()
                continue
            try:
                await self._sail(voyage, passage)
            finally:
                await passage.end()

    async def _sail(self, voyage: Voyage, passage: Passage) -> None:
        """Send chunks and take answers until the stream is over; settle what it left open."""
        while True:
            acknowledged = bool(passage.replies)
            while passage.replies:
                voyage.answered(passage.replies.popleft())
            while not passage.ended and voyage.may_send():
                passage.requests.put_nowait(voyage.send())
            if acknowledged:
                await self._told()
            elif passage.ended:
                break
            elif voyage.is_overdue():
                await passage.end()
            elif voyage.is_over():
                passage.requests.put_nowait(None)
                await asyncio.wait([passage.reader], timeout=END_S)
                await passage.end()
            else:
                await self._news(voyage.wait_s())
        try:
            await self._driver.run(voyage.settle(passage.error))
        except RuntimeError as error:  # closed
            voyage.strand(error)
        await self._landed(voyage.unfinished())

    async def _without_a_stream(self) -> None:
        chunk = self._gathering.chunk()
        try:
            await self._driver.run(self._gathering.written(chunk))
        except RuntimeError as error:  # closed
            chunk.flight.strand(error)
        await self._landed([chunk])

    async def _landed(self, chunks: list[Chunk]) -> None:
        for chunk in chunks:
            self._gathering.landed(chunk)
        if chunks:
            await self._told()

    async def _told(self) -> None:
        """Let those go who wait for room or for the end, and tell how far it is."""
        async with self._room:
            self._room.notify_all()
        self._gathering.tell()

    async def _news(self, within_s: float | None) -> None:
        """Wait for an operation, an answer or the time."""
        try:
            async with asyncio.timeout(within_s):
                await self._work.wait()
        except TimeoutError:
            pass
        self._work.clear()


class Passage:
    """The stream of a voyage: what goes in, what comes out, and how it ended."""

    def __init__(self, driver: LoopDriver, voyage: Voyage, news: asyncio.Event) -> None:
        """``news`` is told of what comes out."""
        self.requests: asyncio.Queue[kv_pb2.WriteManyRequest | None] = asyncio.Queue()
        self.replies: deque[kv_pb2.WriteManyResponse] = deque()
        self.ended = False
        self.error: RpcError | None = None
        self._call = driver.both_ways(voyage.endpoint, WRITE_STREAM, self._sent(), voyage.timeout_s)
        self._news = news
        self.reader = asyncio.create_task(self._read(), name="kvnode-bulk-replies")

    async def end(self) -> None:
        """Break it off, if it has not ended."""
        self._call.cancel()
        self.requests.put_nowait(None)
        await self.reader

    async def _sent(self) -> AsyncIterator[kv_pb2.WriteManyRequest]:
        while (request := await self.requests.get()) is not None:
            yield request

    async def _read(self) -> None:
        try:
            async for reply in self._call:
                self.replies.append(reply)
                self._news.set()
        except RpcError as error:
            self.error = error
        except asyncio.CancelledError:  # broken off here: ended without a word
            pass
        finally:
            self.ended = True
            self._news.set()
