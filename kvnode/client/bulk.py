"""Many independent writes, one after the other, as fast as the node takes them.

Each operation is a write of its own, with its own request id and its own fate; none waits for an
answer. They gather in chunks, in order, and a chunk leaves when one of four things happens:

========  ==============================================
count     it has ``operations_max``
bytes     it has ``bytes_max``
time      its first operation is ``interval_s`` old
flush     the caller asks for it, or the block ends
========  ==============================================

Back-pressure: with ``window_chunks`` chunks behind what is acknowledged the caller waits.

What became of them: ``progress`` counts. A refused operation does not stop the others; it is kept
in ``failures`` with its number and its exception, and at the end of the block ``BulkError`` has
them all, so that none is overlooked. After ``failures_max`` of them the writer takes no more. The
operations whose outcome is unknown are among them, with their request ids.

Chunks are on their way one at a time, so order is kept through failures too.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Final

from kvnode.client.lanes import BYTES_MAX, OPERATIONS_MAX, Entry, Flight
from kvnode.client.levels import Durability, checked_durability
from kvnode.client.operations import (
    Delete,
    Increment,
    Operation,
    Put,
    key_bytes,
    refuse,
    single_request,
)
from kvnode.client.values import DataType
from kvnode.core.errors import Reason
from kvnode.errors import KvnodeError

if TYPE_CHECKING:
    from kvnode.client.calls import Calls
    from kvnode.client.threads import ThreadDriver

FAILURES_SHOWN: Final = 3


@dataclass(frozen=True, slots=True)
class BulkLimits:
    """When a chunk leaves, and how much may wait."""

    operations_max: int = 1_000
    bytes_max: int = 1 << 20
    interval_s: float = 0.05
    window_chunks: int = 4
    failures_max: int = 1_000

    def __post_init__(self) -> None:
        """InvalidArgument where a node would not take it."""
        if not (
            1 <= self.operations_max <= OPERATIONS_MAX
            and 1 <= self.bytes_max <= BYTES_MAX
            and self.interval_s > 0
            and self.window_chunks >= 1
            and self.failures_max >= 1
        ):
            raise refuse(Reason.BAD_REQUEST, f"{self} cannot be kept")


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a bulk writer is, in operations."""

    taken: int = 0
    acknowledged: int = 0
    failed: int = 0

    @property
    def waiting(self) -> int:
        """Taken, and no answer yet."""
        return self.taken - self.acknowledged - self.failed


@dataclass(frozen=True, slots=True)
class BulkFailure:
    """An operation that was refused, or of which nobody knows; they count from 0."""

    number: int
    operation: Operation
    error: BaseException


class BulkError(KvnodeError):
    """Some operations of a bulk writer failed; ``failures`` has each, ``progress`` the counts."""

    def __init__(self, failures: tuple[BulkFailure, ...], progress: Progress) -> None:
        first = "; ".join(
            f"operation {failure.number}: {failure.error}" for failure in failures[:FAILURES_SHOWN]
        )
        super().__init__(f"{progress.failed} of {progress.taken} operations failed: {first}")
        self.failures = failures
        self.progress = progress


@dataclass(slots=True)
class Gathering:
    """What waits to leave, and what became of what left. The writer's decisions, without I/O."""

    calls: Calls
    limits: BulkLimits
    durability: Durability
    timeout_s: float | None
    waiting: deque[tuple[int, Operation, Entry]] = field(default_factory=deque)
    waiting_bytes: int = 0
    since: float = 0.0
    flushing: bool = False
    flying: int = 0
    progress: Progress = field(default_factory=Progress)
    failures: list[BulkFailure] = field(default_factory=list)

    @property
    def full(self) -> bool:
        """The caller has to wait."""
        window = self.limits.window_chunks
        return (
            len(self.waiting) + self.flying >= window * self.limits.operations_max
            or self.waiting_bytes >= window * self.limits.bytes_max
        )

    @property
    def broken(self) -> bool:
        """Too much has failed."""
        return len(self.failures) >= self.limits.failures_max

    def take(self, operation: Operation) -> None:
        """One more; InvalidArgument if no node would take it, BulkError if too many failed."""
        if self.broken:
            raise self.error()
        request = single_request(operation, self.calls.new_request_id())
        keys = (key_bytes(operation.key),)
        deadline = self.calls.deadline(self.timeout_s)
        entry = self.calls.entry(request, keys, self.durability, deadline)
        if not self.waiting:
            self.since = self.calls.failover.now()
        self.waiting.append((self.progress.taken, operation, entry))
        self.waiting_bytes += entry.size
        self._count(taken=1)

    def wait_s(self) -> float | None:
        """Seconds until a chunk leaves; None if nothing waits."""
        if not self.waiting:
            return None
        if (
            self.flushing
            or len(self.waiting) >= self.limits.operations_max
            or self.waiting_bytes >= self.limits.bytes_max
        ):
            return 0.0
        return max(0.0, self.since + self.limits.interval_s - self.calls.failover.now())

    def chunk(self) -> tuple[list[tuple[int, Operation, Entry]], Flight]:
        """What leaves now; each operation's patience begins anew here."""
        taken: list[tuple[int, Operation, Entry]] = []
        size = 0
        deadline = self.calls.deadline(self.timeout_s)
        while self.waiting and len(taken) < self.limits.operations_max:
            entry = self.waiting[0][2]
            if taken and size + entry.size > self.limits.bytes_max:
                break
            size += entry.size
            entry.deadline = deadline
            taken.append(self.waiting.popleft())
        self.waiting_bytes -= size
        self.since = self.calls.failover.now()
        self.flying = len(taken)
        return taken, Flight([entry for _, _, entry in taken])

    def landed(self, chunk: list[tuple[int, Operation, Entry]]) -> None:
        """Every entry of the chunk is settled."""
        failed = 0
        for number, operation, entry in chunk:
            if entry.error is not None:
                failed += 1
                self.failures.append(BulkFailure(number, operation, entry.error))
            else:
                self.calls.learn(entry.reply[0])
        self.flying = 0
        self._count(acknowledged=len(chunk) - failed, failed=failed)

    def error(self) -> BulkError:
        """For what failed."""
        return BulkError(tuple(self.failures), self.progress)

    def _count(self, *, taken: int = 0, acknowledged: int = 0, failed: int = 0) -> None:
        now = self.progress
        self.progress = Progress(
            now.taken + taken, now.acknowledged + acknowledged, now.failed + failed
        )


def gathering(
    calls: Calls,
    limits: BulkLimits | None,
    durability: Durability | None,
    timeout_s: float | None,
) -> Gathering:
    """With the client's own levels where none is named."""
    level = calls.settings.durability if durability is None else checked_durability(durability)
    return Gathering(calls, limits or BulkLimits(), level, timeout_s)


class Bulk:
    """A bulk writer for threads; several may feed it. Use it in a ``with`` block."""

    def __init__(
        self,
        driver: ThreadDriver,
        calls: Calls,
        limits: BulkLimits | None,
        progress: Callable[[Progress], None] | None,
        durability: Durability | None,
        timeout_s: float | None,
    ) -> None:
        self._driver = driver
        self._gathering = gathering(calls, limits, durability, timeout_s)
        self._tell = progress
        self._changed = threading.Condition()
        self._over = False
        self._pump: threading.Thread | None = None

    @property
    def progress(self) -> Progress:
        """Counts of operations."""
        return self._gathering.progress

    @property
    def failures(self) -> tuple[BulkFailure, ...]:
        """What failed so far."""
        return tuple(self._gathering.failures)

    def put(
        self,
        key: bytes | str,
        value: bytes | str,
        *,
        lww: bool = False,
        context: bytes | None = None,
        blind: bool = False,
        ttl: float | None = None,
    ) -> None:
        """As ``Client.put``; waits for room only."""
        self._take(Put(key, value, lww, context, blind, ttl))

    def increment(
        self,
        key: bytes | str,
        amount: int = 1,
        *,
        type: DataType | None = None,  # noqa: A002 - the proto's name
    ) -> None:
        """As ``Client.increment``; waits for room only."""
        self._take(Increment(key, amount, type))

    def delete(
        self,
        key: bytes | str,
        *,
        type: DataType | None = None,  # noqa: A002 - the proto's name
        context: bytes | None = None,
    ) -> None:
        """As ``Client.delete``; waits for room only."""
        self._take(Delete(key, type, context))

    def flush(self) -> None:
        """Return when all that was taken so far is acknowledged or has failed."""
        with self._changed:
            self._gathering.flushing = True
            self._changed.notify_all()
            self._changed.wait_for(lambda: not self._gathering.progress.waiting)
            self._gathering.flushing = False

    def __enter__(self) -> Bulk:
        """Start."""
        self._pump = threading.Thread(target=self._run, name="kvnode-bulk", daemon=True)
        self._pump.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Flush; BulkError if anything failed. Left by an exception, what waits is not sent."""
        assert self._pump is not None, "entered"
        if kind is None:
            self.flush()
        with self._changed:
            self._over = True
            self._changed.notify_all()
        self._pump.join()
        if kind is None and self._gathering.failures:
            raise self._gathering.error()

    def _take(self, operation: Operation) -> None:
        if self._pump is None or self._over:
            raise RuntimeError("a bulk writer works in its with block only")
        with self._changed:
            self._changed.wait_for(lambda: not self._gathering.full)
            self._gathering.take(operation)
            if len(self._gathering.waiting) == 1 or self._gathering.wait_s() == 0:
                self._changed.notify_all()

    def _run(self) -> None:
        """Send chunk after chunk."""
        gathering = self._gathering
        while True:
            with self._changed:
                while not self._over and (wait_s := gathering.wait_s()) != 0:
                    self._changed.wait(wait_s)
                if self._over:
                    return
                chunk, flight = gathering.chunk()
            try:
                self._driver.run(gathering.calls.failover.write(flight.entries, flight.deadline))
            except RuntimeError as error:  # closed
                flight.strand(error)
            with self._changed:
                gathering.landed(chunk)
                self._changed.notify_all()
            if self._tell is not None:
                self._tell(gathering.progress)
