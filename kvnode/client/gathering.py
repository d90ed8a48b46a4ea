"""What waits in a bulk writer, what is on its way, and what became of the rest."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from kvnode.client.channels import MESSAGE_BYTES_MAX
from kvnode.client.chunks import Chunk, Kind
from kvnode.client.lanes import BYTES_MAX, OPERATIONS_MAX
from kvnode.client.levels import Durability, checked_durability
from kvnode.client.operations import (
    Operation,
    check_amount,
    key_bytes,
    refuse,
    single_request,
    ttl_ms,
    value_bytes,
)
from kvnode.client.steps import Steps
from kvnode.core.errors import Reason
from kvnode.errors import KvnodeError

if TYPE_CHECKING:
    from kvnode.client.calls import Calls
    from kvnode.client.values import DataType

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
    """An operation that was refused, or of which nobody knows; they count from 0.

    A chunk is one write: if nobody knows what became of it, that is so of all its operations, and
    their errors have one ``request_id``. ``Client.outcome`` tells of them all; to ask for it again
    under that id, all of them go in one ``write``, in order.
    """

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


class Gathering:
    """What waits to leave, and what became of what left. The writer's decisions, without I/O."""

    def __init__(
        self,
        calls: Calls,
        limits: BulkLimits,
        durability: Durability,
        timeout_s: float | None,
        listener: Callable[[Progress], None] | None,
    ) -> None:
        self.calls = calls
        self.limits = limits
        self.failures: list[BulkFailure] = []
        self._durability = durability
        self._timeout_s = timeout_s
        self._listener = listener
        self._waiting: deque[Chunk] = deque()
        """The last one still grows."""
        self._flush_before = 0
        """Operations with a smaller number leave at once."""
        self._put_back: set[int] = set()
        """First operations of chunks that wait or fly once more, taken apart."""
        self._taken = 0
        self._acknowledged = 0
        self._failed = 0
        self._held_bytes = 0
        """Of those taken that are neither acknowledged nor have failed."""

    @property
    def progress(self) -> Progress:
        """Counts of operations."""
        return Progress(self._taken, self._acknowledged, self._failed)

    def deadline(self) -> float:
        """Of what leaves now."""
        return self.calls.deadline(self._timeout_s)

    def tell(self) -> None:
        """Tell who listens how far it is. Who raises an error is told no more: the writes go on,
        and the error is in the log.
        """
        if self._listener is not None:
            try:
                self._listener(self.progress)
            except Exception:
                logger.exception("the progress of a bulk writer is told no more")
                self._listener = None

    @property
    def full(self) -> bool:
        """The caller has to wait."""
        limits = self.limits
        held = self._taken - self._acknowledged - self._failed
        return (
            held >= limits.window_chunks * limits.operations_max
            or self._held_bytes >= limits.window_chunks * limits.bytes_max
        )

    # ---- one more; each says whether the writer should look: a chunk was begun, or is full.
    # InvalidArgument if no node would take it, BulkError if too many failed

    def put(self, key: bytes | str, value: bytes | str, lww: bool, ttl: float | None) -> bool:  # noqa: FBT001 - called a million times
        """A put without a context, and not blind."""
        raw = key_bytes(key)
        size = len(raw) + len(value_bytes(value, raw))
        if ttl is not None:
            ttl_ms(ttl)
        return self._take((lww, ttl), raw, key, value, size)

    def increment(self, key: bytes | str, amount: int, kind: DataType | None) -> bool:
        """An increment."""
        check_amount(amount, kind)
        raw = key_bytes(key)
        return self._take((kind,), raw, key, amount, len(raw))

    def take(self, operation: Operation) -> bool:
        """Any operation."""
        size = single_request(operation, b"").ByteSize()
        if size > MESSAGE_BYTES_MAX:
            raise refuse(
                Reason.BATCH_TOO_LARGE, f"the operation takes more than {MESSAGE_BYTES_MAX} bytes"
            )
        return self._take(None, key_bytes(operation.key), operation, None, size)

    def _take(self, kind: Kind | None, key: bytes, given: Any, value: Any, size: int) -> bool:
        if self._failed >= self.limits.failures_max:
            raise self.error()
        waiting, limits = self._waiting, self.limits
        chunk = waiting[-1] if waiting else None
        begun = (
            chunk is None
            or chunk.apart
            or len(chunk) >= limits.operations_max
            or chunk.size + size > limits.bytes_max
        )
        if chunk is None or begun:
            chunk = Chunk(self._taken, self.calls.failover.now(), kind)
            waiting.append(chunk)
        chunk.add(kind, key, given, value, size)
        self._taken += 1
        self._held_bytes += size
        full = len(chunk) >= limits.operations_max or chunk.size >= limits.bytes_max
        return begun or full

    # ---- chunks

    def flush(self) -> int:
        """Let all that was taken so far leave now; how many operations that is."""
        self._flush_before = self._taken
        return self._flush_before

    def has_settled(self, operations: int) -> bool:
        """Whether the first so many are acknowledged or have failed: chunks land in order, but
        for those that are put back.
        """
        settled = self._acknowledged + self._failed >= operations
        return settled and all(first >= operations for first in self._put_back)

    def wait_s(self) -> float | None:
        """Seconds until a chunk leaves; None if nothing waits."""
        if not self._waiting:
            return None
        chunk = self._waiting[0]
        if (
            len(self._waiting) > 1
            or chunk.apart
            or chunk.first < self._flush_before
            or len(chunk) >= self.limits.operations_max
            or chunk.size >= self.limits.bytes_max
        ):
            return 0.0
        return max(0.0, chunk.since + self.limits.interval_s - self.calls.failover.now())

    def is_held_back(self, flying: Iterable[Chunk]) -> bool:
        """Whether the next chunk must not be on its way together with these."""
        return bool(self._waiting) and any(map(self._waiting[0].meets, flying))

    def chunk(self) -> Chunk:
        """What leaves now; each operation's patience begins anew here."""
        chunk = self._waiting.popleft()
        chunk.leave(self.calls, self._durability, self.deadline())
        return chunk

    def written(self, chunk: Chunk) -> Steps[None]:
        """Have a chunk carried out by itself."""
        flight = chunk.flight
        yield from self.calls.failover.write(flight.entries, flight.deadline)

    def landed(self, chunk: Chunk) -> None:
        """Every entry of the chunk is settled. If it was refused for some of its operations, it
        leaves again before all that waits, apart: as any chunk, so that a full queue holds it too.
        """
        if chunk.is_refused_by(chunk.flight.entries[0].error):
            chunk.apart = True
            self._put_back.add(chunk.first)
            self._waiting.appendleft(chunk)
            return
        self._put_back.discard(chunk.first)
        for entry in chunk.flight.entries:
            if entry.error is None:
                self.calls.learn(entry.reply[0])
        errors = chunk.errors
        failed = len(errors) - errors.count(None)
        if failed:
            numbered = enumerate(zip(chunk.operations, errors, strict=True), chunk.first)
            self.failures += [
                BulkFailure(number, operation, error)
                for number, (operation, error) in numbered
                if error is not None
            ]
        self._failed += failed
        self._acknowledged += len(errors) - failed
        self._held_bytes -= chunk.size

    def error(self) -> BulkError:
        """For what failed."""
        return BulkError(tuple(self.failures), self.progress)


def gathering(
    calls: Calls,
    limits: BulkLimits | None,
    durability: Durability | None,
    timeout_s: float | None,
    listener: Callable[[Progress], None] | None = None,
) -> Gathering:
    """With the client's own levels where none is named."""
    level = calls.settings.durability if durability is None else checked_durability(durability)
    return Gathering(calls, limits or BulkLimits(), level, timeout_s, listener)
