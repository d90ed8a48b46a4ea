"""Snapshots to give away: compacted copies of the state environment.

::

    DIR/v1/snapshots/<arrival>/    one copy, with the table ``chains`` added

A copy is made once and read by any number of receivers, for as long as they take: a read
transaction on the state itself would pin its pages and let the file grow (trap 25). It is not
synced, because after a restart it is removed like all other copies. The rows are passed on as they
are stored; nothing is decoded but the checkpoint's own record.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path
from threading import Lock
from typing import Any

from kvnode.core.dots import Dot, Vector
from kvnode.core.snapshot import CHUNK_BYTES, Chunk, Position, Section, make_chunk
from kvnode.storage.checkpoint import decode_meta
from kvnode.storage.environment import Environment
from kvnode.storage.interfaces import StorageError
from kvnode.storage.state import TABLES, LmdbState

CHECKPOINT = b"checkpoint"
ID_BYTES = 16


class SnapshotGoneError(Exception):
    """The copy was removed meanwhile."""


class NoCheckpointError(StorageError):
    """There is nothing to copy yet: the first checkpoint has not been written."""


class Snapshot:
    """One copy, open. Its methods may be called from any thread."""

    def __init__(self, path: Path, origin: int, id_: bytes) -> None:
        """Open the copy in ``path``."""
        self.id = id_
        """Not the arrival number alone: what is collected changes a state without a new arrival."""
        self._lock = Lock()
        self._gone = False
        self._path = path
        self._env = Environment(path, TABLES, part="state", origin=origin, added=("chains",))
        self._tables: dict[Section, Any] = {
            section: self._env.tables[section.name.lower()] for section in Section
        }
        with self._env.read() as txn:
            raw = txn.get(CHECKPOINT, db=self._env.meta)
        if raw is None:
            raise NoCheckpointError("no checkpoint has been written yet")
        checkpoint = decode_meta(raw, 1)
        self.arrival: int = checkpoint.arrival
        self.vector: Vector = checkpoint.durable.vector
        usage = self._env.usage("entries")
        self.keys_total = usage.records
        self.bytes_total = usage.used_bytes

    def add_chains(self, ends: Iterable[tuple[Dot, bytes]]) -> None:
        """Put the log's chain values to it, as far as the checkpoint goes."""
        table = self._env.tables["chains"]

        def change(txn: Any) -> None:
            for (origin, seq), chain in kept:
                txn.put(origin.to_bytes(8, "big") + seq.to_bytes(8, "big"), chain, db=table)

        kept = [(dot, chain) for dot, chain in ends if dot[1] <= self.vector.get(dot[0], 0)]
        self._env.write(change)

    def chunk_behind(self, position: Position) -> Chunk | None:
        """The next chunk, None if nothing comes behind ``position``.

        Raises:
            SnapshotGoneError: the copy was removed.
        """
        after = position.after
        for section in Section:
            if section < position.section:
                continue
            with self._lock:
                if self._gone:
                    raise SnapshotGoneError
                flat = self._rows(section, after)
            if flat:
                return make_chunk(section, flat)
            after = b""
        return None

    def _rows(self, section: Section, after: bytes) -> list[bytes]:
        """Up to about ``CHUNK_BYTES``, at least one row if there is any."""
        flat: list[bytes] = []
        size = 0
        with self._env.read() as txn, txn.cursor(self._tables[section]) as cursor:
            if section is Section.META:  # of it only the checkpoint: the rest says whose it is
                return [CHECKPOINT, txn.get(CHECKPOINT, db=self._env.meta)] if not after else []
            if not (cursor.set_range(after + b"\0") if after else cursor.first()):
                return []
            for key, value in cursor:
                size += len(key) + len(value)
                if flat and size > CHUNK_BYTES:
                    break
                flat += (key, value)
        return flat

    def move_to(self, path: Path) -> None:
        """Give it its place; LMDB keeps its files open and does not mind."""
        shutil.rmtree(path, ignore_errors=True)
        self._path = self._path.rename(path)

    def remove(self) -> None:
        """Close it and give its space back."""
        with self._lock:
            self._gone = True
            self._env.close()
        shutil.rmtree(self._path, ignore_errors=True)


def clear_snapshots(folder: Path) -> None:
    """Remove what a process before this one left."""
    shutil.rmtree(folder, ignore_errors=True)


def make_snapshot(
    folder: Path, state: LmdbState, origin: int, ends: Iterable[tuple[Dot, bytes]], id_: bytes
) -> Snapshot:
    """Copy the last checkpoint, with the chain values ``ends``. Takes seconds: not on a loop.

    ``id_``: drawn at random, ID_BYTES.

    Raises:
        DiskFullError: there is no room for it.
        NoCheckpointError: there is none.
    """
    new = folder / "new"
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(parents=True)
    try:
        state.copy(new)
        snapshot = Snapshot(new, origin, id_)
        snapshot.add_chains(ends)
    except BaseException:
        shutil.rmtree(new, ignore_errors=True)
        raise
    snapshot.move_to(folder / str(snapshot.arrival))
    return snapshot
