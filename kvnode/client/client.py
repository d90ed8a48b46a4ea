"""The client for threads.

>>> with Client("127.0.0.1:7080,127.0.0.1:7081") as db:
...     db.put("user:1", "Ada")
...     db.counter("visits").add(1)
...     match db.get("user:1"):
...         case Value(value=name):
...             print(name)
...         case Conflict(siblings=names):
...             print("several:", [each.value for each in names])

``AsyncClient`` (``aio.py``) is its twin for asyncio: the same names, arguments and exceptions. What
both do is written once, in ``calls.py``; which endpoint is asked, and when a write is sent again,
in ``failover.py``; who shares a call with whom, in ``lanes.py``.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING, overload

from kvnode.client.batch import Batch
from kvnode.client.bulk import Bulk
from kvnode.client.calls import (
    MISSING,
    Calls,
    DefaultT,
    failover_of,
)
from kvnode.client.gathering import BulkLimits, Progress
from kvnode.client.handles import Counter, Register, Siblings
from kvnode.client.levels import Consistency, Durability
from kvnode.client.many import Many
from kvnode.client.operations import Operation
from kvnode.client.paging import Paging
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
from kvnode.client.threads import ThreadDriver
from kvnode.client.updates import TRIES, Change, update
from kvnode.client.values import Absent, BatchReceipt, Conflict, DataType, Outcome, Receipt, Value
from kvnode.errors import OutcomeUnknown

if TYPE_CHECKING:
    from kvnode.client.admin import Admin
    from kvnode.client.watching import Watch


class Client(Many, Paging):
    """A connection to a kvnode cluster through one or more of its nodes. Thread safe.

    ``endpoints``: "HOST:PORT,HOST:PORT" or a sequence of such, each the address of *one* node, the
    nearest first. A call goes to the first that is well. Nothing is sent before the first call.
    ``timeout_s`` bounds a call in all, unless the call has its own; ``scan`` and ``conflicts`` make
    a call for every page. ``durability`` and ``consistency`` are the levels of calls that name
    none. With ``session`` the client sees what it has seen and written before at any node.

    Keys are ``bytes`` or ``str`` (UTF-8), 1 to 480 bytes; values ``bytes`` or ``str``, up to 1 MiB.
    Callers in several threads share calls: together they write much faster than alone.

    Every write has a ``request_id`` (16 bytes, random unless given), by which a node does it once
    however often it is asked. A write that got no reply until its deadline raises
    ``OutcomeUnknown``; whoever needs to know asks the same node again with the same id::

        try:
            client.put("user:1", "Ada")
        except OutcomeUnknown as error:
            with Client(error.endpoint) as same:
                receipt = same.put("user:1", "Ada", request_id=error.request_id)
    """

    def __init__(
        self,
        endpoints: str | Sequence[str] = DEFAULT_ENDPOINT,
        *,
        timeout_s: float = DEFAULT_TIMEOUT_S,
        durability: Durability = "fsync",
        consistency: Consistency | None = None,
        session: Session | bool = False,
    ) -> None:
        settings = settings_of(timeout_s, durability, consistency, session)
        failover = failover_of(endpoints, time.monotonic)
        self._calls = Calls(failover, settings)
        self._driver = ThreadDriver(failover)

    @property
    def endpoints(self) -> tuple[str, ...]:
        """The addresses this client knows, in the order given."""
        return self._calls.failover.addresses

    @property
    def admin(self) -> Admin:
        """What operators ask of a node."""
        from kvnode.client.admin import Admin

        return Admin(self._driver, self._calls)

    def close(self) -> None:
        """End calls, watches and connections. Later calls raise RuntimeError."""
        self._driver.close()

    def __enter__(self) -> Client:
        """The client itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the connections."""
        self.close()

    # ---- reading

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

    # ---- writing

    def put(
        self,
        key: bytes | str,
        value: bytes | str,
        *,
        lww: bool = False,
        context: bytes | None = None,
        blind: bool = False,
        ttl: float | None = None,
        request_id: bytes | None = None,
        durability: Durability | None = None,
        timeout_s: float | None = None,
    ) -> Receipt:
        """Store a value: replacing what the node holds now, what ``context`` shows, or nothing.

        With ``ttl`` it expires so many seconds after the node took it.
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
        self._driver.submit(entry)
        return self._calls.receipt_of_one(entry)

    def delete(
        self,
        key: bytes | str,
        *,
        type: DataType | None = None,  # noqa: A002 - the proto's name
        context: bytes | None = None,
        request_id: bytes | None = None,
        durability: Durability | None = None,
        timeout_s: float | None = None,
    ) -> Receipt:
        """Remove what the node holds now, or exactly what ``context`` shows."""
        entry = self._calls.delete(key, type, context, request_id, durability, timeout_s)
        self._driver.submit(entry)
        return self._calls.receipt_of_one(entry)

    def increment(
        self,
        key: bytes | str,
        amount: int = 1,
        *,
        type: DataType | None = None,  # noqa: A002 - the proto's name
        request_id: bytes | None = None,
        durability: Durability | None = None,
        timeout_s: float | None = None,
    ) -> Receipt:
        """Add to a counter; ``counter`` of the receipt is the sum at the node that took it."""
        entry = self._calls.increment(key, amount, type, request_id, durability, timeout_s)
        self._driver.submit(entry)
        return self._calls.receipt_of_one(entry)

    def write(
        self,
        operations: Iterable[Operation],
        *,
        request_id: bytes | None = None,
        durability: Durability | None = None,
        timeout_s: float | None = None,
    ) -> BatchReceipt:
        """All operations or none, seen whole or not at all on every replica."""
        entry = self._calls.batch(operations, request_id, durability, timeout_s)
        self._driver.submit(entry)
        return self._calls.receipt(entry, batch_receipt_of)

    def update(
        self,
        key: bytes | str,
        change: Change,
        *,
        resolve: Resolver | None = None,
        tries: int = TRIES,
        durability: Durability | None = None,
        timeout_s: float | None = None,
    ) -> Value:
        """Replace what was read by what ``change`` makes of it (of None, if there is nothing).

        It replaces exactly what it has read. Where another write came between, both are kept as
        siblings: then ``resolve`` makes one of them, up to ``tries`` times; without it, or if that
        is not enough, ConflictError. ``change`` runs once.
        """
        return self._driver.run(
            update(self._calls, key, change, resolve, tries, durability, timeout_s)
        )

    def batch(
        self, *, durability: Durability | None = None, timeout_s: float | None = None
    ) -> Batch:
        """Collects operations in a ``with`` block, and writes them at its end, all or none."""
        return Batch(
            lambda operations: self.write(operations, durability=durability, timeout_s=timeout_s)
        )

    def bulk(
        self,
        *,
        limits: BulkLimits | None = None,
        progress: Callable[[Progress], None] | None = None,
        durability: Durability | None = None,
        timeout_s: float | None = None,
    ) -> Bulk:
        """Writes many independent operations in order, as fast as the node takes them."""
        return Bulk(self._driver, self._calls, limits, progress, durability, timeout_s)

    def watch(
        self,
        *,
        prefix: bytes | str = b"",
        since: bytes | None = None,
        patience_s: float = PATIENCE_S,
        heartbeat_s: float = HEARTBEAT_S,
        on_waiting: Callable[[str], None] | None = None,
    ) -> Watch:
        """Every change from now on, behind a token, or with ``BEGINNING`` of all there is.

        The arguments are those of ``Watch``. It ends with the client.
        """
        from kvnode.client.watching import Watch

        watch = Watch(
            self.endpoints,
            prefix=prefix,
            since=since,
            patience_s=patience_s,
            heartbeat_s=heartbeat_s,
            on_waiting=on_waiting,
        )
        self._driver.own(watch)
        return watch

    # ---- views

    def session(self, token: bytes = b"") -> Client:
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

    def counter(self, key: bytes | str, *, grow_only: bool = False) -> Counter:
        """A handle of one counter."""
        return Counter(self, key, grow_only=grow_only)

    def register(self, key: bytes | str) -> Register:
        """A handle of one register, of which the last write wins."""
        return Register(self, key)

    def siblings(self, key: bytes | str) -> Siblings:
        """A handle of one key whose concurrent values are all kept."""
        return Siblings(self, key)

    # ---- afterwards

    def outcome(
        self, unknown: OutcomeUnknown | bytes, *, timeout_s: float | None = None
    ) -> Outcome | None:
        """What became of a write whose reply was lost; its error or its request id says which.

        None: no endpoint knows of it now. Where it was sent to it may still be on its way, and
        elsewhere it may arrive.
        """
        return self._driver.run(self._calls.outcome(unknown, timeout_s))


class _View(Client):
    """A client that shares the connections of another."""

    def __init__(self, driver: ThreadDriver, calls: Calls) -> None:
        self._driver = driver
        self._calls = calls

    def close(self) -> None:
        """The connections are the other's."""
