"""Handles: one key and its type, so that neither has to be said at every call.

A handle sees the values of its type only, whatever else two regions may have put under the key. A
key that holds other types and none of its own is refused with TYPE_CONFLICT, reading and writing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, overload

from kvnode.client.levels import Consistency, Durability
from kvnode.client.resolving import MISSING, DefaultT, Resolver, check_resolver, wanted
from kvnode.client.updates import TRIES, of_type
from kvnode.client.values import Conflict, DataType, Receipt, Value

if TYPE_CHECKING:
    from uuid import UUID

    from kvnode.client.client import Client
    from kvnode.client.updates import Edit


class Counter:
    """A counter that adds up what all regions add, exactly."""

    def __init__(self, db: Client, key: bytes | str, *, grow_only: bool) -> None:
        self._db = db
        self.key = key
        self._type = DataType.G_COUNTER if grow_only else DataType.PN_COUNTER

    def __repr__(self) -> str:
        """Its key, and whether it only grows."""
        kind = ", grow_only=True" if self._type is DataType.G_COUNTER else ""
        return f"Counter({self.key!r}{kind})"

    def add(
        self,
        amount: int = 1,
        *,
        request_id: bytes | UUID | None = None,
        durability: Durability | None = None,
        timeout_s: float | None = None,
    ) -> Receipt:
        """Add; ``counter`` of the receipt is the sum where it was added."""
        return self._db.increment(
            self.key,
            amount,
            type=self._type,
            request_id=request_id,
            durability=durability,
            timeout_s=timeout_s,
        )

    def subtract(
        self,
        amount: int = 1,
        *,
        request_id: bytes | UUID | None = None,
        durability: Durability | None = None,
        timeout_s: float | None = None,
    ) -> Receipt:
        """Take away; a counter that only grows refuses it."""
        return self.add(-amount, request_id=request_id, durability=durability, timeout_s=timeout_s)

    def value(
        self, *, consistency: Consistency | None = None, timeout_s: float | None = None
    ) -> int:
        """The sum; 0 if nothing was ever added. FailedPrecondition if it is no such counter."""
        (state,) = self._db.batch_get([self.key], consistency=consistency, timeout_s=timeout_s)
        found = of_type(state, self._type)
        return found.counter if isinstance(found, Value) else 0

    def delete(
        self,
        *,
        request_id: bytes | UUID | None = None,
        durability: Durability | None = None,
        timeout_s: float | None = None,
    ) -> Receipt:
        """Take away what the node has seen; what others add meanwhile survives."""
        return self._db.delete(
            self.key,
            type=self._type,
            request_id=request_id,
            durability=durability,
            timeout_s=timeout_s,
        )


class Register:
    """A value of which the last write wins, the same everywhere."""

    def __init__(self, db: Client, key: bytes | str) -> None:
        self._db = db
        self.key = key

    def __repr__(self) -> str:
        """Its key."""
        return f"Register({self.key!r})"

    def set(
        self,
        value: bytes | str,
        *,
        ttl: float | None = None,
        request_id: bytes | UUID | None = None,
        durability: Durability | None = None,
        timeout_s: float | None = None,
    ) -> Receipt:
        """Store a value; with ``ttl`` it expires after so many seconds."""
        return self._db.put(
            self.key,
            value,
            lww=True,
            ttl=ttl,
            request_id=request_id,
            durability=durability,
            timeout_s=timeout_s,
        )

    @overload
    def get(
        self,
        *,
        consistency: Consistency | None = None,
        timeout_s: float | None = None,
    ) -> Value: ...
    @overload
    def get(
        self,
        *,
        default: DefaultT,
        consistency: Consistency | None = None,
        timeout_s: float | None = None,
    ) -> Value | DefaultT: ...
    def get(
        self,
        *,
        default: object = MISSING,
        consistency: Consistency | None = None,
        timeout_s: float | None = None,
    ) -> object:
        """The value. KeyNotFound if there is none and no ``default``.

        FailedPrecondition if the key holds only other types, as when it is written.
        """
        (state,) = self._db.batch_get([self.key], consistency=consistency, timeout_s=timeout_s)
        return wanted(of_type(state, DataType.LWW_REGISTER), default, None)

    def delete(
        self,
        *,
        request_id: bytes | UUID | None = None,
        durability: Durability | None = None,
        timeout_s: float | None = None,
    ) -> Receipt:
        """Remove the value."""
        return self._db.delete(
            self.key,
            type=DataType.LWW_REGISTER,
            request_id=request_id,
            durability=durability,
            timeout_s=timeout_s,
        )


class Siblings:
    """A value; where regions wrote at once, all of them until somebody merges them."""

    def __init__(self, db: Client, key: bytes | str) -> None:
        self._db = db
        self.key = key

    def __repr__(self) -> str:
        """Its key."""
        return f"Siblings({self.key!r})"

    @overload
    def get(
        self,
        *,
        consistency: Consistency | None = None,
        timeout_s: float | None = None,
    ) -> Value | Conflict: ...
    @overload
    def get(
        self,
        *,
        default: DefaultT,
        consistency: Consistency | None = None,
        timeout_s: float | None = None,
    ) -> Value | Conflict | DefaultT: ...
    @overload
    def get(
        self,
        *,
        resolve: Resolver,
        consistency: Consistency | None = None,
        timeout_s: float | None = None,
    ) -> Value: ...
    @overload
    def get(
        self,
        *,
        default: DefaultT,
        resolve: Resolver,
        consistency: Consistency | None = None,
        timeout_s: float | None = None,
    ) -> Value | DefaultT: ...
    def get(
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
        (state,) = self._db.batch_get([self.key], consistency=consistency, timeout_s=timeout_s)
        return wanted(of_type(state, DataType.SIBLINGS), default, resolve)

    def put(
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
        return self._db.put(
            self.key,
            value,
            context=context,
            ttl=ttl,
            request_id=request_id,
            durability=durability,
            timeout_s=timeout_s,
        )

    def add(
        self,
        value: bytes | str,
        *,
        ttl: float | None = None,
        request_id: bytes | UUID | None = None,
        durability: Durability | None = None,
        timeout_s: float | None = None,
    ) -> Receipt:
        """Add a sibling, replacing nothing."""
        return self._db.put(
            self.key,
            value,
            blind=True,
            ttl=ttl,
            request_id=request_id,
            durability=durability,
            timeout_s=timeout_s,
        )

    def resolve(
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
        return self.update(
            as_it_is, resolve=resolve, ttl=ttl, durability=durability, timeout_s=timeout_s
        )

    def update(
        self,
        change: Edit,
        *,
        resolve: Resolver | None = None,
        ttl: float | None = None,
        tries: int = TRIES,
        durability: Durability | None = None,
        timeout_s: float | None = None,
    ) -> Value:
        """As ``Client.update``."""
        return self._db.update(
            self.key,
            change,
            resolve=resolve,
            ttl=ttl,
            tries=tries,
            durability=durability,
            timeout_s=timeout_s,
        )

    def delete(
        self,
        *,
        context: bytes | None = None,
        request_id: bytes | UUID | None = None,
        durability: Durability | None = None,
        timeout_s: float | None = None,
    ) -> Receipt:
        """Remove what the node holds now, or exactly what ``context`` shows."""
        return self._db.delete(
            self.key,
            type=DataType.SIBLINGS,
            context=context,
            request_id=request_id,
            durability=durability,
            timeout_s=timeout_s,
        )


def as_it_is(value: bytes | None) -> bytes | None:
    """Merged is changed enough."""
    return value
