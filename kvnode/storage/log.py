"""The append-only log over LMDB.

Tables:

- ``blocks``: arrival number, 8 bytes big-endian -> ``crc32, 4 bytes | block``; always appended.
- ``ends``: origin, 8 bytes | last seq, 8 bytes -> ``arrival, 8 bytes | chain, 16 bytes``. It finds
  what a peer lacks without reading what it has, and the chain value any later block depends on.
- ``meta``: whose log this is.

Both tables change in one transaction, one per round; it is synced before ``append`` returns.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from zlib import crc32

from kvnode.core.block import Block
from kvnode.core.dots import Dot, Vector
from kvnode.storage.environment import Environment
from kvnode.storage.interfaces import DamagedBlock, StorageError, Usage

REPLAY_BLOCKS = 256
"""Blocks read per transaction while replaying."""


class LmdbLog:
    """See the module and ``interfaces.Log``. Appends come from one thread."""

    def __init__(self, path: Path, origin: int) -> None:
        """Open or create the log of ``origin``; StorageError if it is another's or damaged."""
        self._env = Environment(path, ("blocks", "ends"), part="log", origin=origin)
        self._blocks = self._env.tables["blocks"]
        self._ends = self._env.tables["ends"]
        with self._env.read() as txn, txn.cursor(self._blocks) as cursor:
            self._first = _number(cursor.key()) if cursor.first() else 1
            self._last = _number(cursor.key()) if cursor.last() else 0

    @property
    def first_arrival(self) -> int:
        """Arrival number of the oldest block kept."""
        return self._first

    @property
    def last_arrival(self) -> int:
        """Arrival number of the newest block, 0 if there is none."""
        return self._last

    def append(self, blocks: Sequence[Block]) -> None:
        """Keep the blocks in order; they are on disk when it returns."""

        def change(txn: Any) -> None:
            arrival = self._last
            for block in blocks:
                arrival += 1
                key = arrival.to_bytes(8, "big")
                value = crc32(block.raw).to_bytes(4, "big") + block.raw
                appended = txn.put(key, value, db=self._blocks, append=True)
                assert appended, f"arrival {arrival} is taken"
                txn.put(_end(block.origin, block.last_seq), key + block.chain, db=self._ends)

        self._env.write(change)
        self._last += len(blocks)

    def replay(self, after: int) -> Iterator[tuple[int, bytes]]:
        """(arrival, block) of everything behind ``after``; StorageError on damage."""
        while True:
            batch: list[tuple[int, bytes]] = []
            with self._env.read() as txn, txn.cursor(self._blocks) as cursor:
                found = cursor.set_range((after + 1).to_bytes(8, "big"))
                while found and len(batch) < REPLAY_BLOCKS:
                    batch.append((_number(cursor.key()), self._checked(*cursor.item())))
                    found = cursor.next()
            if not batch:
                return
            for arrival, raw in batch:
                if arrival != after + 1:
                    raise StorageError(f"{self._env.path}: block {after + 1} is missing")
                yield arrival, raw
                after = arrival

    def chain_at(self, dot: Dot) -> bytes | None:
        """Chain value of the block that ends at ``dot``."""
        with self._env.read() as txn:
            value: bytes | None = txn.get(_end(*dot), db=self._ends)
        return value[8:] if value else None

    def lacking(self, vector: Vector, bytes_max: int) -> tuple[list[bytes], bool]:
        """The first blocks, in arrival order, that ``vector`` lacks, and whether that is all."""
        out: list[bytes] = []
        size = 0
        with self._env.read() as txn:
            ends = [
                self._arrivals(txn, origin, vector.get(origin, 0)) for origin in self._origins(txn)
            ]
            for key, end in heapq.merge(*ends):
                raw = self._checked(key, txn.get(key, db=self._blocks), end)
                if out and size + len(raw) > bytes_max:
                    return out, False
                out.append(raw)
                size += len(raw)
        return out, True

    def usage(self) -> Usage:
        """Bytes in use and mapped, blocks kept."""
        return self._env.usage("blocks")

    def close(self) -> None:
        """Close the log."""
        self._env.close()

    def _origins(self, txn: Any) -> list[int]:
        origins = []
        with txn.cursor(self._ends) as cursor:
            found = cursor.first()
            while found:
                origin = _number(cursor.key()[:8])
                origins.append(origin)
                found = origin < 2**64 - 1 and cursor.set_range(_end(origin + 1, 0))
        return origins

    def _arrivals(self, txn: Any, origin: int, have: int) -> Iterator[tuple[bytes, bytes]]:
        """Keys and ends of the origin's blocks behind ``have``: its arrival order is its own."""
        prefix = origin.to_bytes(8, "big")
        with txn.cursor(self._ends) as cursor:
            found = cursor.set_range(_end(origin, have + 1))
            while found and cursor.key().startswith(prefix):
                yield cursor.value()[:8], cursor.key()
                found = cursor.next()

    def _checked(self, key: bytes, value: bytes, end: bytes = bytes(16)) -> bytes:
        raw = value[4:]
        if crc32(raw).to_bytes(4, "big") != value[:4]:
            raise DamagedBlock(
                f"{self._env.path}: block {_number(key)} fails its checksum. Restore the data "
                "directory, or start with an empty one and let peers fill it",
                (_number(end[:8]), _number(end[8:])),
                raw,
            )
        return raw


def _end(origin: int, seq: int) -> bytes:
    return origin.to_bytes(8, "big") + seq.to_bytes(8, "big")


def _number(key: bytes) -> int:
    return int.from_bytes(key, "big")
