"""What a log and a state store promise, for LMDB and for the in-memory twin."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from kvnode.core.block import Block
from kvnode.core.digest import Digest
from kvnode.core.dots import Dot, Vector
from kvnode.core.entry import Entry
from kvnode.core.replica import Durable
from kvnode.core.requests import Remembered


class StorageError(Exception):
    """The data directory cannot be used: foreign, damaged, in use or of another version."""


class DiskFullError(Exception):
    """No room for this write; nothing of it was kept, and what was there is unharmed."""


class Moved(Exception):
    """Checkpoints came while several reads were to be of one; ask again."""


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
    recount: frozenset[bytes] = frozenset()
    """Keys whose segments' digests are to be counted anew."""


class Tag(NamedTuple):
    """Which checkpoint an answer is of."""

    saved: int
    """Grows with every checkpoint, also with one that covers no new block."""
    arrival: int
    vector: Vector


class Segmented(NamedTuple):
    """The segments that have to do with a range (``storage/digests.py``)."""

    tag: Tag
    rows: list[tuple[bytes, Digest]]
    """Starts and digests, ascending; the first may begin before the range."""
    end: bytes
    """Where the last of them ends; empty: with the store."""


class Stored(NamedTuple):
    """Some stored entries of a range, ascending, and whether there are more."""

    tag: Tag
    rows: list[tuple[bytes, bytes]]
    more: bool


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

        At least one block if there is any, then up to ``bytes_max``.
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

    def save(self, checkpoint: Checkpoint) -> None:
        """Write it, synced (DiskFullError: the one before is unharmed)."""
        ...

    def total(self) -> tuple[Tag, Digest]:
        """The digest of all keys."""
        ...

    def segments(self, start: bytes, end: bytes) -> Segmented:
        """The digests of the segments that share keys with [start, end) (empty end: none)."""
        ...

    def stored(self, start: bytes, end: bytes, keys_max: int, bytes_max: int) -> Stored:
        """Entries from ``start`` to ``end`` as they are stored, damaged or not; one at least."""
        ...

    def usage(self) -> Usage: ...
    def close(self) -> None: ...
