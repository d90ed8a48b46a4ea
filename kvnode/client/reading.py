"""Reading: ``get`` and ``batch_get`` of both clients, and what ``paging.py`` adds.

``get_many`` is in ``many.py``, with the writes that go in columns as it does.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, overload

from kvnode.client.levels import Consistency
from kvnode.client.paging import AsyncPaging, Paging
from kvnode.client.resolving import MISSING, DefaultT, Resolver
from kvnode.client.values import Absent, Conflict, Value

if TYPE_CHECKING:
    from kvnode.client.calls import Calls
    from kvnode.client.loops import LoopDriver
    from kvnode.client.threads import ThreadDriver


class Reading(Paging):
    """The methods of ``Client``."""

    _calls: Calls
    _driver: ThreadDriver

    @overload
    def get(
        self,
        key: bytes | str,
        *,
        consistency: Consistency | None = None,
        timeout_s: float | None = None,
    ) -> Value | Conflict: ...
    @overload
    def get(
        self,
        key: bytes | str,
        *,
        default: DefaultT,
        consistency: Consistency | None = None,
        timeout_s: float | None = None,
    ) -> Value | Conflict | DefaultT: ...
    @overload
    def get(
        self,
        key: bytes | str,
        *,
        resolve: Resolver,
        consistency: Consistency | None = None,
        timeout_s: float | None = None,
    ) -> Value: ...
    @overload
    def get(
        self,
        key: bytes | str,
        *,
        default: DefaultT,
        resolve: Resolver,
        consistency: Consistency | None = None,
        timeout_s: float | None = None,
    ) -> Value | DefaultT: ...
    def get(
        self,
        key: bytes | str,
        *,
        default: object = MISSING,
        resolve: Resolver | None = None,
        consistency: Consistency | None = None,
        timeout_s: float | None = None,
    ) -> object:
        """What is under a key: a ``Value``, or a ``Conflict`` unless ``resolve`` makes it one.

        KeyNotFound if that is nothing and there is no ``default``. Nothing is written: ``update``
        does that. ``freshness`` of the result says how old what it shows may be, member by member.
        """
        return self._driver.run(
            self._calls.get(key, default, resolve, consistency, timeout_s=timeout_s)
        )

    def batch_get(
        self,
        keys: Iterable[bytes | str],
        *,
        consistency: Consistency | None = None,
        timeout_s: float | None = None,
    ) -> list[Value | Conflict | Absent]:
        """What is under many keys, in the order asked."""
        return self._driver.run(self._calls.batch_get(keys, consistency, timeout_s=timeout_s))


class AsyncReading(AsyncPaging):
    """The methods of ``AsyncClient``."""

    _calls: Calls
    _driver: LoopDriver

    @overload
    async def get(
        self,
        key: bytes | str,
        *,
        consistency: Consistency | None = None,
        timeout_s: float | None = None,
    ) -> Value | Conflict: ...
    @overload
    async def get(
        self,
        key: bytes | str,
        *,
        default: DefaultT,
        consistency: Consistency | None = None,
        timeout_s: float | None = None,
    ) -> Value | Conflict | DefaultT: ...
    @overload
    async def get(
        self,
        key: bytes | str,
        *,
        resolve: Resolver,
        consistency: Consistency | None = None,
        timeout_s: float | None = None,
    ) -> Value: ...
    @overload
    async def get(
        self,
        key: bytes | str,
        *,
        default: DefaultT,
        resolve: Resolver,
        consistency: Consistency | None = None,
        timeout_s: float | None = None,
    ) -> Value | DefaultT: ...
    async def get(
        self,
        key: bytes | str,
        *,
        default: object = MISSING,
        resolve: Resolver | None = None,
        consistency: Consistency | None = None,
        timeout_s: float | None = None,
    ) -> object:
        """What is under a key: a ``Value``, or a ``Conflict`` unless ``resolve`` makes it one.

        KeyNotFound if that is nothing and there is no ``default``. Nothing is written: ``update``
        does that. ``freshness`` of the result says how old what it shows may be, member by member.
        """
        return await self._driver.run(
            self._calls.get(key, default, resolve, consistency, timeout_s=timeout_s)
        )

    async def batch_get(
        self,
        keys: Iterable[bytes | str],
        *,
        consistency: Consistency | None = None,
        timeout_s: float | None = None,
    ) -> list[Value | Conflict | Absent]:
        """What is under many keys, in the order asked."""
        return await self._driver.run(self._calls.batch_get(keys, consistency, timeout_s=timeout_s))
