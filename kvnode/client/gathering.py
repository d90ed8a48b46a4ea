"""What waits in a bulk writer, what is on its way, and what became of the rest."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from kvnode.client.lanes import BYTES_MAX, OPERATIONS_MAX, Entry, Flight
from kvnode.client.levels import Durability, checked_durability
from kvnode.client.operations import Operation, key_bytes, refuse, single_request
from kvnode.core.errors import Reason
from kvnode.errors import KvnodeError

if TYPE_CHECKING:
    from kvnode.client.calls import Calls

FAILURES_SHOWN: Final = 3
INTERVAL_S_MAX: Final = 3_600.0
ENDED: Final = "a bulk writer works in its with block only"
logger = logging.getLogger(__name__)


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
            and 0 < self.interval_s <= INTERVAL_S_MAX
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


@dataclass(slots=True, eq=False)
class Chunk:
    """What leaves together: operations with their numbers, and their entries."""

    operations: list[tuple[int, Operation]]
    flight: Flight
    size: int


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
    flush_before: int = 0
    """Operations with a smaller number leave at once."""
    flying: int = 0
    flying_bytes: int = 0
    progress: Progress = field(default_factory=Progress)
    failures: list[BulkFailure] = field(default_factory=list)
    listener: Callable[[Progress], None] | None = None

    def tell(self) -> None:
        """Tell who listens how far it is. Who raises an error is told no more: the writes go on,
        and the error is in the log.
        """
        if self.listener is not None:
            try:
                self.listener(self.progress)
            except Exception:
                logger.exception("the progress of a bulk writer is told no more")
                self.listener = None

    @property
    def full(self) -> bool:
        """The caller has to wait."""
        window = self.limits.window_chunks
        return (
            len(self.waiting) + self.flying >= window * self.limits.operations_max
            or self.waiting_bytes + self.flying_bytes >= window * self.limits.bytes_max
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

    def flush(self) -> int:
        """Let all that was taken so far leave now; how many operations that is."""
        self.flush_before = self.progress.taken
        return self.flush_before

    def has_settled(self, operations: int) -> bool:
        """Whether the first so many are acknowledged or have failed: chunks land in order."""
        return self.progress.acknowledged + self.progress.failed >= operations

    def wait_s(self) -> float | None:
        """Seconds until a chunk leaves; None if nothing waits."""
        if not self.waiting:
            return None
        if (
            self.waiting[0][0] < self.flush_before
            or len(self.waiting) >= self.limits.operations_max
            or self.waiting_bytes >= self.limits.bytes_max
        ):
            return 0.0
        return max(0.0, self.since + self.limits.interval_s - self.calls.failover.now())

    def chunk(self) -> Chunk:
        """What leaves now; each operation's patience begins anew here."""
        taken: list[tuple[int, Operation]] = []
        entries: list[Entry] = []
        size = 0
        deadline = self.calls.deadline(self.timeout_s)
        while self.waiting and len(taken) < self.limits.operations_max:
            entry = self.waiting[0][2]
            if taken and size + entry.size > self.limits.bytes_max:
                break
            size += entry.size
            entry.deadline = deadline
            number, operation, _ = self.waiting.popleft()
            taken.append((number, operation))
            entries.append(entry)
        self.waiting_bytes -= size
        self.since = self.calls.failover.now()
        self.flying += len(taken)
        self.flying_bytes += size
        return Chunk(taken, Flight(entries), size)

    def landed(self, chunk: Chunk) -> None:
        """Every entry of the chunk is settled."""
        failed = 0
        entries = chunk.flight.entries
        for (number, operation), entry in zip(chunk.operations, entries, strict=True):
            if entry.error is not None:
                failed += 1
                self.failures.append(BulkFailure(number, operation, entry.error))
            else:
                self.calls.learn(entry.reply[0])
        self.flying -= len(entries)
        self.flying_bytes -= chunk.size
        self._count(acknowledged=len(entries) - failed, failed=failed)

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
    listener: Callable[[Progress], None] | None = None,
) -> Gathering:
    """With the client's own levels where none is named."""
    level = calls.settings.durability if durability is None else checked_durability(durability)
    return Gathering(calls, limits or BulkLimits(), level, timeout_s, listener=listener)
