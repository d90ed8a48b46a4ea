"""A node's log: its newest blocks wait in the tail and in memory, all others are in LMDB.

Rounds that find no more room in the tail take what waits with them to LMDB, in one transaction. So
do a cut of what waits, a snapshot that is adopted, and a stop. What waits is at most as much as the
tail holds, and ``WAITING_BLOCKS_MAX``; reading the log reads LMDB and then that.

Readers are on other threads than the one that changes the log, and must find every block once while
some are moved. So what waits is an object that is replaced when LMDB has it: who has looked at it
first knows which blocks LMDB need not be asked for.
"""

from __future__ import annotations

import heapq
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from kvnode.core.block import Block
from kvnode.core.dots import Dot, Vector
from kvnode.storage.files import ADVICE, LOST_BLOCK_ADVICE, sync
from kvnode.storage.interfaces import (
    Behind,
    DamagedBlock,
    DiskFullError,
    Head,
    StorageError,
    Usage,
)
from kvnode.storage.log import LmdbLog
from kvnode.storage.tail import NAME, Tail, make_tail

logger = logging.getLogger(__name__)
WAITING_BLOCKS_MAX = 1024
"""Some readers look at each, and the next round waits while so many are moved."""


class _Waiting:
    """Blocks that LMDB does not have; they become more until it does."""

    __slots__ = ("after", "blocks", "by_end", "bytes")

    def __init__(self, after: int, blocks: Sequence[Block] = ()) -> None:
        self.after = after
        """Arrival number of LMDB's last block: theirs are the next ones."""
        self.blocks: list[Block] = []
        self.by_end: dict[Dot, Block] = {}
        self.bytes = 0
        self.add(blocks)

    def add(self, blocks: Sequence[Block]) -> None:
        self.by_end.update((block.end, block) for block in blocks)
        self.blocks.extend(blocks)
        self.bytes += sum(len(block.raw) for block in blocks)

    @property
    def last_arrival(self) -> int:
        return self.after + len(self.blocks)

    def lacking(self, vector: Vector) -> list[Block]:
        """Those of now that the vector lacks."""
        return [
            block for block in tuple(self.blocks) if block.last_seq > vector.get(block.origin, 0)
        ]

    def behind(self, arrival: int) -> list[tuple[int, Block]]:
        """Those of now with higher numbers."""
        skipped = max(0, arrival - self.after)
        return list(enumerate(self.blocks, self.after + 1))[skipped:]


class TailedLog:
    """See the module and ``interfaces.Log``. Changes come one at a time."""

    damage = ""
    """What is damaged in the tail, in words; then only ``replay`` tells of what is behind that."""

    def __init__(self, folder: Path, store: int) -> None:
        """Open or create the log of ``store``; StorageError if it is another's or cannot be read.

        A log of which blocks in the tail are damaged can be read, and not be written.
        """
        if not (folder / "data.mdb").exists():
            if (folder / NAME).exists():
                raise StorageError(f"{folder / 'data.mdb'} is missing. {ADVICE}")
            make_tail(folder)
        self.in_lmdb = LmdbLog(folder, store)
        try:
            _sync(folder / "data.mdb")  # a move may have been killed on its way, and reads as done
            self.tail = Tail(folder, store)
            try:
                after = self.in_lmdb.last_arrival
                found = self.tail.read(after)
            except BaseException:
                self.tail.close()
                raise
        except BaseException:
            self.in_lmdb.close()
            raise
        self._waiting = _Waiting(after, found.blocks)
        self._beyond = found.beyond
        self._failed = bool(found.beyond)
        """Nothing is to be moved: a write failed, so what is on disk is not known before the next
        start, or the tail is damaged."""
        if found.beyond:
            self.damage = (
                f"block {self._waiting.last_arrival + 1} of the log, which waits in "
                f"{folder / NAME}, fails its checksum"
            )
        elif found.unfinished:
            logger.warning(
                "block %d of the log in %s is not whole: it was being written when the node was "
                "killed, or it is damaged; it is left out",
                self.last_arrival + 1,
                folder / NAME,
            )

    @property
    def first_arrival(self) -> int:
        """Arrival number of the oldest block kept, or of the next one if none is."""
        return self.in_lmdb.first_arrival

    @property
    def last_arrival(self) -> int:
        """Arrival number of the newest block, 0 if there never was one."""
        return self._beyond[-1][0] if self._beyond else self._waiting.last_arrival

    @property
    def floor(self) -> Vector:
        """Blocks that end at or below are not all here. Never changed in place."""
        return self.in_lmdb.floor

    @property
    def pruned(self) -> Vector:
        """Block ends below may be unknown. Never changed in place."""
        return self.in_lmdb.pruned

    def append(self, blocks: Sequence[Block]) -> None:
        """Keep the blocks in order; they are on disk when it returns."""
        self.check_damage()
        waiting = self._waiting
        fits = len(waiting.blocks) + len(blocks) <= WAITING_BLOCKS_MAX
        try:
            fits = fits and self.tail.append(waiting.last_arrival + 1, blocks)
        except StorageError:
            self._failed = True
            raise
        if fits:
            waiting.add(blocks)
        else:
            self._move(blocks)

    def check_damage(self) -> None:
        """Raise StorageError if it cannot be written because the tail is damaged."""
        if self.damage:
            raise StorageError(f"{self.damage}, and {LOST_BLOCK_ADVICE}")

    def _move(self, blocks: Sequence[Block] = ()) -> None:
        """Let LMDB have what waits, and these."""
        self.check_damage()
        waiting = [*self._waiting.blocks, *blocks]
        if not waiting:
            return
        try:
            self.in_lmdb.append(waiting)
        except StorageError:
            self._failed = True
            raise
        self._waiting = _Waiting(self.in_lmdb.last_arrival)
        self.tail.start_over()

    def replay(self, after: int) -> Iterator[tuple[int, bytes]]:
        """(arrival, block) of everything behind ``after``; StorageError on damage.

        DamagedBlock in the place of each block that is damaged, as of one in LMDB.
        """
        newest = self._waiting.behind(after)
        last = after
        for last, raw in self.in_lmdb.replay(after):
            yield last, raw
        for arrival, block in newest:
            if arrival > last:
                last = arrival
                yield arrival, block.raw
        for arrival, block in self._beyond:
            if arrival > last + 1:
                told = f"block {last + 1} of the log's tail fails its checksum. {ADVICE}"
                raise DamagedBlock(told, (0, 0), b"")
            if arrival > last:
                last = arrival
                yield arrival, block.raw

    def heads(self, after: int, limit: int) -> list[Head]:
        """Up to ``limit`` of the blocks behind ``after``, of each only the page it begins on."""
        newest = self._waiting.behind(after)
        heads = self.in_lmdb.heads(after, limit)
        last = heads[-1].arrival if heads else after
        heads += [
            Head(arrival, block.end, len(block.raw), block.wall_ms)
            for arrival, block in newest[:limit]
            if arrival > last
        ]
        return heads[:limit]

    def chain_at(self, dot: Dot) -> bytes | None:
        """Chain value of the block that ends at ``dot``."""
        block = self._waiting.by_end.get(dot)
        return block.chain if block else self.in_lmdb.chain_at(dot)

    def ends(self, after: Vector) -> Iterator[tuple[Dot, bytes]]:
        """(end, chain value) of all rows at or behind ``after``, sorted."""
        newest = sorted(
            (end, block.chain)
            for block in tuple(self._waiting.blocks)
            if (end := block.end)[1] >= after.get(end[0], 0)
        )
        last: Dot | None = None
        for end, chain in heapq.merge(newest, self.in_lmdb.ends(after)):
            if end != last:
                yield end, chain
            last = end

    def lacking(self, vector: Vector, bytes_max: int) -> tuple[list[bytes], bool]:
        """The first blocks, in arrival order, that ``vector`` lacks, and whether that is all."""
        waiting = self._waiting
        newest = waiting.lacking(vector)
        out, complete = self.in_lmdb.lacking(vector, bytes_max, upto=waiting.after)
        size = sum(map(len, out))
        for block in newest if complete else ():
            if out and size + len(block.raw) > bytes_max:
                return out, False
            out.append(block.raw)
            size += len(block.raw)
        return out, complete

    def behind(self, vector: Vector) -> Behind:
        """How much of what is here ``vector`` lacks: per origin one row and one block's size.

        What is being moved this moment may be counted twice.
        """
        newest = self._waiting.lacking(vector)
        size, oldest = self.in_lmdb.behind(vector)
        firsts = {block.origin: block.wall_ms for block in reversed(newest)}
        if oldest is not None:
            firsts[-1] = oldest
        return Behind(
            size + sum(len(block.raw) for block in newest), min(firsts.values(), default=None)
        )

    def cut(self, arrival: int) -> int:
        """Remove blocks up to ``arrival``, a bounded number; returns the new first arrival.

        What makes room must not need any: if LMDB cannot take what waits, its own blocks go.
        """
        if arrival > self.in_lmdb.last_arrival:
            try:
                self._move()
            except DiskFullError:
                if self.in_lmdb.first_arrival > self.in_lmdb.last_arrival:
                    raise
        return self.in_lmdb.cut(arrival)

    def prune(self, stable: Vector) -> int:
        """Remove index rows below ``stable`` whose blocks are cut, a bounded number."""
        return self.in_lmdb.prune(stable)

    def adopt(self, floor: Vector, ends: Iterable[tuple[Dot, bytes]]) -> None:
        """Raise the floor and add the rows of a snapshot, in one transaction."""
        self._move()
        self.in_lmdb.adopt(floor, ends)

    def get_record(self, name: bytes) -> bytes | None:
        """The record of that name."""
        return self.in_lmdb.get_record(name)

    def put_record(self, name: bytes, value: bytes) -> None:
        """Keep the record, synced."""
        self.in_lmdb.put_record(name, value)

    def usage(self) -> Usage:
        """Bytes in use and mapped, blocks kept; what waits counts with what it will be there."""
        waiting, usage = self._waiting, self.in_lmdb.usage()
        return usage._replace(
            used_bytes=usage.used_bytes + waiting.bytes,
            records=usage.records + len(waiting.blocks),
            records_bytes=usage.records_bytes + waiting.bytes,
        )

    def held(self) -> AbstractContextManager[Callable[[], bool]]:
        """See ``Environment.held``."""
        return self.in_lmdb.held()

    def close(self, *, as_it_is: bool = False) -> None:
        """Close the log; a second call does nothing. What waits is on disk in any case.

        Args:
            as_it_is: write nothing more.
        """
        try:
            if not (self._failed or as_it_is):
                self._move()
        except (StorageError, DiskFullError) as error:
            logger.warning("the newest blocks stay in the log's tail: %s", error)
        finally:
            self._failed = True
            self.in_lmdb.close()
            self.tail.close()


def _sync(file: Path) -> None:
    try:
        sync(file)
    except OSError as error:
        raise StorageError(f"{file} cannot be synced ({error}). {ADVICE}") from error
