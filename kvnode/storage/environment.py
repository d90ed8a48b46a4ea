"""An LMDB environment whose map grows by itself, with LMDB's errors translated.

LMDB's map size is fixed while any transaction of the process is open, so every read holds a gate
for as long as its (short) transaction lives, and growing takes the gate. Nobody keeps a read
transaction: a long one would pin old pages and make the file grow for ever.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import Any, TypeVar

import lmdb

from kvnode.storage.interfaces import DiskFullError, StorageError, Usage

MAGIC = 0xBEEFC0DE
MAP_BYTES_START = 64 << 20
"""The file is sparse: what is not used takes no space."""

T = TypeVar("T")


class Environment:
    """One LMDB environment; one writing thread at a time, readers from any thread."""

    def __init__(self, path: Path, tables: tuple[str, ...], *, part: str, origin: int) -> None:
        """Open it as this ``part`` ("log" or "state") of ``origin``'s, or create it so.

        Raises:
            StorageError: the file there is foreign, of another origin or part, truncated or
                damaged; it is left untouched.
        """
        self.path = path
        file = path / "data.mdb"
        if file.exists():
            _check_header(file)
        try:
            self._env = lmdb.open(
                str(path),
                map_size=max(MAP_BYTES_START, file.stat().st_size if file.exists() else 0),
                max_dbs=len(tables) + 1,
                max_readers=64,
                metasync=True,
                sync=True,
            )
            info = self._env.info()
            used = (info["last_pgno"] + 1) * self._env.stat()["psize"]
            if file.stat().st_size < used:
                self._env.close()
                raise StorageError(
                    f"{file} is truncated: {file.stat().st_size} bytes of {used}. "
                    "Restore it, or start with an empty data directory and let peers fill it"
                )
            self.meta = self._env.open_db(b"meta")
            self._claim(b"kvnode 1 %s %016x" % (part.encode(), origin))
            self.tables: dict[str, Any] = {
                name: self._env.open_db(name.encode()) for name in tables
            }
        except lmdb.Error as error:
            raise StorageError(f"{file} cannot be opened: {error}") from error
        self._gate = Lock()

    def _claim(self, mark: bytes) -> None:
        """Mark the environment as ours, unless it is marked; nothing else is created before."""
        with self._env.begin() as txn:
            found = txn.get(b"owner", db=self.meta)
        if found is None:
            with self._env.begin(write=True) as txn:
                txn.put(b"owner", mark, db=self.meta)
        elif found != mark:
            self._env.close()
            raise StorageError(
                f"{self.path} belongs to another node, or is another part of this one: "
                "directories were mixed up"
            )

    @contextmanager
    def read(self) -> Iterator[Any]:
        """A read transaction, to be left soon."""
        with self._gate, self._env.begin(buffers=False) as txn:
            yield txn

    def write(self, change: Callable[[Any], T]) -> T:
        """Run ``change`` in one synced write transaction; the map grows until it fits.

        Raises:
            DiskFullError: nothing was written.
            lmdb.Error: anything else; what is on disk is then unknown, so stop.
        """
        while True:
            try:
                with self._env.begin(write=True) as txn:
                    return change(txn)
            except lmdb.MapFullError:
                self._grow()
            except lmdb.DiskError as error:
                raise DiskFullError(f"no room to write {self.path}: {error}") from error

    def usage(self, table: str) -> Usage:
        """Bytes used and mapped, and records in one table."""
        with self.read() as txn:
            stats = {name: txn.stat(db) for name, db in self.tables.items()}
            info, page = self._env.info(), self._env.stat()["psize"]
        live = sum(
            stat["branch_pages"] + stat["leaf_pages"] + stat["overflow_pages"]
            for stat in stats.values()
        )
        used = (info["last_pgno"] + 1) * page
        return Usage(used, info["map_size"], stats[table]["entries"], live * page)

    def close(self) -> None:
        """Close it; a second call does nothing."""
        self._env.close()

    def _grow(self) -> None:
        with self._gate:
            self._env.set_mapsize(self._env.info()["map_size"] * 2)


def _check_header(file: Path) -> None:
    with file.open("rb") as stream:
        header = stream.read(24)
    if len(header) < 24 or struct.unpack_from("<I", header, 16)[0] != MAGIC:
        raise StorageError(
            f"{file} is not an LMDB file: it is foreign or damaged and was not touched"
        )
