"""What a log and a state store promise, for LMDB and for the in-memory twin."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

from kvnode.core.block import Block
from kvnode.core.dots import Dot, Vector
from kvnode.core.entry import Entry
from kvnode.core.losers import Loser
from kvnode.core.replica import Durable
from kvnode.core.requests import Remembered

Table = Literal["journal", "quarantine"]
"""Tables of numbered rows (``rows.py``)."""


class StorageError(Exception):
    """The data directory cannot be used: foreign, damaged, in use or of another version."""


class DamagedBlock(StorageError):
    """A block of the log fails its checksum; the log's index says which it is."""

    def __init__(self, message: str, end: Dot, raw: bytes) -> None:
        super().__init__(message)
        self.end = end
        self.raw = raw


class DiskFullError(Exception):
    """No room for this write; nothing of it was kept, and what was there is unharmed."""


class Usage(NamedTuple):
    """Bytes of an environment: used by live pages, and of the map they are in."""

    used_bytes: int
    map_bytes: int
    records: int


@dataclass(slots=True)
class Checkpoint:
    """One moment's state as it goes to disk: all or nothing, in one transaction."""

    arrival: int
    """The last arrival number it covers."""
    durable: Durable
    names: dict[int, str]
    """origin -> node name, as far as known."""
    entries: Mapping[bytes, Entry]
    """What changed since the checkpoint before; an empty entry means the key goes."""
    requests: list[tuple[bytes, Remembered]]
    """Request ids remembered since the checkpoint before."""
    requests_floor: int = 0
    """Those with a lower number are forgotten."""
    journal: Sequence[tuple[int, Loser]] = ()
    """Rows of the loser journal since the checkpoint before."""
    journal_floor: int = 0
    """Its rows with a lower number go."""


class Log(Protocol):
    """Blocks in local arrival order, numbered from 1."""

    @property
    def first_arrival(self) -> int: ...
    @property
    def last_arrival(self) -> int: ...
    def append(self, blocks: Sequence[Block]) -> None:
        """Keep the blocks, in order; they are on disk when it returns (DiskFullError)."""
        ...

    def replay(self, after: int) -> Iterator[tuple[int, bytes]]:
        """(arrival, block) of everything behind ``after``."""
        ...

    def chain_at(self, dot: Dot) -> bytes | None:
        """Chain value of the block that ends at ``dot``, if there is one."""
        ...

    def lacking(self, vector: Vector, bytes_max: int) -> tuple[list[bytes], bool]:
        """The first blocks, in arrival order, that ``vector`` lacks, and whether that is all.

        At least one block if there is any, then up to ``bytes_max``. DamagedBlock if one of them
        fails its checksum.
        """
        ...

    def usage(self) -> Usage: ...
    def close(self) -> None: ...


class StateStore(Protocol):
    """The last checkpoint."""

    def load(self, window: int) -> Checkpoint | None:
        """The last checkpoint without its entries (``requests``: all kept), None if none yet."""
        ...

    def get(self, key: bytes) -> Entry | None: ...
    def keys(self, start: bytes, end: bytes, limit: int, *, conflicts: bool) -> list[bytes]:
        """Up to ``limit`` keys >= start and < end (empty: no end), ascending."""
        ...

    def rows(self, table: Table) -> Iterator[tuple[int, bytes]]:
        """All rows, by ascending number."""
        ...

    def row(self, table: Table, number: int) -> bytes | None: ...
    def put_rows(self, table: Table, rows: Mapping[int, bytes | None]) -> None:
        """Write these rows, or remove them (None), synced and apart from any checkpoint."""
        ...

    def save(self, checkpoint: Checkpoint) -> None:
        """Write it, synced (DiskFullError: the one before is unharmed)."""
        ...

    def usage(self) -> Usage: ...
    def close(self) -> None: ...
