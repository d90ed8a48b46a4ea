"""Reading page by page: ``scan`` and ``conflicts`` of both clients."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING, Final

from kvnode.client.levels import Consistency
from kvnode.client.operations import refuse
from kvnode.client.values import Conflict, Value
from kvnode.core.errors import Reason

if TYPE_CHECKING:
    from kvnode.client.calls import Calls
    from kvnode.client.loops import LoopDriver
    from kvnode.client.threads import ThreadDriver
    from kvnode.v1 import kv_pb2

DEFAULT_PAGE_KEYS: Final = 1_000


class Pages:
    """What to ask for next, and whether to: the last page has no more keys than are wanted."""

    def __init__(
        self, request: kv_pb2.ScanRequest | kv_pb2.ListConflictsRequest, limit: int | None
    ) -> None:
        self.request = request
        self._page_keys = request.limit
        self._left = checked_limit(limit)
        self.more = self._left != 0
        self._fit()

    def turn(self, keys: int, page_token: bytes) -> None:
        """A page came, with so many keys."""
        if self._left is not None:
            self._left -= keys
        self.request.page_token = page_token
        self.more = bool(page_token) and self._left != 0
        self._fit()

    def _fit(self) -> None:
        if self._left:
            self.request.limit = min(self._page_keys, self._left)


def checked_limit(limit: int | None) -> int | None:
    """How many keys at most; None: all."""
    if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int)):
        raise refuse(Reason.BAD_REQUEST, f"limit {limit!r} is not a number of keys")
    if limit is not None and limit < 0:
        raise refuse(Reason.BAD_REQUEST, f"limit {limit} is less than 0")
    return limit


class Paging:
    """The methods of ``Client``."""

    _calls: Calls
    _driver: ThreadDriver

    def scan(
        self,
        prefix: bytes | str = b"",
        *,
        start: bytes | str = b"",
        end: bytes | str = b"",
        limit: int | None = None,
        page_size: int = DEFAULT_PAGE_KEYS,
        consistency: Consistency | None = None,
        timeout_s: float | None = None,
    ) -> Iterator[Value | Conflict]:
        """The keys with a visible value, ``start`` <= key < ``end``, in key order.

        At most ``limit`` of them; the node is asked for no more. A page is one moment's state; the
        pages of one scan are different moments.
        """
        request = self._calls.scan_request(prefix, start, end, page_size, consistency)
        return self._pages(Pages(request, limit), timeout_s)

    def conflicts(
        self,
        prefix: bytes | str = b"",
        *,
        limit: int | None = None,
        page_size: int = DEFAULT_PAGE_KEYS,
        consistency: Consistency | None = None,
        timeout_s: float | None = None,
    ) -> Iterator[Value | Conflict]:
        """The keys with more than one sibling or more than one type, in key order."""
        request = self._calls.conflicts_request(prefix, page_size, consistency)
        return self._pages(Pages(request, limit), timeout_s)

    def _pages(self, pages: Pages, timeout_s: float | None) -> Iterator[Value | Conflict]:
        while pages.more:
            states, token = self._driver.run(self._calls.page(pages.request, timeout_s))
            yield from states
            pages.turn(len(states), token)


class AsyncPaging:
    """The methods of ``AsyncClient``."""

    _calls: Calls
    _driver: LoopDriver

    def scan(
        self,
        prefix: bytes | str = b"",
        *,
        start: bytes | str = b"",
        end: bytes | str = b"",
        limit: int | None = None,
        page_size: int = DEFAULT_PAGE_KEYS,
        consistency: Consistency | None = None,
        timeout_s: float | None = None,
    ) -> AsyncIterator[Value | Conflict]:
        """As ``Client.scan``."""
        request = self._calls.scan_request(prefix, start, end, page_size, consistency)
        return self._pages(Pages(request, limit), timeout_s)

    def conflicts(
        self,
        prefix: bytes | str = b"",
        *,
        limit: int | None = None,
        page_size: int = DEFAULT_PAGE_KEYS,
        consistency: Consistency | None = None,
        timeout_s: float | None = None,
    ) -> AsyncIterator[Value | Conflict]:
        """As ``Client.conflicts``."""
        request = self._calls.conflicts_request(prefix, page_size, consistency)
        return self._pages(Pages(request, limit), timeout_s)

    async def _pages(
        self, pages: Pages, timeout_s: float | None
    ) -> AsyncIterator[Value | Conflict]:
        while pages.more:
            states, token = await self._driver.run(self._calls.page(pages.request, timeout_s))
            for state in states:
                yield state
            pages.turn(len(states), token)
