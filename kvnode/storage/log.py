"""The log in LMDB: blocks come at the end and leave at the front.

Tables:

- ``blocks``: arrival number, 8 bytes big-endian -> ``crc32, 4 bytes | block``; always appended.
- ``ends``: origin, 8 bytes | last seq, 8 bytes -> ``arrival, 8 | chain, 16 | bytes, 8 | wall_ms,
  8 | crc32, 4`` (``ends.py``). It finds what a peer lacks without reading what it has, and the
  chain value any later block depends on. ``bytes`` is the size of all the origin's blocks up to and
  with this one, so that how far a peer is behind is a subtraction. A row stays when its block is
  cut; one that came with a snapshot never had a block here and has arrival 0.
- ``meta``: whose log this is; ``bounds``: first arrival, floor and pruned vector (below); and
  ``record:NAME``, small records of other parts.

Each change is one transaction, synced before the call returns. Blocks go and the floor rises in
the same one, so a crash leaves no hole that the floor does not tell of, and ``lacking`` reads the
floor in the transaction that it reads blocks in: a cut meanwhile cannot make it skip any.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any
from zlib import crc32

from kvnode.core.block import HEAD_BYTES_MAX, SEQ_MAX, Block, block_head
from kvnode.core.dots import Dot, Vector
from kvnode.core.errors import BlockError
from kvnode.storage.bounds import Bounds, adopted_pruned, adopted_rows
from kvnode.storage.compaction import compact_if_wasteful
from kvnode.storage.ends import End, dot_of, end_key, end_of, find_arrival, number_of
from kvnode.storage.environment import Environment, Tables
from kvnode.storage.files import ADVICE
from kvnode.storage.interfaces import (
    Behind,
    BelowFloor,
    DamagedBlock,
    DiskFullError,
    Head,
    StorageError,
    Usage,
)
from kvnode.storage.seal import CRC_BYTES, sealed, unsealed

REPLAY_BLOCKS, ENDS_ROWS = 256, 4096
"""Read per transaction: blocks of a replay, and rows of the index."""
CUT_BLOCKS, PRUNE_ROWS = 1024, 4096
"""Removed per call: a few ms, which the next commit waits."""
BOUNDS = b"bounds"


class LmdbLog:
    """See the module and ``interfaces.Log``. Changes come one at a time."""

    def __init__(self, path: Path, origin: int) -> None:
        """Open or create the log of ``origin``; StorageError if it is another's or damaged."""
        tables = ("blocks", "ends")
        self._env = Environment(path, tables, part="log", origin=origin, bind=self._bind)
        compact_if_wasteful(self._env, free_share=0.5)  # nobody waits yet
        with self._env.read() as txn, txn.cursor(self._blocks) as cursor:
            self._bounds = self._read_bounds(txn)
            self._last = (
                number_of(cursor.key()) if cursor.last() else self._bounds.first_arrival - 1
            )
            self._tails = {origin: self._tail(txn, origin) for origin in self._origins(txn)}
            """origin -> (seq, bytes) of its last index row."""

    def _bind(self, tables: Tables) -> None:
        """Take the table handles: compaction makes new ones, so use them inside transactions."""
        self._blocks, self._ends, self._meta = tables["blocks"], tables["ends"], tables["meta"]

    @property
    def first_arrival(self) -> int:
        """Arrival number of the oldest block kept, or of the next one if none is."""
        return self._bounds.first_arrival

    @property
    def last_arrival(self) -> int:
        """Arrival number of the newest block, 0 if there never was one."""
        return self._last

    @property
    def floor(self) -> Vector:
        """Blocks that end at or below are not all here. Never changed in place."""
        return self._bounds.floor

    @property
    def pruned(self) -> Vector:
        """Block ends below may be unknown. Never changed in place."""
        return self._bounds.pruned

    def append(self, blocks: Sequence[Block]) -> None:
        """Keep the blocks in order; they are on disk when it returns."""

        def change(txn: Any) -> dict[int, tuple[int, int]]:
            arrival = self._last
            tails: dict[int, tuple[int, int]] = {}
            for block in blocks:
                arrival += 1
                key = arrival.to_bytes(8, "big")
                value = crc32(block.raw).to_bytes(CRC_BYTES, "big") + block.raw
                appended = txn.put(key, value, db=self._blocks, append=True)
                assert appended, f"arrival {arrival} is taken"
                origin, seq = block.origin, block.last_seq
                before = tails.get(origin) or self._tails.get(origin, (0, 0))
                tails[origin] = seq, before[1] + len(block.raw)
                end = End(arrival, block.chain, tails[origin][1], block.wall_ms)
                txn.put(end_key(origin, seq), end.row(end_key(origin, seq)), db=self._ends)
            return tails

        self._tails |= self._env.write(change)
        self._last += len(blocks)

    def replay(self, after: int) -> Iterator[tuple[int, bytes]]:
        """(arrival, block) of everything behind ``after``; StorageError on damage."""
        while True:
            batch: list[tuple[bytes, bytes]] = []
            with self._env.read() as txn, txn.cursor(self._blocks) as cursor:
                if after + 1 < self._read_bounds(txn).first_arrival:
                    raise StorageError(
                        f"{self._env.path}: block {after + 1} has left the log, so the state is "
                        "older than the log. Restore both, or start with an empty data directory "
                        "and let peers fill it"
                    )
                found = cursor.set_range((after + 1).to_bytes(8, "big"))
                while found and len(batch) < REPLAY_BLOCKS:
                    batch.append(cursor.item())
                    found = cursor.next()
            if not batch:
                return
            for key, value in batch:
                if number_of(key) != after + 1:
                    raise StorageError(f"{self._env.path}: block {after + 1} is missing")
                raw = self._checked(key, value)
                after += 1
                yield after, raw

    def heads(self, after: int, limit: int) -> list[Head]:
        """Up to ``limit`` of the blocks behind ``after``, of each only the page it begins on."""
        heads: list[Head] = []
        with self._env.read(buffers=True) as txn, txn.cursor(self._blocks) as cursor:
            found = cursor.set_range((after + 1).to_bytes(8, "big"))
            while found and len(heads) < limit:
                heads.append(self._head(txn, cursor))
                found = cursor.next()
        return heads

    def chain_at(self, dot: Dot) -> bytes | None:
        """Chain value of the block that ends at ``dot``."""
        with self._env.read() as txn:
            row = txn.get(end_key(*dot), db=self._ends)
        return end_of(end_key(*dot), row).chain if row else None

    def ends(self, after: Vector) -> Iterator[tuple[Dot, bytes]]:
        """(end, chain value) of all rows at or behind ``after``, sorted."""
        at: Dot | None = (0, 0)
        while at is not None:
            batch: list[tuple[Dot, bytes]] = []
            with self._env.read() as txn, txn.cursor(self._ends) as cursor:
                found = cursor.set_range(end_key(*at))
                at = None
                while found:
                    end = dot_of(cursor.key())
                    if end[1] < after.get(end[0], 0):
                        found = cursor.set_range(end_key(end[0], after[end[0]]))
                    elif len(batch) == ENDS_ROWS:
                        at = end
                        break
                    else:
                        batch.append((end, end_of(*cursor.item()).chain))
                        found = cursor.next()
            yield from batch

    def lacking(
        self, vector: Vector, bytes_max: int, upto: int | None = None
    ) -> tuple[list[bytes], bool]:
        """The first blocks, in arrival order, that ``vector`` lacks, and whether that is all.

        Args:
            upto: arrival number of the last one that counts.
        """
        out: list[bytes] = []
        size = 0
        with self._env.read() as txn:
            for origin, floor in self._read_bounds(txn).floor.items():
                if vector.get(origin, 0) < floor:
                    raise BelowFloor(origin, vector.get(origin, 0), floor)
            ends = [
                self._arrivals(txn, origin, vector.get(origin, 0)) for origin in self._origins(txn)
            ]
            for key, end in heapq.merge(*ends):
                if upto is not None and number_of(key) > upto:
                    break
                raw = self._checked(key, txn.get(key, db=self._blocks), end)
                if out and size + len(raw) > bytes_max:
                    return out, False
                out.append(raw)
                size += len(raw)
        return out, True

    def behind(self, vector: Vector) -> Behind:
        """How much of what is here ``vector`` lacks: per origin one row and one block's size."""
        size = 0
        oldest: int | None = None
        tails = list(self._tails.items())
        with self._env.read(buffers=True) as txn, txn.cursor(self._ends) as cursor:
            floor = self._read_bounds(txn).floor
            for origin, (seq, total) in tails:
                have = max(vector.get(origin, 0), floor.get(origin, 0))
                if have >= seq or not cursor.set_range(end_key(origin, have + 1)):
                    continue
                arrival, _, upto, wall_ms = end_of(*cursor.item())
                block = txn.get(arrival.to_bytes(8, "big"), db=self._blocks)
                first = len(block) - CRC_BYTES if block is not None else 0
                size += total - upto + first
                oldest = wall_ms if oldest is None else min(oldest, wall_ms)
        return Behind(size, oldest)

    def cut(self, arrival: int) -> int:
        """Remove blocks up to ``arrival``, at most CUT_BLOCKS; returns the new first arrival.

        A full disk must not stop what makes room: if there is none for the pages of a large
        change, a smaller one may do with the pages that earlier changes left free.
        """
        limit = CUT_BLOCKS
        while True:
            try:
                first = self._cut(arrival, limit)
                break
            except DiskFullError:
                if limit == 1:
                    raise
                limit = max(1, limit // 8)
        compact_if_wasteful(self._env)
        return first

    def _cut(self, arrival: int, limit: int) -> int:
        def change(txn: Any) -> Bounds:
            first, floor = self._bounds.first_arrival, dict(self._bounds.floor)
            last = min(arrival, first + limit - 1)
            with txn.cursor(self._blocks) as cursor:
                found = cursor.first()
                while found and number_of(cursor.key()) <= last:
                    head = self._head(txn, cursor)
                    origin, seq = head.end
                    floor[origin] = max(floor.get(origin, 0), seq)
                    first = head.arrival + 1
                    found = cursor.delete() and bool(cursor.key())
            bounds = Bounds(first, floor, self._bounds.pruned)
            txn.put(BOUNDS, bounds.encode(), db=self._meta)
            return bounds

        if arrival >= self.first_arrival:
            self._bounds = self._env.write(change, buffers=True)
        return self.first_arrival

    def prune(self, stable: Vector) -> int:
        """Remove index rows below ``stable`` whose blocks are cut, at most PRUNE_ROWS."""

        def change(txn: Any) -> int:
            removed = 0
            pruned = dict(self._bounds.pruned)
            with txn.cursor(self._ends) as cursor:
                for origin, seq in sorted(stable.items()):
                    found = cursor.set_range(end_key(origin, 0))
                    while (
                        found
                        and removed < PRUNE_ROWS
                        and cursor.key() < end_key(origin, seq)
                        and end_of(*cursor.item()).arrival < self.first_arrival
                    ):
                        pruned[origin] = max(pruned.get(origin, 0), dot_of(cursor.key())[1] + 1)
                        found = cursor.delete() and bool(cursor.key())
                        removed += 1
            bounds = Bounds(self.first_arrival, self._bounds.floor, pruned)
            txn.put(BOUNDS, bounds.encode(), db=self._meta)
            # Before the rows are gone: who does not find one asks next whether it was pruned.
            self._bounds = bounds
            return removed

        return self._env.write(change) if self._prunable(stable) else 0

    def _prunable(self, stable: Vector) -> bool:
        """Whether a transaction is worth it: each one costs a sync."""
        with self._env.read() as txn, txn.cursor(self._ends) as cursor:
            return any(
                cursor.set_range(end_key(origin, 0))
                and cursor.key() < end_key(origin, seq)
                and end_of(*cursor.item()).arrival < self.first_arrival
                for origin, seq in stable.items()
            )

    def adopt(self, floor: Vector, ends: Iterable[tuple[Dot, bytes]]) -> None:
        """Raise the floor and add the rows of a snapshot, in one transaction."""
        floor, rows = adopted_rows(self.floor, floor, ends)
        seqs = {origin: seq for origin, (seq, _) in self._tails.items()}
        bounds = Bounds(self.first_arrival, floor, adopted_pruned(self.pruned, floor, rows, seqs))

        def change(txn: Any) -> dict[int, tuple[int, int]]:
            tails: dict[int, tuple[int, int]] = {}
            for (origin, seq), chain in rows:
                last, size = self._tails.get(origin, (0, 0))
                key = end_key(origin, seq)
                txn.put(key, End(0, chain, size, 0).row(key), db=self._ends, overwrite=False)
                tails[origin] = max(last, seq), size
            txn.put(BOUNDS, bounds.encode(), db=self._meta)
            return tails

        self._tails |= self._env.write(change)
        self._bounds = bounds

    def get_record(self, name: bytes) -> bytes | None:
        """The record of that name."""
        with self._env.read() as txn:
            row = txn.get(b"record:" + name, db=self._meta)
        return unsealed(name, row, f"{self._env.path}: {name.decode()}") if row else None

    def put_record(self, name: bytes, value: bytes) -> None:
        """Keep the record, synced."""
        row = sealed(name, value)
        self._env.write(lambda txn: txn.put(b"record:" + name, row, db=self._meta))

    def usage(self) -> Usage:
        """Bytes in use and mapped, blocks kept."""
        return self._env.usage("blocks")

    def held(self) -> AbstractContextManager[Callable[[], bool]]:
        """See ``Environment.held``."""
        return self._env.held()

    def close(self) -> None:
        """Close the log."""
        self._env.close()

    def _read_bounds(self, txn: Any) -> Bounds:
        raw = txn.get(BOUNDS, db=self._meta)
        try:
            return Bounds() if raw is None else Bounds.decode(bytes(raw))
        except ValueError as error:
            raise StorageError(f"{self._env.path}: {error}. {ADVICE}") from error

    def _head(self, txn: Any, cursor: Any) -> Head:
        """Of the block under a cursor of a transaction with buffers: as the index has it.

        What is damaged is served to nobody, but has to leave the log some day like any other: so
        nothing here depends on the block, it only says where to look.
        """
        arrival, value = number_of(cursor.key()), cursor.value()
        try:
            said, _ = block_head(bytes(value[CRC_BYTES : CRC_BYTES + HEAD_BYTES_MAX]))
        except BlockError:
            said = (0, 0)
        dot, end = find_arrival(txn, self._ends, arrival, said)
        if end is None:
            raise StorageError(f"{self._env.path}: block {arrival} is in no index. {ADVICE}")
        return Head(arrival, dot, len(value) - CRC_BYTES, end.wall_ms)

    def _origins(self, txn: Any) -> list[int]:
        origins = []
        with txn.cursor(self._ends) as cursor:
            found = cursor.first()
            while found:
                origin = number_of(cursor.key()[:8])
                origins.append(origin)
                found = origin < 2**64 - 1 and cursor.set_range(end_key(origin + 1, 0))
        return origins

    def _tail(self, txn: Any, origin: int) -> tuple[int, int]:
        """(seq, bytes) of the last row of an origin that has one."""
        with txn.cursor(self._ends) as cursor:
            behind = cursor.set_range(end_key(origin, 2**64 - 1))
            found = cursor.prev() if behind else cursor.last()
            assert found, f"no row of {origin:016x}"
            return dot_of(cursor.key())[1], end_of(*cursor.item()).upto_bytes

    def _arrivals(self, txn: Any, origin: int, have: int) -> Iterator[tuple[bytes, bytes]]:
        """Keys and ends of the origin's blocks behind ``have``: its arrival order is its own."""
        prefix = origin.to_bytes(8, "big")
        with txn.cursor(self._ends) as cursor:
            found = cursor.set_range(end_key(origin, min(have, SEQ_MAX) + 1))  # as a peer says
            while found and cursor.key().startswith(prefix):
                yield end_of(*cursor.item()).arrival.to_bytes(8, "big"), cursor.key()
                found = cursor.next()

    def _checked(self, key: bytes, value: bytes | None, end: bytes = bytes(16)) -> bytes:
        if value is None:
            raise StorageError(f"{self._env.path}: block {number_of(key)} is missing")
        raw = value[CRC_BYTES:]
        if crc32(raw).to_bytes(CRC_BYTES, "big") != value[:CRC_BYTES]:
            raise DamagedBlock(
                f"{self._env.path}: block {number_of(key)} fails its checksum. {ADVICE}",
                (number_of(end[:8]), number_of(end[8:])),
                raw,
            )
        return raw
