"""Many keys in columns: ``put_many``, ``increment_many`` and ``get_many`` of both clients.

The writes are atomic batches of alike operations: as ``write``, but nothing is made for each
operation on the way there (``columns.py``) and none is told of by itself in the answer. For 100
small writes that was most of the time. The read is as ``batch_get``, but told are values alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING
from uuid import UUID

from kvnode.client.columns import (
    KeyT,
    increment_columns,
    increments_request,
    put_columns,
    puts_request,
)
from kvnode.client.levels import Consistency, Durability
from kvnode.client.receipts import many_receipt_of
from kvnode.client.values import Conflict, DataType, ManyReceipt

if TYPE_CHECKING:
    from kvnode.client.calls import Calls
    from kvnode.client.lanes import Entry
    from kvnode.client.loops import LoopDriver
    from kvnode.client.threads import ThreadDriver

    Text = bytes | str


def puts(
    calls: Calls,
    values: Mapping[bytes, Text] | Mapping[str, Text] | Iterable[tuple[Text, Text]],
    request_id: bytes | UUID | None,
    durability: Durability | None,
    timeout_s: float | None,
    *,
    lww: bool,
    ttl: float | None,
) -> Entry:
    """All puts or none."""
    keys, texts = put_columns(values)
    request, raw_keys = puts_request(
        keys, texts, lww=lww, ttl=ttl, request_id=calls.request_id(request_id)
    )
    return calls.entry(request, raw_keys, durability, calls.deadline(timeout_s))


def increments(
    calls: Calls,
    amounts: Mapping[bytes, int] | Mapping[str, int] | Iterable[Text],
    kind: DataType | None,
    request_id: bytes | UUID | None,
    durability: Durability | None,
    timeout_s: float | None,
) -> Entry:
    """All increments or none."""
    keys, numbers = increment_columns(amounts)
    request, raw_keys = increments_request(
        keys, numbers, type=kind, request_id=calls.request_id(request_id)
    )
    entry = calls.entry(request, raw_keys, durability, calls.deadline(timeout_s))
    entry.adds = kind or 0
    return entry


def receipt(calls: Calls, entry: Entry) -> ManyReceipt:
    """What the caller gets."""
    return calls.receipt(entry, partial(many_receipt_of, count=entry.operations))


class Many:
    """The methods of ``Client``."""

    _calls: Calls
    _driver: ThreadDriver

    def get_many(
        self,
        keys: Iterable[KeyT],
        *,
        consistency: Consistency | None = None,
        timeout_s: float | None = None,
    ) -> dict[KeyT, bytes | int | Conflict]:
        """The values of many keys: a dict of those that have any, named as the caller named them.

        As ``batch_get``, in half the time, because nothing is told but the values: no dot, no
        time, no context. Only a key with several values has its ``Conflict``, with all of them and
        the context to resolve it.

        Args:
            keys: any number. Where one answer cannot hold all values they come in several, which
                are different moments.
            consistency: what the read is sure to show; None: the client's level.
            timeout_s: how long to wait for all of it; None: the client's.

        Returns:
            ``bytes`` of siblings and registers, ``int`` of counters, a ``Conflict``; a key
            without a value is left out.

        Raises:
            InvalidArgument: something among the keys is none.
            DataDamaged, NodeUnavailable, Behind, DeadlineExceeded: as of any read.

        >>> db.get_many(["user:1", "user:2", "visits", "nothing here"])
        {'user:1': b'Ada', 'user:2': b'Grace', 'visits': 3}
        """
        return self._driver.run(self._calls.get_many(keys, consistency, timeout_s=timeout_s))

    def put_many(
        self,
        values: Mapping[bytes, bytes | str]
        | Mapping[str, bytes | str]
        | Iterable[tuple[bytes | str, bytes | str]],
        *,
        lww: bool = False,
        ttl: float | None = None,
        request_id: bytes | UUID | None = None,
        durability: Durability | None = None,
        timeout_s: float | None = None,
    ) -> ManyReceipt:
        """Puts of a mapping or of pairs, in order: all or none, as ``write``, and told briefly.

        >>> receipt = db.put_many({"user:1": "Ada", "user:2": "Grace"})
        >>> receipt.count
        2
        """
        calls = self._calls
        entry = puts(calls, values, request_id, durability, timeout_s, lww=lww, ttl=ttl)
        self._driver.submit(entry)
        return receipt(calls, entry)

    def increment_many(
        self,
        amounts: Mapping[bytes, int] | Mapping[str, int] | Iterable[bytes | str],
        *,
        type: DataType | None = None,  # noqa: A002 - the proto's name
        request_id: bytes | UUID | None = None,
        durability: Durability | None = None,
        timeout_s: float | None = None,
    ) -> ManyReceipt:
        """Increments of a mapping, or of keys by one each: all or none, as ``write``, told briefly.

        Among keys one may come several times.

        >>> db.increment_many({"stock:tea": -1, "sold": 1})
        >>> db.increment_many(["page:/", "page:/", "visits"]).count
        3
        """
        entry = increments(self._calls, amounts, type, request_id, durability, timeout_s)
        self._driver.submit(entry)
        return receipt(self._calls, entry)


class AsyncMany:
    """The methods of ``AsyncClient``."""

    _calls: Calls
    _driver: LoopDriver

    async def get_many(
        self,
        keys: Iterable[KeyT],
        *,
        consistency: Consistency | None = None,
        timeout_s: float | None = None,
    ) -> dict[KeyT, bytes | int | Conflict]:
        """The values of many keys: a dict of those that have any, named as the caller named them.

        As ``batch_get``, in half the time, because nothing is told but the values: no dot, no
        time, no context. Only a key with several values has its ``Conflict``, with all of them and
        the context to resolve it.

        Args:
            keys: any number. Where one answer cannot hold all values they come in several, which
                are different moments.
            consistency: what the read is sure to show; None: the client's level.
            timeout_s: how long to wait for all of it; None: the client's.

        Returns:
            ``bytes`` of siblings and registers, ``int`` of counters, a ``Conflict``; a key
            without a value is left out.

        Raises:
            InvalidArgument: something among the keys is none.
            DataDamaged, NodeUnavailable, Behind, DeadlineExceeded: as of any read.

        >>> await db.get_many(["user:1", "user:2", "visits", "nothing here"])
        {'user:1': b'Ada', 'user:2': b'Grace', 'visits': 3}
        """
        return await self._driver.run(self._calls.get_many(keys, consistency, timeout_s=timeout_s))

    async def put_many(
        self,
        values: Mapping[bytes, bytes | str]
        | Mapping[str, bytes | str]
        | Iterable[tuple[bytes | str, bytes | str]],
        *,
        lww: bool = False,
        ttl: float | None = None,
        request_id: bytes | UUID | None = None,
        durability: Durability | None = None,
        timeout_s: float | None = None,
    ) -> ManyReceipt:
        """Puts of a mapping or of pairs, in order: all or none, as ``write``, and told briefly.

        >>> receipt = await db.put_many({"user:1": "Ada", "user:2": "Grace"})
        >>> receipt.count
        2
        """
        calls = self._calls
        entry = puts(calls, values, request_id, durability, timeout_s, lww=lww, ttl=ttl)
        await self._driver.submit(entry)
        return receipt(calls, entry)

    async def increment_many(
        self,
        amounts: Mapping[bytes, int] | Mapping[str, int] | Iterable[bytes | str],
        *,
        type: DataType | None = None,  # noqa: A002 - the proto's name
        request_id: bytes | UUID | None = None,
        durability: Durability | None = None,
        timeout_s: float | None = None,
    ) -> ManyReceipt:
        """Increments of a mapping, or of keys by one each: all or none, as ``write``, told briefly.

        Among keys one may come several times.

        >>> await db.increment_many({"stock:tea": -1, "sold": 1})
        >>> (await db.increment_many(["page:/", "page:/", "visits"])).count
        3
        """
        entry = increments(self._calls, amounts, type, request_id, durability, timeout_s)
        await self._driver.submit(entry)
        return receipt(self._calls, entry)
