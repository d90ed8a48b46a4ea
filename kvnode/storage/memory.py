"""The in-memory twin of log and state store, for model tests and simulation.

It keeps the encoded bytes, exactly as LMDB would, so that what is read back is never the object
that was written. ``append`` and ``save`` are atomic and durable when they return; a test crashes a
node by dropping everything but these two objects, or by making the next write fail.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from kvnode.core.block import Block
from kvnode.core.digest import ABSENT, Digest, key_digest
from kvnode.core.dots import Covered, Dot, Vector
from kvnode.core.entry import Entry, decode_entry, encode_entry, in_conflict, opened
from kvnode.core.requests import Remembered, Row
from kvnode.storage.bounds import adopted_pruned, adopted_rows
from kvnode.storage.checkpoint import decode_meta, encode_meta, garbage_rows
from kvnode.storage.deadlines import change_rows, sweep
from kvnode.storage.digests import Segments
from kvnode.storage.interfaces import (
    Behind,
    BelowFloor,
    Checkpoint,
    DamagedBlock,
    DiskFullError,
    Expiring,
    Head,
    Segmented,
    StorageError,
    Stored,
    Table,
    Tag,
    Usage,
)
from kvnode.storage.rows import encode_loser


class End(NamedTuple):
    """An index row of the log."""

    arrival: int
    chain: bytes


class MemoryLog:
    """``interfaces.Log`` over a dict."""

    def __init__(self) -> None:
        self.full = False
        """While set, appends fail with DiskFullError."""
        self.rotten: set[Dot] = set()
        """Ends of blocks that fail their checksum when they are asked for."""
        self.floor: Vector = {}
        self.pruned: Vector = {}
        self.first_arrival = 1
        self._blocks: dict[int, tuple[Head, bytes]] = {}
        self._ends: dict[Dot, End] = {}
        self._records: dict[bytes, bytes] = {}

    @property
    def last_arrival(self) -> int:
        """Arrival number of the newest block, 0 if there never was one."""
        return self.first_arrival + len(self._blocks) - 1

    def append(self, blocks: Sequence[Block]) -> None:
        """Keep the blocks in order."""
        if self.full:
            raise DiskFullError("no room in the memory log")
        for block in blocks:
            arrival = self.last_arrival + 1
            head = Head(arrival, block.end, len(block.raw), block.wall_ms)
            self._blocks[arrival] = head, block.raw
            self._ends[block.end] = End(arrival, block.chain)

    def replay(self, after: int) -> Iterator[tuple[int, bytes]]:
        """(arrival, block) of everything behind ``after``."""
        if after + 1 < self.first_arrival:
            raise StorageError(f"memory log: block {after + 1} has left the log")
        for arrival in range(after + 1, self.last_arrival + 1):
            yield arrival, self._blocks[arrival][1]

    def heads(self, after: int, limit: int) -> list[Head]:
        """Up to ``limit`` of the blocks behind ``after``."""
        arrivals = range(max(after + 1, self.first_arrival), self.last_arrival + 1)
        return [self._blocks[arrival][0] for arrival in arrivals[:limit]]

    def chain_at(self, dot: Dot) -> bytes | None:
        """Chain value of the block that ends at ``dot``."""
        end = self._ends.get(dot)
        return end.chain if end else None

    def ends(self, after: Vector) -> Iterator[tuple[Dot, bytes]]:
        """(end, chain value) of all rows at or behind ``after``, sorted."""
        for dot, end in sorted(self._ends.items()):
            if dot[1] >= after.get(dot[0], 0):
                yield dot, end.chain

    def lacking(self, vector: Vector, bytes_max: int) -> tuple[list[bytes], bool]:
        """The first blocks, in arrival order, that ``vector`` lacks, and whether that is all."""
        for origin, floor in self.floor.items():
            if vector.get(origin, 0) < floor:
                raise BelowFloor(origin, vector.get(origin, 0), floor)
        out: list[bytes] = []
        size = 0
        for head, raw in self._lacked(vector):
            if head.end in self.rotten:
                raise DamagedBlock(f"block {head.end} is rotten", head.end, b"\0" + raw)
            if out and size + len(raw) > bytes_max:
                return out, False
            out.append(raw)
            size += len(raw)
        return out, True

    def behind(self, vector: Vector) -> Behind:
        """How much of what is here ``vector`` lacks."""
        have = {**vector, **{o: max(vector.get(o, 0), seq) for o, seq in self.floor.items()}}
        heads = [head for head, _ in self._lacked(have)]
        firsts = {head.end[0]: head.wall_ms for head in reversed(heads)}
        return Behind(sum(head.bytes for head in heads), min(firsts.values(), default=None))

    def cut(self, arrival: int) -> int:
        """Remove blocks up to ``arrival``."""
        floor = dict(self.floor)
        while self._blocks and self.first_arrival <= arrival:
            (origin, seq) = self._blocks.pop(self.first_arrival)[0].end
            floor[origin] = max(floor.get(origin, 0), seq)
            self.first_arrival += 1
        self.floor = floor
        return self.first_arrival

    def prune(self, stable: Vector) -> int:
        """Remove index rows below ``stable`` whose blocks are cut."""
        pruned = dict(self.pruned)
        gone = [
            dot
            for dot, end in self._ends.items()
            if dot[1] < stable.get(dot[0], 0) and end.arrival < self.first_arrival
        ]
        for dot in gone:
            pruned[dot[0]] = max(pruned.get(dot[0], 0), dot[1] + 1)
            del self._ends[dot]
        self.pruned = pruned
        return len(gone)

    def adopt(self, floor: Vector, ends: Iterable[tuple[Dot, bytes]]) -> None:
        """Raise the floor and add the rows of a snapshot."""
        merged, rows = adopted_rows(self.floor, floor, ends)
        tails = dict(sorted(self._ends))
        self.pruned = adopted_pruned(self.pruned, merged, rows, tails)
        self.floor = merged
        for dot, chain in rows:
            self._ends.setdefault(dot, End(0, chain))

    def get_record(self, name: bytes) -> bytes | None:
        """The record of that name."""
        return self._records.get(name)

    def put_record(self, name: bytes, value: bytes) -> None:
        """Keep the record."""
        self._records[name] = value

    def usage(self) -> Usage:
        """Bytes and blocks kept."""
        size = sum(head.bytes for head, _ in self._blocks.values())
        return Usage(size, size, len(self._blocks), size, size)

    def close(self) -> None:
        """Nothing to close: the contents stay for the next opening."""

    def _lacked(self, vector: Vector) -> Iterator[tuple[Head, bytes]]:
        for head, raw in self._blocks.values():
            if head.end[1] > vector.get(head.end[0], 0):
                yield head, raw


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
        self._requests: dict[int, tuple[bytes, Row]] = {}
        self._garbage: dict[Dot, bytes] = {}
        self._deadlines: dict[Expiring, bytes] = {}
        self._rows: dict[str, dict[int, bytes]] = {"journal": {}, "quarantine": {}}
        self._meta: bytes | None = None

    def load(self, window: int) -> Checkpoint | None:
        """The last checkpoint without its entries."""
        if self._meta is None:
            return None
        checkpoint = decode_meta(self._meta, window)
        for request_id, remembered in self._requests.values():
            checkpoint.requests.append((request_id, remembered))
            checkpoint.durable.requests.restore(request_id, Remembered(*remembered))
        return checkpoint

    def get(self, key: bytes) -> Entry | None:
        """The key's entry."""
        raw = self._entries.get(key)
        return None if raw is None else decode_entry(raw, key)

    def get_many(self, keys: Iterable[bytes]) -> list[bytes | None]:
        """Entries as they are stored."""
        return [self._entries.get(key) for key in keys]

    def keys(self, start: bytes, end: bytes, limit: int, *, conflicts: bool) -> list[bytes]:
        """Up to ``limit`` keys >= start and < end, of all or of those in conflict."""
        table = self._conflicts if conflicts else self._entries.keys()
        return sorted(key for key in table if key >= start and (not end or key < end))[:limit]

    def rows(self, table: Table) -> Iterator[tuple[int, bytes]]:
        """All rows, by ascending number."""
        yield from sorted(self._rows[table].items())

    def row(self, table: Table, number: int) -> bytes | None:
        """One row."""
        return self._rows[table].get(number)

    def put_rows(self, table: Table, rows: Mapping[int, bytes | None]) -> None:
        """Write or remove rows."""
        if self.full:
            raise DiskFullError("no room in the memory state")
        for number, raw in rows.items():
            self._rows[table].pop(number, None)
            if raw is not None:
                self._rows[table][number] = raw

    def hurry(self) -> None:
        """Nothing is spread."""

    def save(self, checkpoint: Checkpoint) -> None:
        """Write the checkpoint."""
        if self.full:
            raise DiskFullError("no room in the memory state")
        before, horizon = self._tag().horizon, checkpoint.durable.horizon
        rows = SegmentRows(self._segments, self._entries)
        segments = Segments(rows, before)
        entries = {key: opened(held) for key, held in sorted(checkpoint.entries.items())}
        for key, entry in entries.items():
            self._conflicts.discard(key)
            old = self._entries.pop(key, None)
            if entry:
                self._entries[key] = encode_entry(entry, key)
                if in_conflict(entry, before):
                    self._conflicts.add(key)
            digest = key_digest(key, entry, before)
            was = segments.change(key, old, *digest, gone=not entry)
            change_rows(self, key, was, entry, before)
        segments.finish()
        for key in sorted(checkpoint.recount):
            segments.recount(key)
        segments.finish()
        self._total = self._total.plus(segments.change_of_total)
        self._saved += 1
        for request_id, remembered in checkpoint.requests:
            self._requests[remembered[0]] = (request_id, remembered)
        for number in checkpoint.requests_forgotten:
            self._requests.pop(number, None)
        for dot in checkpoint.collected:
            self._garbage.pop(dot, None)
        self._garbage.update(garbage_rows(entries.items(), before))
        if horizon > before:
            self._total = self._total.plus(sweep(rows, self, before, horizon))
        journal = self._rows["journal"]
        journal.update((number, encode_loser(loser)) for number, loser in checkpoint.journal)
        for number in [each for each in journal if each < checkpoint.journal_floor]:
            del journal[number]
        self._meta = encode_meta(checkpoint)

    def garbage(self, stable: Vector, limit: int, after: Dot = (0, 0)) -> list[tuple[Dot, bytes]]:
        """Garbage rows that ``stable`` covers, ascending, those behind ``after``."""
        rows = sorted(self._garbage.items())
        return [row for row in rows if row[0] > after and row[0] in Covered(stable)][:limit]

    def waiting(self) -> dict[int, int]:
        """origin -> garbage rows of its deletes."""
        return dict(Counter(origin for origin, _ in self._garbage))

    def expiring(
        self, until: int, limit: int, after: Expiring
    ) -> tuple[Tag, list[tuple[Expiring, bytes]]]:
        """Values behind ``after`` with deadlines till ``until``, ascending."""
        rows = sorted(self._deadlines.items())
        return self._tag(), [r for r in rows if r[0] > after and r[0].deadline <= until][:limit]

    def to_expire(self) -> int:
        """How many values have a deadline behind the horizon."""
        return len(self._deadlines)

    # ---- deadlines.Waiting

    def put_deadline(self, deadline: int, dot: Dot, key: bytes) -> None:
        self._deadlines[Expiring(deadline, *dot)] = key

    def delete_deadline(self, deadline: int, dot: Dot) -> None:
        self._deadlines.pop(Expiring(deadline, *dot), None)

    def take_deadlines(self, until: int) -> set[bytes]:
        taken = {row: key for row, key in self._deadlines.items() if row.deadline <= until}
        for row in taken:
            del self._deadlines[row]
        return set(taken.values())

    def add_garbage(self, dots: list[Dot], key: bytes) -> None:
        for dot in dots:
            self._garbage.setdefault(dot, key)

    def mark_conflict(self, key: bytes, *, conflict: bool) -> None:
        if conflict:
            self._conflicts.add(key)
        else:
            self._conflicts.discard(key)

    def total(self) -> tuple[Tag, Digest]:
        """The digest of all keys."""
        return self._tag(), self._total

    def segments(self, start: bytes, end: bytes) -> Segmented:
        """The digests of the segments that share keys with [start, end)."""
        rows = SegmentRows(self._segments, self._entries)
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
        for key, raw in SegmentRows(self._segments, self._entries).entries(start, end):
            if len(found) >= keys_max or (found and size + len(raw) > bytes_max):
                return Stored(self._tag(), found, more=True)
            found.append((key, raw))
            size += len(raw)
        return Stored(self._tag(), found, more=False)

    def _tag(self) -> Tag:
        if self._meta is None:
            return Tag(self._saved, 0, {})
        saved = decode_meta(self._meta, 1)
        return Tag(self._saved, saved.arrival, saved.durable.vector, saved.durable.horizon)

    def tidy(self, goes_on: Callable[[], bool]) -> None:
        """There is nothing to tidy."""

    def usage(self) -> Usage:
        """Bytes and keys kept."""
        size = sum(len(key) + len(raw) for key, raw in self._entries.items())
        return Usage(size, size, len(self._entries), size, size)

    def close(self) -> None:
        """Nothing to close: the contents stay for the next opening."""


class SegmentRows:
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

    def entries(self, start: bytes, end: bytes) -> Generator[tuple[bytes, bytes], None, None]:
        for key in sorted(self._entries):
            if key >= start and not (end and key >= end):
                yield key, self._entries[key]
