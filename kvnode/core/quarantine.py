"""Blocks that this replica cannot take, kept with the reason until that is settled.

A block is bad if its bytes cannot be read or fail their checksum (a flip on the way, or at rest at
its sender), or if it breaks a rule (a bug, another version, or malice at its writer). Its origin
then waits here: whatever comes after it would leave a gap. All others go on, except for what
depends on the missing block. That must not be a line in a log: a record stands here, and the node
says that it is not whole, until one of these happens:

- A good copy arrives, from any peer: what the record waits for (``awaits``) is covered, and it
  goes by itself. For a block whose checksum is right that is its last number. What other bytes
  say of themselves is shown but not believed, for it would settle the wrong record: they were one
  of the blocks that their sender said it had and this replica had not, so all these must be here.
  A record that waits for nothing (bytes beyond all their sender claimed to have) stays until
  somebody drops it.
- It is tried again (``retry``), after an upgrade for example, and applied.
- It is dropped by hand. The origin still waits for a good copy; a bad one makes a new record.

A damaged block of the *own log* is here already and harms only those who ask for it: it awaits
nothing, and goes when the log reads well again.

Bounds: rows and bytes. Beyond them copies go first, the oldest of them (several bad copies of one
block, from several peers), then the oldest record. The same bytes again are one record that counts.
Raw bytes longer than the bound are kept cut; they can be shown, not tried again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import msgpack

from kvnode.core.dots import Vector, covers

ROW_OVERHEAD_BYTES = 400
"""Of a record beside its raw bytes, about."""

RECEIVED = "received"
OWN_LOG = "own log"


@dataclass(frozen=True, slots=True)
class Record:
    """One bad block. ``number`` identifies it on this node."""

    number: int
    source: str
    """RECEIVED or OWN_LOG."""
    peer: str
    """Who sent it; empty if it is the own log's, or waited here before it was looked at."""
    reason: str
    first_ms: int
    """When it came, Unix ms."""
    last_ms: int
    """When the same bytes came last."""
    times: int
    origin: int
    """0 if it cannot be read."""
    first_seq: int
    last_seq: int
    awaits: Vector
    raw: bytes
    raw_bytes: int
    """How many they were; more than ``len(raw)`` if they were cut."""

    @property
    def size(self) -> int:
        """Bytes it takes, about."""
        return len(self.raw) + ROW_OVERHEAD_BYTES

    @property
    def block(self) -> tuple[int, int]:
        """What a copy has in common with another copy."""
        return self.origin, self.first_seq


class Quarantine:
    """The records, bounded. ``changed`` says what the store has not been told yet."""

    def __init__(self, *, rows_max: int, bytes_max: int) -> None:
        self.records: dict[int, Record] = {}
        """By number, oldest first."""
        self.bytes_held = 0
        self.pushed_out = 0
        """Records that had to go for newer ones, since start."""
        self.changed: dict[int, Record | None] = {}
        """number -> record to write, None to remove."""
        self._rows_max = rows_max
        self._bytes_max = bytes_max
        self._next = 1
        self._same: dict[tuple[str, bytes], int] = {}

    def restore(self, record: Record) -> None:
        """A record of the store, in ascending order of numbers."""
        self.records[record.number] = record
        self._same[record.source, record.raw] = record.number
        self.bytes_held += record.size
        self._next = record.number + 1

    def add(
        self,
        raw: bytes,
        reason: str,
        now_ms: int,
        *,
        source: str = RECEIVED,
        peer: str = "",
        identity: tuple[int, int, int] | None = None,
        awaits: Vector,
    ) -> Record | None:
        """Keep a bad block; the record if it is a new one, None if these bytes are known.

        Args:
            identity: origin, first and last seq as far as known otherwise than from ``raw``.
            awaits: what the sender said it has and is not here, see the module.
        """
        kept = raw[: self._bytes_max // 2]
        known = self._same.get((source, kept))
        if known is not None:
            before = self.records[known]
            self.records[known] = replace(before, last_ms=now_ms, times=before.times + 1)
            return None
        origin, first, last = identity or _plausible(raw, awaits)
        if source == OWN_LOG:
            awaits = {}
        elif identity or (origin and not awaits):
            awaits = {origin: last}
        record = Record(
            self._next, source, peer, reason, now_ms, now_ms, 1, origin, first, last,
            dict(awaits), kept, len(raw),
        )  # fmt: skip
        self._next += 1
        self.records[record.number] = record
        self._same[source, kept] = record.number
        self.bytes_held += record.size
        self.changed[record.number] = record
        return record

    def make_room(self) -> list[Record]:
        """Remove what is beyond the bounds; returns what had to go."""
        gone = []
        while len(self.records) > 1 and (
            len(self.records) > self._rows_max or self.bytes_held > self._bytes_max
        ):
            victim = self._oldest_copy() or next(iter(self.records.values()))
            self.remove(victim.number)
            self.pushed_out += 1
            gone.append(victim)
        return gone

    def remove(self, number: int) -> Record | None:
        """Take a record out; None if there is none of this number."""
        record = self.records.pop(number, None)
        if record is not None:
            del self._same[record.source, record.raw]
            self.bytes_held -= record.size
            self.changed[number] = None
        return record

    def settle(self, vector: Mapping[int, int]) -> list[Record]:
        """Remove what a good copy has made up for; returns it."""
        settled = [
            record
            for record in self.records.values()
            if record.awaits and covers(vector, record.awaits)
        ]
        for record in settled:
            self.remove(record.number)
        return settled

    def take_changes(self) -> dict[int, Record | None]:
        """What to tell the store; it counts as told."""
        changes, self.changed = self.changed, {}
        return changes

    def waiting(self) -> dict[int, int]:
        """origin -> number of the first block that is missing here because it is bad."""
        found: dict[int, int] = {}
        for record in self.records.values():
            if record.origin and record.source == RECEIVED:
                seq = min(found.get(record.origin, record.first_seq), record.first_seq)
                found[record.origin] = seq
        return found

    def _oldest_copy(self) -> Record | None:
        newest: dict[tuple[int, int], int] = {
            record.block: record.number for record in self.records.values()
        }
        for record in self.records.values():
            if newest[record.block] != record.number:
                return record
        return None


def _plausible(raw: bytes, awaits: Vector) -> tuple[int, int, int]:
    """What the bytes say of themselves, unless their sender could not have had such a block."""
    origin, first, last = glimpse(raw) or (0, 0, 0)
    return (0, 0, 0) if awaits and last > awaits.get(origin, 0) else (origin, first, last)


def glimpse(raw: bytes) -> tuple[int, int, int] | None:
    """(origin, first seq, last seq) if the beginning of the bytes can still be read.

    They are a hint: what fails a checksum may be wrong anywhere.
    """
    unpacker = msgpack.Unpacker(max_buffer_size=64)  # it takes its buffer at once
    try:
        unpacker.feed(raw[1:65])
        if raw[:1] != b"\x01" or unpacker.read_array_header() != 8:
            return None
        origin, first, count = (unpacker.unpack() for _ in range(3))
    except Exception:  # msgpack raises many types on bytes from outside
        return None
    numbers = (origin, first, count)
    if not all(type(number) is int and 0 < number < 2**64 for number in numbers):
        return None
    last = first + count - 1
    return (origin, first, last) if last < 2**63 else None
