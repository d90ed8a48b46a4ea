"""The client for asyncio: the same names, arguments and exceptions as ``Client``.

>>> async with AsyncClient("127.0.0.1:7080,127.0.0.1:7081") as db:
...     await db.put("user:1", "Ada")
...     await db.counter("visits").add(1)
...     async for found in db.scan("user:"):
...         print(found.key)

Tasks that call at once share calls: ``asyncio.gather`` of a hundred puts is one call.
A client belongs to the event loop that used it first. A task that is cancelled while it waits for
a write leaves the write's outcome open, as a lost reply does.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING
from uuid import UUID

from kvnode.client.aio_bulk import AsyncBulk
from kvnode.client.aio_handles import AsyncCounter, AsyncRegister, AsyncSiblings
from kvnode.client.batch import AsyncBatch
from kvnode.client.calls import Calls, failover_of
from kvnode.client.dialling import Folder
from kvnode.client.gathering import BulkLimits, Progress
from kvnode.client.levels import Consistency, Durability
from kvnode.client.loops import LoopDriver
from kvnode.client.many import AsyncMany
from kvnode.client.operations import Operation
from kvnode.client.reading import AsyncReading
from kvnode.client.receipts import batch_receipt_of
from kvnode.client.resolving import Resolver
from kvnode.client.sessions import Session
from kvnode.client.settings import (
    DEFAULT_ENDPOINT,
    DEFAULT_TIMEOUT_S,
    HEARTBEAT_S,
    PATIENCE_S,
    settings_of,
)
from kvnode.client.updates import TRIES, Edit, update
from kvnode.client.values import BatchReceipt, DataType, Outcome, Receipt, Value
from kvnode.errors import OutcomeUnknown

if TYPE_CHECKING:
    from kvnode.client.admin import AsyncAdmin
    from kvnode.client.watching import AsyncWatch


class AsyncClient(AsyncReading, AsyncMany):
    """A connection to a kvnode cluster, for one event loop. See ``Client`` for what it promises.

    A write that got no reply until its deadline raises ``OutcomeUnknown``::

        try:
            await client.put("user:1", "Ada")
        except OutcomeUnknown as error:
            async with AsyncClient(error.endpoint) as same:
                receipt = await same.put("user:1", "Ada", request_id=error.request_id)
    """

    def __init__(
        self,
        endpoints: str | Sequence[str] = DEFAULT_ENDPOINT,
        *,
        timeout_s: float = DEFAULT_TIMEOUT_S,
        durability: Durability = "fsync",
        consistency: Consistency | None = None,
        session: Session | bool = False,
        tls: Folder | None = None,
    ) -> None:
        settings = settings_of(timeout_s, durability, consistency, session)
        failover = failover_of(endpoints, time.monotonic, tls)
        self._calls = Calls(failover, settings)
        self._driver = LoopDriver(failover)

    def __repr__(self) -> str:
        """Its endpoints."""
        return f"AsyncClient({','.join(self.endpoints)!r})"

    @property
    def endpoints(self) -> tuple[str, ...]:
        """The addresses this client knows, in the order given."""
        return self._calls.failover.addresses

    @property
    def admin(self) -> AsyncAdmin:
        """What operators ask of a node."""
        from kvnode.client.admin import AsyncAdmin

        return AsyncAdmin(self._driver, self._calls)

    async def close(self) -> None:
        """End calls, watches and connections. Later calls raise RuntimeError."""
        await self._driver.close()

    async def __aenter__(self) -> AsyncClient:
        """The client itself."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the connections."""
        await self.close()

    # ---- writing

    async def put(
        self,
        key: bytes | str,
        value: bytes | str,
        *,
        lww: bool = False,
        context: bytes | None = None,
        blind: bool = False,
        ttl: float | None = None,
        request_id: bytes | UUID | None = None,
        durability: Durability | None = None,
        timeout_s: float | None = None,
    ) -> Receipt:
        """Store a value: replacing what the node holds now, what ``context`` shows, or nothing.

        With ``ttl`` it expires so many seconds after the node took it. ``request_id``: of a client
        with one endpoint only.
        """
        entry = self._calls.put(
            key,
            value,
            lww=lww,
            context=context,
            blind=blind,
            ttl=ttl,
            request_id=request_id,
            durability=durability,
            timeout_s=timeout_s,
        )
        await self._driver.submit(entry)
        return self._calls.receipt_of_one(entry)

    async def delete(
        self,
        key: bytes | str,
        *,
        type: DataType | None = None,  # noqa: A002 - the proto's name
        context: bytes | None = None,
        request_id: bytes | UUID | None = None,
        durability: Durability | None = None,
        timeout_s: float | None = None,
    ) -> Receipt:
        """Remove what the node holds now, or exactly what ``context`` shows."""
        entry = self._calls.delete(key, type, context, request_id, durability, timeout_s)
        await self._driver.submit(entry)
        return self._calls.receipt_of_one(entry)

    async def increment(
        self,
        key: bytes | str,
        amount: int = 1,
        *,
        type: DataType | None = None,  # noqa: A002 - the proto's name
        request_id: bytes | UUID | None = None,
        durability: Durability | None = None,
        timeout_s: float | None = None,
    ) -> Receipt:
        """Add to a counter; ``counter`` of the receipt is the sum at the node that took it.

        ``request_id``: of a client with one endpoint only.
        """
        entry = self._calls.increment(key, amount, type, request_id, durability, timeout_s)
        await self._driver.submit(entry)
        return self._calls.receipt_of_one(entry)

    async def write(
        self,
        operations: Iterable[Operation],
        *,
        request_id: bytes | UUID | None = None,
        durability: Durability | None = None,
        timeout_s: float | None = None,
    ) -> BatchReceipt:
        """All operations or none, seen whole or not at all on every replica.

        ``request_id``: of a client with one endpoint only.
        """
        entry = self._calls.batch(operations, request_id, durability, timeout_s)
        await self._driver.submit(entry)
        return self._calls.receipt(entry, batch_receipt_of)

    async def update(
        self,
        key: bytes | str,
        change: Edit,
        *,
        resolve: Resolver | None = None,
        ttl: float | None = None,
        tries: int = TRIES,
        durability: Durability | None = None,
        timeout_s: float | None = None,
    ) -> Value:
        """Replace what was read by what ``change`` makes of it (of None, if there is nothing).

        It replaces exactly what it has read. Where another write came between, both are kept as
        siblings: then ``resolve`` makes one of them, up to ``tries`` times; without it, or if that
        is not enough, ConflictError. ``change`` is a plain function and runs once. If it returns
        None all stays as it is, and so it does if that is what was read and there is no ``ttl``.

        What is written expires after ``ttl`` seconds; without it never, whatever was read.
        """
        return await self._driver.run(
            update(self._calls, key, change, resolve, ttl, tries, durability, timeout_s)
        )

    def batch(
        self,
        *,
        request_id: bytes | UUID | None = None,
        durability: Durability | None = None,
        timeout_s: float | None = None,
    ) -> AsyncBatch:
        """Collects operations in a ``with`` block, and writes them at its end, all or none.

        ``request_id``: of a client with one endpoint only.
        """
        given = None if request_id is None else self._calls.request_id(request_id)
        return AsyncBatch(
            lambda operations: self.write(
                operations, request_id=given, durability=durability, timeout_s=timeout_s
            )
        )

    def bulk(
        self,
        *,
        limits: BulkLimits | None = None,
        progress: Callable[[Progress], None] | None = None,
        durability: Durability | None = None,
        timeout_s: float | None = None,
    ) -> AsyncBulk:
        """Writes many independent operations in order, as fast as the node takes them."""
        return AsyncBulk(self._driver, self._calls, limits, progress, durability, timeout_s)

    def watch(
        self,
        *,
        prefix: bytes | str = b"",
        since: bytes | None = None,
        patience_s: float = PATIENCE_S,
        heartbeat_s: float = HEARTBEAT_S,
        on_waiting: Callable[[str], None] | None = None,
    ) -> AsyncWatch:
        """Every change from now on, behind a token, or with ``BEGINNING`` of all there is.

        The arguments are those of ``AsyncWatch``. It ends with the client.
        """
        from kvnode.client.watching import AsyncWatch

        watch = AsyncWatch(
            self.endpoints,
            prefix=prefix,
            since=since,
            patience_s=patience_s,
            heartbeat_s=heartbeat_s,
            on_waiting=on_waiting,
            tls=self._calls.failover.dialler.tls,
        )
        self._driver.own(watch)
        return watch

    # ---- views

    def session(self, token: bytes = b"") -> AsyncClient:
        """This client, in a session of its own: a new one, or one that goes on from a token."""
        settings = self._calls.settings
        level = "session" if settings.consistency == "local" else settings.consistency
        settings = replace(settings, session=Session(token), consistency=level)
        return _View(self._driver, Calls(self._calls.failover, settings))

    @property
    def token(self) -> bytes:
        """All that the session has seen, for ``session`` of any client; empty without one."""
        session = self._calls.settings.session
        return session.token if session else b""

    def counter(self, key: bytes | str, *, grow_only: bool = False) -> AsyncCounter:
        """A handle of one counter."""
        return AsyncCounter(self, key, grow_only=grow_only)

    def register(self, key: bytes | str) -> AsyncRegister:
        """A handle of one register, of which the last write wins."""
        return AsyncRegister(self, key)

    def siblings(self, key: bytes | str) -> AsyncSiblings:
        """A handle of one key whose concurrent values are all kept."""
        return AsyncSiblings(self, key)

    # ---- afterwards

    async def outcome(
        self, unknown: OutcomeUnknown | bytes | UUID, *, timeout_s: float | None = None
    ) -> Outcome | None:
        """What became of a write whose reply was lost; its error or its request id says which.

        None: no endpoint knows of it now. Where it was sent to it may still be on its way, and
        elsewhere it may arrive.
        """
        return await self._driver.run(self._calls.outcome(unknown, timeout_s))


class _View(AsyncClient):
    """A client that shares the connections of another."""

    def __init__(self, driver: LoopDriver, calls: Calls) -> None:
        self._driver = driver
        self._calls = calls

    def __repr__(self) -> str:
        """As it can be made."""
        return f"{super().__repr__()}.session({self.token!r})"

    async def close(self) -> None:
        """The connections are the other's."""
