"""The bulk writer for asyncio; what it decides is in ``bulk.py``."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING

from kvnode.client.bulk import BulkFailure, BulkLimits, Progress, gathering
from kvnode.client.levels import Durability
from kvnode.client.operations import Delete, Increment, Operation, Put
from kvnode.client.values import DataType

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
        self._gathering = gathering(calls, limits, durability, timeout_s)
        self._tell = progress
        self._work = asyncio.Event()
        self._room = asyncio.Condition()
        self._pump: asyncio.Task[None] | None = None

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
        await self._take(Put(key, value, lww, context, blind, ttl))

    async def increment(
        self,
        key: bytes | str,
        amount: int = 1,
        *,
        type: DataType | None = None,  # noqa: A002 - the proto's name
    ) -> None:
        """As ``AsyncClient.increment``; waits for room only."""
        await self._take(Increment(key, amount, type))

    async def delete(
        self,
        key: bytes | str,
        *,
        type: DataType | None = None,  # noqa: A002 - the proto's name
        context: bytes | None = None,
    ) -> None:
        """As ``AsyncClient.delete``; waits for room only."""
        await self._take(Delete(key, type, context))

    async def flush(self) -> None:
        """Return when all that was taken so far is acknowledged or has failed."""
        self._gathering.flushing = True
        self._work.set()
        async with self._room:
            await self._room.wait_for(lambda: not self._gathering.progress.waiting)
        self._gathering.flushing = False

    async def __aenter__(self) -> AsyncBulk:
        """Start."""
        self._pump = asyncio.create_task(self._run(), name="kvnode-bulk")
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
            pump, self._pump = self._pump, None
            pump.cancel()
            await asyncio.gather(pump, return_exceptions=True)
        if kind is None and self._gathering.failures:
            raise self._gathering.error()

    async def _take(self, operation: Operation) -> None:
        if self._pump is None:
            raise RuntimeError("a bulk writer works in its with block only")
        if self._gathering.full:
            async with self._room:
                await self._room.wait_for(lambda: not self._gathering.full)
        self._gathering.take(operation)
        self._work.set()

    async def _run(self) -> None:
        """Send chunk after chunk."""
        gathering = self._gathering
        while True:
            wait_s = gathering.wait_s()
            if wait_s != 0:
                self._work.clear()
                try:
                    async with asyncio.timeout(wait_s):
                        await self._work.wait()
                except TimeoutError:
                    pass
                continue
            chunk, flight = gathering.chunk()
            try:
                await self._driver.run(
                    gathering.calls.failover.write(flight.entries, flight.deadline)
                )
            except RuntimeError as error:  # closed
                flight.strand(error)
            gathering.landed(chunk)
            async with self._room:
                self._room.notify_all()
            if self._tell is not None:
                self._tell(gathering.progress)
