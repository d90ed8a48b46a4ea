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
from typing import TYPE_CHECKING
from uuid import UUID

from kvnode.client.batch import Batch
from kvnode.client.bulk import Bulk
from kvnode.client.calls import Calls, failover_of
from kvnode.client.dialling import Folder
from kvnode.client.gathering import BulkLimits, Progress
from kvnode.client.handles import Counter, Register, Siblings
from kvnode.client.levels import Consistency, Durability
from kvnode.client.many import Many
from kvnode.client.operations import Operation
from kvnode.client.reading import Reading
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
from kvnode.client.updates import TRIES, Edit, update
from kvnode.client.values import BatchReceipt, DataType, Outcome, Receipt, Value
from kvnode.errors import OutcomeUnknown

if TYPE_CHECKING:
    from kvnode.client.admin import Admin
    from kvnode.client.watching import Watch


class Client(Reading, Many):
    """A connection to a kvnode cluster through one or more of its nodes. Thread safe.

    ``endpoints``: "HOST:PORT,HOST:PORT" or a sequence of such, each the address of *one* node, the
    nearest first. A call goes to the first that is well. Nothing is sent before the first call.
    ``timeout_s`` bounds a call in all, unless the call has its own; ``scan`` and ``conflicts`` make
    a call for every page. ``durability`` and ``consistency`` are the levels of calls that name
    none. With ``session`` the client sees what it has seen and written before at any node. ``tls``:
    directory with the ``ca.crt``, ``tls.crt`` and ``tls.key`` for nodes that speak TLS.

    Keys are ``bytes`` or ``str`` (UTF-8), 1 to 480 bytes; values ``bytes`` or ``str``, up to 1 MiB.
    Callers in several threads share calls: together they write much faster than alone.

    Every write has a ``request_id`` (16 bytes or a ``uuid.UUID``, random unless given), by which a
    node does it once however often it is asked. A write that got no reply until its deadline raises
    ``OutcomeUnknown``; whoever needs to know asks the same node again with the same id. Only a
    client with one endpoint takes one: other nodes know an id once the write has reached them, and
    while they are cut off they would do it a second time. ::

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
        tls: Folder | None = None,
    ) -> None:
        settings = settings_of(timeout_s, durability, consistency, session)
        failover = failover_of(endpoints, time.monotonic, tls)
        self._calls = Calls(failover, settings)
        self._driver = ThreadDriver(failover)

    def __repr__(self) -> str:
        """Its endpoints."""
        return f"Client({','.join(self.endpoints)!r})"

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
        self._driver.submit(entry)
        return self._calls.receipt_of_one(entry)

    def delete(
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
        self._driver.submit(entry)
        return self._calls.receipt_of_one(entry)

    def increment(
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
        self._driver.submit(entry)
        return self._calls.receipt_of_one(entry)

    def write(
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
        self._driver.submit(entry)
        return self._calls.receipt(entry, batch_receipt_of)

    def update(
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
        return self._driver.run(
            update(self._calls, key, change, resolve, ttl, tries, durability, timeout_s)
        )

    def batch(
        self,
        *,
        request_id: bytes | UUID | None = None,
        durability: Durability | None = None,
        timeout_s: float | None = None,
    ) -> Batch:
        """Collects operations in a ``with`` block, and writes them at its end, all or none.

        ``request_id``: of a client with one endpoint only.
        """
        given = None if request_id is None else self._calls.request_id(request_id)
        return Batch(
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
            tls=self._calls.failover.dialler.tls,
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
        self, unknown: OutcomeUnknown | bytes | UUID, *, timeout_s: float | None = None
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

    def __repr__(self) -> str:
        """As it can be made."""
        return f"{super().__repr__()}.session({self.token!r})"

    def close(self) -> None:
        """The connections are the other's."""
