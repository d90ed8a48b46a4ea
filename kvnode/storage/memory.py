"""The in-memory twin of log and state store, for model tests and simulation.

It keeps the encoded bytes, exactly as LMDB would, so that what is read back is never the object
that was written. ``append`` and ``save`` are atomic and durable when they return; a test crashes a
node by dropping everything but these two objects, or by making the next write fail.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from kvnode.core.block import Block, decode_block
from kvnode.core.dots import Dot, Vector
from kvnode.core.entry import Entry, decode_entry, encode_entry, in_conflict
from kvnode.core.requests import Remembered
from kvnode.storage.interfaces import Checkpoint, DamagedBlock, DiskFullError, Table, Usage
from kvnode.storage.rows import encode_loser
from kvnode.storage.state import decode_meta, encode_meta


class MemoryLog:
    """``interfaces.Log`` over a list."""

    first_arrival = 1

    def __init__(self) -> None:
        self.full = False
        """While set, appends fail with DiskFullError."""
        self.rotten: set[Dot] = set()
        """Ends of blocks that fail their checksum when they are asked for."""
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
                if block.end in self.rotten:
                    raise DamagedBlock(f"block {block.end} is rotten", block.end, b"\0" + raw)
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
        self._requests: dict[int, tuple[bytes, Remembered]] = {}
        self._rows: dict[str, dict[int, bytes]] = {"journal": {}, "quarantine": {}}
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

    def save(self, checkpoint: Checkpoint) -> None:
        """Write the checkpoint."""
        if self.full:
            raise DiskFullError("no room in the memory state")
        for key, entry in checkpoint.entries.items():
            self._conflicts.discard(key)
            self._entries.pop(key, None)
            if entry:
                self._entries[key] = encode_entry(entry)
                if in_conflict(entry):
                    self._conflicts.add(key)
        for request_id, remembered in checkpoint.requests:
            self._requests[remembered.number] = (request_id, remembered)
        floor = checkpoint.requests_floor
        self._requests = {n: row for n, row in self._requests.items() if n >= floor}
        journal = self._rows["journal"]
        journal.update((number, encode_loser(loser)) for number, loser in checkpoint.journal)
        for number in [each for each in journal if each < checkpoint.journal_floor]:
            del journal[number]
        self._meta = encode_meta(checkpoint)

    def usage(self) -> Usage:
        """Bytes and keys kept."""
        size = sum(len(key) + len(raw) for key, raw in self._entries.items())
        return Usage(size, size, len(self._entries))

    def close(self) -> None:
        """Nothing to close: the contents stay for the next opening."""
