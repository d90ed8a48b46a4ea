"""Handles of an ``AsyncClient``: those of ``handles.py``, to be awaited."""

from __future__ import annotations

from typing import TYPE_CHECKING, overload

from kvnode.client.handles import as_it_is
from kvnode.client.levels import Consistency, Durability
from kvnode.client.resolving import MISSING, DefaultT, Resolver, check_resolver, wanted
from kvnode.client.updates import TRIES, of_type
from kvnode.client.values import Conflict, DataType, Receipt, Value

if TYPE_CHECKING:
    from uuid import UUID

    from kvnode.client.aio import AsyncClient
    from kvnode.client.updates import Edit


class AsyncCounter:
    """A counter that adds up what all regions add, exactly."""

    def __init__(self, db: AsyncClient, key: bytes | str, *, grow_only: bool) -> None:
        self._db = db
        self.key = key
        self._type = DataType.G_COUNTER if grow_only else DataType.PN_COUNTER

    def __repr__(self) -> str:
        """Its key, and whether it only grows."""
        kind = ", grow_only=True" if self._type is DataType.G_COUNTER else ""
        return f"AsyncCounter({self.key!r}{kind})"

    async def add(
        self,
        amount: int = 1,
        *,
        request_id: bytes | UUID | None = None,
        durability: Durability | None = None,
        timeout_s: float | None = None,
    ) -> Receipt:
        """Add; ``counter`` of the receipt is the sum where it was added."""
        return await self._db.increment(
            self.key,
            amount,
            type=self._type,
            request_id=request_id,
            durability=durability,
            timeout_s=timeout_s,
        )

    async def subtract(
        self,
        amount: int = 1,
        *,
        request_id: bytes | UUID | None = None,
        durability: Durability | None = None,
        timeout_s: float | None = None,
    ) -> Receipt:
        """Take away; a counter that only grows refuses it."""
        return await self.add(
            -amount, request_id=request_id, durability=durability, timeout_s=timeout_s
        )

    async def value(
        self, *, consistency: Consistency | None = None, timeout_s: float | None = None
    ) -> int:
        """The sum; 0 if nothing was ever added. FailedPrecondition if it is no such counter."""
        (state,) = await self._db.batch_get(
            [self.key], consistency=consistency, timeout_s=timeout_s
        )
        found = of_type(state, self._type)
        return found.counter if isinstance(found, Value) else 0

    async def delete(
        self,
        *,
        request_id: bytes | UUID | None = None,
        durability: Durability | None = None,
        timeout_s: float | None = None,
    ) -> Receipt:
        """Take away what the node has seen; what others add meanwhile survives."""
        return await self._db.delete(
            self.key,
            type=self._type,
            request_id=request_id,
            durability=durability,
            timeout_s=timeout_s,
        )


class AsyncRegister:
    """A value of which the last write wins, the same everywhere."""

    def __init__(self, db: AsyncClient, key: bytes | str) -> None:
        self._db = db
        self.key = key

    def __repr__(self) -> str:
        """Its key."""
        return f"AsyncRegister({self.key!r})"

    async def set(
        self,
        value: bytes | str,
        *,
        ttl: float | None = None,
        request_id: bytes | UUID | None = None,
        durability: Durability | None = None,
        timeout_s: float | None = None,
    ) -> Receipt:
        """Store a value; with ``ttl`` it expires after so many seconds."""
        return await self._db.put(
            self.key,
            value,
            lww=True,
            ttl=ttl,
            request_id=request_id,
            durability=durability,
            timeout_s=timeout_s,
        )

    @overload
    async def get(
        self,
        *,
        consistency: Consistency | None = None,
        timeout_s: float | None = None,
    ) -> Value: ...
    @overload
    async def get(
        self,
        *,
        default: DefaultT,
        consistency: Consistency | None = None,
        timeout_s: float | None = None,
    ) -> Value | DefaultT: ...
    async def get(
        self,
        *,
        default: object = MISSING,
        consistency: Consistency | None = None,
        timeout_s: float | None = None,
    ) -> object:
        """The value. KeyNotFound if there is none and no ``default``.

        FailedPrecondition if the key holds only other types, as when it is written.
        """
        (state,) = await self._db.batch_get(
            [self.key], consistency=consistency, timeout_s=timeout_s
        )
        return wanted(of_type(state, DataType.LWW_REGISTER), default, None)

    async def delete(
        self,
        *,
        request_id: bytes | UUID | None = None,
        durability: Durability | None = None,
        timeout_s: float | None = None,
    ) -> Receipt:
        """Remove the value."""
        return await self._db.delete(
            self.key,
            type=DataType.LWW_REGISTER,
            request_id=request_id,
            durability=durability,
            timeout_s=timeout_s,
        )


class AsyncSiblings:
    """A value; where regions wrote at once, all of them until somebody merges them."""

    def __init__(self, db: AsyncClient, key: bytes | str) -> None:
        self._db = db
        self.key = key

    def __repr__(self) -> str:
        """Its key."""
        return f"AsyncSiblings({self.key!r})"

    @overload
    async def get(
        self,
        *,
        consistency: Consistency | None = None,
        timeout_s: float | None = None,
    ) -> Value | Conflict: ...
    @overload
    async def get(
        self,
        *,
        default: DefaultT,
        consistency: Consistency | None = None,
        timeout_s: float | None = None,
    ) -> Value | Conflict | DefaultT: ...
    @overload
    async def get(
        self,
        *,
        resolve: Resolver,
        consistency: Consistency | None = None,
        timeout_s: float | None = None,
    ) -> Value: ...
    @overload
    async def get(
        self,
        *,
        default: DefaultT,
        resolve: Resolver,
        consistency: Consistency | None = None,
        timeout_s: float | None = None,
    ) -> Value | DefaultT: ...
    async def get(
        self,
        *,
        default: object = MISSING,
        resolve: Resolver | None = None,
        consistency: Consistency | None = None,
        timeout_s: float | None = None,
    ) -> object:
        """The value, or all of them unless ``resolve`` makes them one; nothing is written.

        KeyNotFound if there is none and no ``default``. FailedPrecondition if the key holds only
        other types, as when it is written.
        """
        check_resolver(resolve)
        (state,) = await self._db.batch_get(
            [self.key], consistency=consistency, timeout_s=timeout_s
        )
        return wanted(of_type(state, DataType.SIBLINGS), default, resolve)

    async def put(
        self,
        value: bytes | str,
        *,
        context: bytes | None = None,
        ttl: float | None = None,
        request_id: bytes | UUID | None = None,
        durability: Durability | None = None,
        timeout_s: float | None = None,
    ) -> Receipt:
        """Replace what the node holds now, or exactly what ``context`` shows."""
        return await self._db.put(
            self.key,
            value,
            context=context,
            ttl=ttl,
            request_id=request_id,
            durability=durability,
            timeout_s=timeout_s,
        )

    async def add(
        self,
        value: bytes | str,
        *,
        ttl: float | None = None,
        request_id: bytes | UUID | None = None,
        durability: Durability | None = None,
        timeout_s: float | None = None,
    ) -> Receipt:
        """Add a sibling, replacing nothing."""
        return await self._db.put(
            self.key,
            value,
            blind=True,
            ttl=ttl,
            request_id=request_id,
            durability=durability,
            timeout_s=timeout_s,
        )

    async def resolve(
        self,
        resolve: Resolver,
        *,
        ttl: float | None = None,
        durability: Durability | None = None,
        timeout_s: float | None = None,
    ) -> Value:
        """Merge what is there and store that. KeyNotFound if there is nothing.

        It expires after ``ttl`` seconds; without it never, whatever was merged.
        """
        return await self.update(
            as_it_is, resolve=resolve, ttl=ttl, durability=durability, timeout_s=timeout_s
        )

    async def update(
        self,
        change: Edit,
        *,
        resolve: Resolver | None = None,
        ttl: float | None = None,
        tries: int = TRIES,
        durability: Durability | None = None,
        timeout_s: float | None = None,
    ) -> Value:
        """As ``AsyncClient.update``."""
        return await self._db.update(
            self.key,
            change,
            resolve=resolve,
            ttl=ttl,
            tries=tries,
            durability=durability,
            timeout_s=timeout_s,
        )

    async def delete(
        self,
        *,
        context: bytes | None = None,
        request_id: bytes | UUID | None = None,
        durability: Durability | None = None,
        timeout_s: float | None = None,
    ) -> Receipt:
        """Remove what the node holds now, or exactly what ``context`` shows."""
        return await self._db.delete(
            self.key,
            type=DataType.SIBLINGS,
            context=context,
            request_id=request_id,
            durability=durability,
            timeout_s=timeout_s,
        )
