"""The in-memory twin of log and state store, for model tests and simulation.

It keeps the encoded bytes, exactly as LMDB would, so that what is read back is never the object
that was written. ``append`` and ``save`` are atomic and durable when they return; a test crashes a
node by dropping everything but these two objects, or by making the next write fail.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from kvnode.core.block import Block, decode_block
from kvnode.core.digest import ABSENT, Digest
from kvnode.core.dots import Dot, Vector
from kvnode.core.entry import Entry, decode_entry, encode_entry, in_conflict
from kvnode.core.requests import Remembered
from kvnode.storage.digests import Segments
from kvnode.storage.interfaces import Checkpoint, DiskFullError, Segmented, Stored, Tag, Usage
from kvnode.storage.state import decode_meta, encode_meta


class MemoryLog:
    """``interfaces.Log`` over a list."""

    first_arrival = 1

    def __init__(self) -> None:
        self.full = False
        """While set, appends fail with DiskFullError."""
        self._blocks: list[bytes] = []
        self._chains: dict[Dot, bytes] = {}

    @property
    def last_arrival(self) -> int:
        """Arrival number of the newest block, 0 if there is none."""
        return len(self._blocks)

    def append(self, blocks: Sequence[Block]) -> None:
        """Keep the blocks in order."""
        if self.full:
            raise DiskFullError("no room in the memory log")
        for block in blocks:
            self._blocks.append(block.raw)
            self._chains[block.end] = block.chain

    def replay(self, after: int) -> Iterator[tuple[int, bytes]]:
        """(arrival, block) of everything behind ``after``."""
        yield from enumerate(self._blocks[after:], after + 1)

    def chain_at(self, dot: Dot) -> bytes | None:
        """Chain value of the block that ends at ``dot``."""
        return self._chains.get(dot)

    def lacking(self, vector: Vector, bytes_max: int) -> tuple[list[bytes], bool]:
        """The first blocks, in arrival order, that ``vector`` lacks, and whether that is all."""
        out: list[bytes] = []
        size = 0
        for raw in self._blocks:
            block = decode_block(raw)
            if block.last_seq > vector.get(block.origin, 0):
                if out and size + len(raw) > bytes_max:
                    return out, False
                out.append(raw)
                size += len(raw)
        return out, True

    def usage(self) -> Usage:
        """Bytes and blocks kept."""
        size = sum(map(len, self._blocks))
        return Usage(size, size, len(self._blocks))

    def close(self) -> None:
        """Nothing to close: the contents stay for the next opening."""


class MemoryState:
    """``interfaces.StateStore`` over dicts."""

    def __init__(self) -> None:
        self.full = False
        """While set, saves fail with DiskFullError."""
        self._entries: dict[bytes, bytes] = {}
        self._conflicts: set[bytes] = set()
        self._segments: dict[bytes, Digest] = {}
        self._total = ABSENT
        self._saved = 0
        self._requests: dict[int, tuple[bytes, Remembered]] = {}
        self._meta: bytes | None = None

    def load(self, window: int) -> Checkpoint | None:
        """The last checkpoint without its entries."""
        if self._meta is None:
            return None
        checkpoint = decode_meta(self._meta, window)
        for request_id, remembered in self._requests.values():
            checkpoint.requests.append((request_id, remembered))
            checkpoint.durable.requests.restore(request_id, remembered)
        return checkpoint

    def get(self, key: bytes) -> Entry | None:
        """The key's entry."""
        raw = self._entries.get(key)
        return None if raw is None else decode_entry(raw)

    def keys(self, start: bytes, end: bytes, limit: int, *, conflicts: bool) -> list[bytes]:
        """Up to ``limit`` keys >= start and < end, of all or of those in conflict."""
        table = self._conflicts if conflicts else self._entries.keys()
        return sorted(key for key in table if key >= start and (not end or key < end))[:limit]

    def save(self, checkpoint: Checkpoint) -> None:
        """Write the checkpoint."""
        if self.full:
            raise DiskFullError("no room in the memory state")
        segments = Segments(_Rows(self._segments, self._entries))
        for key, entry in sorted(checkpoint.entries.items()):
            self._conflicts.discard(key)
            old = self._entries.pop(key, None)
            if entry:
                self._entries[key] = encode_entry(entry)
                if in_conflict(entry):
                    self._conflicts.add(key)
            segments.change(key, old, entry)
        segments.finish()
        for key in sorted(checkpoint.recount):
            segments.recount(key)
        segments.finish()
        self._total = self._total.plus(segments.change_of_total)
        self._saved += 1
        for request_id, remembered in checkpoint.requests:
            self._requests[remembered.number] = (request_id, remembered)
        floor = checkpoint.requests_floor
        self._requests = {n: row for n, row in self._requests.items() if n >= floor}
        self._meta = encode_meta(checkpoint)

    def total(self) -> tuple[Tag, Digest]:
        """The digest of all keys."""
        return self._tag(), self._total

    def segments(self, start: bytes, end: bytes) -> Segmented:
        """The digests of the segments that share keys with [start, end)."""
        rows = _Rows(self._segments, self._entries)
        found = [rows.segment_of(start)]
        after = rows.next_segment(found[0][0])
        while after and not (end and after >= end):
            found.append(rows.segment_of(after))
            after = rows.next_segment(after)
        return Segmented(self._tag(), found, after)

    def stored(self, start: bytes, end: bytes, keys_max: int, bytes_max: int) -> Stored:
        """Entries from ``start`` to ``end`` as they are stored."""
        found: list[tuple[bytes, bytes]] = []
        size = 0
        for key, raw in _Rows(self._segments, self._entries).entries(start, end):
            if len(found) >= keys_max or (found and size + len(raw) > bytes_max):
                return Stored(self._tag(), found, more=True)
            found.append((key, raw))
            size += len(raw)
        return Stored(self._tag(), found, more=False)

    def _tag(self) -> Tag:
        if self._meta is None:
            return Tag(self._saved, 0, {})
        saved = decode_meta(self._meta, 1)
        return Tag(self._saved, saved.arrival, saved.durable.vector)

    def usage(self) -> Usage:
        """Bytes and keys kept."""
        size = sum(len(key) + len(raw) for key, raw in self._entries.items())
        return Usage(size, size, len(self._entries))

    def close(self) -> None:
        """Nothing to close: the contents stay for the next opening."""


class _Rows:
    """``digests.Rows`` over dicts."""

    def __init__(self, segments: dict[bytes, Digest], entries: dict[bytes, bytes]) -> None:
        self._segments = segments
        self._entries = entries

    def segment_of(self, key: bytes) -> tuple[bytes, Digest]:
        start = max((start for start in self._segments if start <= key), default=b"")
        return start, self._segments.get(start, ABSENT)

    def next_segment(self, start: bytes) -> bytes:
        return min((other for other in self._segments if other > start), default=b"")

    def put_segment(self, start: bytes, digest: Digest) -> None:
        self._segments[start] = digest

    def delete_segment(self, start: bytes) -> None:
        del self._segments[start]

    def entries(self, start: bytes, end: bytes) -> Iterator[tuple[bytes, bytes]]:
        for key in sorted(self._entries):
            if key >= start and not (end and key >= end):
                yield key, self._entries[key]
