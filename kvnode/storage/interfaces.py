"""What a log and a state store promise, for LMDB and for the in-memory twin."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, Protocol

from kvnode.core.block import Block
from kvnode.core.digest import Digest
from kvnode.core.dots import Dot, Vector
from kvnode.core.entry import Entry, Held
from kvnode.core.errors import StateError
from kvnode.core.losers import Loser
from kvnode.core.replica import Durable
from kvnode.core.requests import Row as RequestRow

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


class DamagedPages(StorageError, StateError):
    """A page of a file does not hold what it must: what was to be read from it is not known."""


class WriteFailed(StorageError):
    """A write failed otherwise than for lack of room: what is on disk is not known, so stop."""


class DiskFullError(Exception):
    """No room for this write; nothing of it was kept, and what was there is unharmed."""


class BelowFloor(Exception):
    """The log was asked for blocks that it no longer has: who asks needs a snapshot."""

    def __init__(self, origin: int, seq: int, floor: int) -> None:
        super().__init__(
            f"blocks of {origin:016x} up to {floor} are no longer in the log, "
            f"it was asked for those behind {seq}"
        )
        self.origin = origin
        self.seq = seq
        self.floor = floor


class Moved(Exception):
    """Checkpoints came while several reads were to be of one; ask again."""


class Usage(NamedTuple):
    """Bytes of an environment. Free pages are in ``file_bytes`` and not in ``used_bytes``."""

    used_bytes: int
    """Of live pages, all tables."""
    map_bytes: int
    records: int
    """Blocks of a log, keys of a state."""
    file_bytes: int
    records_bytes: int
    """Of live pages, the records' table alone."""


class Behind(NamedTuple):
    """What a vector lacks of the blocks in a log."""

    bytes: int
    oldest_wall_ms: int | None
    """When the oldest of them was written, by its origin's clock; None if nothing is lacking."""


class Head(NamedTuple):
    """One block of a log, seen from outside."""

    arrival: int
    end: Dot
    bytes: int
    wall_ms: int


@dataclass(slots=True)
class Checkpoint:
    """One moment's state as it goes to disk: all or nothing, in one transaction."""

    arrival: int
    """The last arrival number it covers."""
    durable: Durable
    names: dict[int, str]
    """origin -> node name, as far as known."""
    entries: Mapping[bytes, Held]
    """What changed since the checkpoint before; an empty entry means the key goes."""
    requests: list[tuple[bytes, RequestRow]]
    """Request ids remembered since the checkpoint before."""
    requests_forgotten: Sequence[int] = ()
    """The numbers of those that are not remembered any more."""
    collected: list[Dot] = field(default_factory=list)
    """Garbage rows that were looked at; they go, unless an entry here still waits for them."""
    journal: Sequence[tuple[int, Loser]] = ()
    """Rows of the loser journal since the checkpoint before."""
    journal_floor: int = 0
    """Its rows with a lower number go."""
    recount: frozenset[bytes] = frozenset()
    """Keys whose segments' digests are to be counted anew."""
    entries_bytes: int = 0
    """What the entries hold, about: a map that is too small is to grow before they are written."""
    spread_s: float = 0.0
    """Over so many seconds writing it may be spread; 0: as fast as it can be."""


class Tag(NamedTuple):
    """Which checkpoint an answer is of."""

    saved: int
    """Grows with every checkpoint, also with one that covers no new block."""
    arrival: int
    vector: Vector
    horizon: int = 0
    """As of when its digests are (``deadlines.py``)."""


class Expiring(NamedTuple):
    """A row of a value that is to expire."""

    deadline: int
    origin: int = 0
    seq: int = 0


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
    """Blocks in local arrival order, numbered from 1, and an index of where blocks end.

    Blocks leave from the front (``cut``). What has left is told by ``floor``; its index rows, which
    say which chain value a block that ended there had, stay until ``prune``. Invariants: (1) the
    blocks kept are first_arrival .. last_arrival without a hole; (2) every block kept has its index
    row; (3) a block that was cut ends at or below the floor of its origin; (4) an index row that
    was pruned is below ``pruned`` of its origin. What changes the log comes from one thread.
    """

    @property
    def first_arrival(self) -> int:
        """Arrival number of the oldest block kept, or of the next one if none is."""
        ...

    @property
    def last_arrival(self) -> int: ...
    @property
    def floor(self) -> Vector:
        """origin -> seq: blocks that end at or below are not, or not all, here."""
        ...

    @property
    def pruned(self) -> Vector:
        """origin -> seq: whether a block ended at a lower one may be unknown here."""
        ...

    def append(self, blocks: Sequence[Block]) -> None:
        """Keep the blocks, in order; they are on disk when it returns (DiskFullError)."""
        ...

    def replay(self, after: int) -> Iterator[tuple[int, bytes]]:
        """(arrival, block) of everything behind ``after`` (StorageError if that was cut)."""
        ...

    def heads(self, after: int, limit: int) -> list[Head]:
        """Up to ``limit`` of the blocks behind ``after``, without reading what is in them."""
        ...

    def chain_at(self, dot: Dot) -> bytes | None:
        """Chain value of the block that ends at ``dot``, if one does and that is still known."""
        ...

    def ends(self, after: Vector) -> Iterator[tuple[Dot, bytes]]:
        """(end of a block, its chain value) where seq >= ``after.get(origin, 0)``, sorted."""
        ...

    def lacking(self, vector: Vector, bytes_max: int) -> tuple[list[bytes], bool]:
        """The first blocks, in arrival order, that ``vector`` lacks, and whether that is all.

        At least one block if there is any, then up to ``bytes_max``. Raises BelowFloor rather than
        leave anything out, and DamagedBlock if one of them fails its checksum.
        """
        ...

    def behind(self, vector: Vector) -> Behind:
        """How much of what is here ``vector`` lacks, at a cost per origin, not per block."""
        ...

    def cut(self, arrival: int) -> int:
        """Remove blocks with numbers <= ``arrival``; returns the new ``first_arrival``.

        A bounded number per call, oldest first, in one transaction with the floor.
        """
        ...

    def prune(self, stable: Vector) -> int:
        """Forget where cut blocks below ``stable[origin]`` ended; returns how many rows went.

        A bounded number per call. A block not received yet can only depend on what is at or above
        the stable vector, so nothing asks for these again, except for old blocks sent twice.
        """
        ...

    def adopt(self, floor: Vector, ends: Iterable[tuple[Dot, bytes]]) -> None:
        """Take over from a snapshot what replaces the blocks it stands for, in one transaction.

        The floor rises to the maximum of both; rows that are here already stay as they are.

        Raises:
            ValueError: a row above the floor, where blocks are to come.
        """
        ...

    def get_record(self, name: bytes) -> bytes | None:
        """A small record kept beside the log."""
        ...

    def put_record(self, name: bytes, value: bytes) -> None:
        """Keep it, synced."""
        ...

    def usage(self) -> Usage: ...
    def close(self) -> None: ...


class StateStore(Protocol):
    """The last checkpoint."""

    def load(self, window: int) -> Checkpoint | None:
        """The last checkpoint without its entries (``requests``: all kept), None if none yet."""
        ...

    def get(self, key: bytes) -> Entry | None:
        """The key's entry; StateError if it is damaged."""
        ...

    def get_many(self, keys: Iterable[bytes]) -> list[bytes | None]:
        """The entries of these keys as they are stored, damaged or not, with one look.

        Of fewer keys, the first ones, if the entries are large. Raises DamagedPages if that
        cannot be told of one of them.
        """
        ...

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

    def hurry(self) -> None:
        """Let the save that runs in another thread, if any, be spread no longer."""
        ...

    def tidy(self, goes_on: Callable[[], bool]) -> None:
        """Nobody writes: let what is stored take less room, as long as ``goes_on`` says so.

        Raises StorageError if it cannot be read.
        """
        ...

    def garbage(self, stable: Vector, limit: int, after: Dot = (0, 0)) -> list[tuple[Dot, bytes]]:
        """Up to ``limit`` garbage rows that ``stable`` covers, ascending, those behind ``after``.

        A row (delete's dot, key) is there for each delete whose remains were in the key's entry
        when that was last saved (``entry.garbage_dots``), and maybe for some that are gone since.
        For a value that has expired as of the horizon its own dot is one.
        """
        ...

    def waiting(self) -> dict[int, int]:
        """origin -> garbage rows of its deletes and expired values."""
        ...

    def expiring(
        self, until: int, limit: int, after: Expiring
    ) -> tuple[Tag, list[tuple[Expiring, bytes]]]:
        """Up to ``limit`` stored values (row, key) behind ``after`` with deadlines till ``until``.

        There are rows of deadlines behind the horizon only, ascending.
        """
        ...

    def to_expire(self) -> int:
        """How many stored values have a deadline behind the horizon."""
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
