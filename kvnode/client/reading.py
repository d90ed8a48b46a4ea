"""Reading: ``get``, ``batch_get``, ``scan`` and ``conflicts`` of both clients.

``get_many`` is in ``many.py``, with the writes that go in columns as it does.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator
from typing import TYPE_CHECKING, overload

from kvnode.client.calls import DEFAULT_PAGE_KEYS
from kvnode.client.levels import Consistency
from kvnode.client.resolving import MISSING, DefaultT, Resolver
from kvnode.client.values import Absent, Conflict, Value
from kvnode.v1 import kv_pb2

if TYPE_CHECKING:
    from kvnode.client.calls import Calls
    from kvnode.client.loops import LoopDriver
    from kvnode.client.threads import ThreadDriver


class Reading:
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

    def scan(
        self,
        *,
        prefix: bytes | str = b"",
        start: bytes | str = b"",
        end: bytes | str = b"",
        page_size: int = DEFAULT_PAGE_KEYS,
        consistency: Consistency | None = None,
        timeout_s: float | None = None,
    ) -> Iterator[Value | Conflict]:
        """The keys with a visible value, ``start`` <= key < ``end``, in key order.

        A page is one moment's state; the pages of one scan are different moments.
        """
        request = self._calls.scan_request(prefix, start, end, page_size, consistency)
        return self._pages(request, timeout_s)

    def conflicts(
        self,
        *,
        prefix: bytes | str = b"",
        page_size: int = DEFAULT_PAGE_KEYS,
        consistency: Consistency | None = None,
        timeout_s: float | None = None,
    ) -> Iterator[Value | Conflict]:
        """The keys with more than one sibling or more than one type, in key order."""
        request = self._calls.conflicts_request(prefix, page_size, consistency)
        return self._pages(request, timeout_s)

    def _pages(
        self, request: kv_pb2.ScanRequest | kv_pb2.ListConflictsRequest, timeout_s: float | None
    ) -> Iterator[Value | Conflict]:
        """The keys of all pages."""
        while True:
            states, request.page_token = self._driver.run(self._calls.page(request, timeout_s))
            yield from states
            if not request.page_token:
                return


class AsyncReading:
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

    def scan(
        self,
        *,
        prefix: bytes | str = b"",
        start: bytes | str = b"",
        end: bytes | str = b"",
        page_size: int = DEFAULT_PAGE_KEYS,
        consistency: Consistency | None = None,
        timeout_s: float | None = None,
    ) -> AsyncIterator[Value | Conflict]:
        """The keys with a visible value, ``start`` <= key < ``end``, in key order.

        A page is one moment's state; the pages of one scan are different moments.
        """
        request = self._calls.scan_request(prefix, start, end, page_size, consistency)
        return self._pages(request, timeout_s)

    def conflicts(
        self,
        *,
        prefix: bytes | str = b"",
        page_size: int = DEFAULT_PAGE_KEYS,
        consistency: Consistency | None = None,
        timeout_s: float | None = None,
    ) -> AsyncIterator[Value | Conflict]:
        """The keys with more than one sibling or more than one type, in key order."""
        request = self._calls.conflicts_request(prefix, page_size, consistency)
        return self._pages(request, timeout_s)

    async def _pages(
        self, request: kv_pb2.ScanRequest | kv_pb2.ListConflictsRequest, timeout_s: float | None
    ) -> AsyncIterator[Value | Conflict]:
        """The keys of all pages."""
        while True:
            states, request.page_token = await self._driver.run(
                self._calls.page(request, timeout_s)
            )
            for state in states:
                yield state
            if not request.page_token:
                return
