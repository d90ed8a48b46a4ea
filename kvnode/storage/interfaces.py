"""What a log and a state store promise, for LMDB and for the in-memory twin."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from kvnode.core.block import Block
from kvnode.core.dots import Dot, Vector
from kvnode.core.entry import Entry
from kvnode.core.replica import Durable
from kvnode.core.requests import Remembered


class StorageError(Exception):
    """The data directory cannot be used: foreign, damaged, in use or of another version."""


class DiskFullError(Exception):
    """No room for this write; nothing of it was kept, and what was there is unharmed."""


class Usage(NamedTuple):
    """Bytes of an environment: used by live pages, and of the map they are in."""

    used_bytes: int
    map_bytes: int
    records: int
    live_bytes: int = 0
    """Of ``used_bytes``, in pages that hold something; the rest is free for what comes next."""


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
    collected: list[Dot] = field(default_factory=list)
    """Garbage rows that were looked at; they go, unless an entry here still waits for them."""


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

    def garbage(self, stable: Vector, limit: int, after: Dot = (0, 0)) -> list[tuple[Dot, bytes]]:
        """Up to ``limit`` garbage rows that ``stable`` covers, ascending, those behind ``after``.

        A row (delete's dot, key) is there for each delete whose remains were in the key's entry
        when that was last saved (``entry.garbage_dots``), and maybe for some that are gone since.
        """
        ...

    def waiting(self) -> dict[int, int]:
        """origin -> garbage rows of its deletes."""
        ...

    def usage(self) -> Usage: ...
    def close(self) -> None: ...
