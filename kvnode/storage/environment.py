"""An LMDB environment whose map grows by itself, with LMDB's errors translated.

LMDB's map size is fixed while any transaction of the process is open, so every read holds a gate
for as long as its (short) transaction lives, and growing takes the gate. Nobody keeps a read
transaction: a long one would pin old pages and make the file grow for ever.

Freed pages are used again, but the file never shrinks by itself. ``compact`` writes the live pages
to a new file next to it and swaps the two by a rename: before the rename the old file is whole,
after it the new one, and what a crash leaves beside them is removed at the next opening. The swap
closes the environment, which makes table handles void: ``bind`` is called with the new ones while
the gate is held, so handles have to be read inside a transaction's ``with``, never before.

A reader may *pin* the view all readers get: then a large rewrite appears to them when they choose,
not when it is committed. Meanwhile there is no compaction; growing renews the pin, which shows the
same as before, for only the one writer grows the map and its transaction is not committed.

Locks, in the order they are taken: ``_writing`` (one writer; compaction is one), ``_map`` (the map
stays where it is: growing, copying and swapping exclude each other), ``_gate`` (readers).
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from threading import Lock
from typing import Any, TypeVar

import lmdb

from kvnode.storage.files import (
    check_header,
    check_length,
    check_mark,
    is_full,
    pages_of,
    sync,
    unopened,
    unreadable,
)
from kvnode.storage.interfaces import DiskFullError, StorageError, Usage, WriteFailed
from kvnode.storage.unsynced import Settling

FORMAT = "kvnode 6"
"""In the owner mark. 3: the checksums of rows cover their keys, and more rows have one. 4, 5: other
digests, and segments that begin elsewhere. 6: the log has a tail."""
MAP_BYTES_START = 64 << 20
"""The file is sparse: what is not used takes no space."""
MAP_BYTES_SPARE = 1 << 20
"""Beyond a file that is there: opening may add a table."""
GIVEN_UP = " (MDB_PANIC: the environment is given up). Make room, and start the node again"
EIO_TEXT = os.strerror(errno.EIO)

T = TypeVar("T")
Tables = Mapping[str, Any]
"""Table name -> LMDB's handle of it, "meta" included."""


class Environment:
    """One LMDB environment; one writing thread at a time, readers from any thread."""

    mapped = False  # whether pages are changed in the map; a full disk kills who does that
    synced = True  # whether a commit is; else see ``unsynced.py``

    def __init__(
        self,
        path: Path,
        tables: tuple[str, ...],
        *,
        part: str,
        origin: int,
        bind: Callable[[Tables], None] = lambda _: None,
        added: tuple[str, ...] = (),
    ) -> None:
        """Open it as this ``part`` ("log" or "state") of ``origin``'s, or create it so.

        Args:
            added: tables that need not be there yet.
            bind: gets the table handles, now and whenever compaction has made new ones.

        Raises:
            StorageError: the file there is foreign, of another origin, part or version, truncated
                or damaged; it is left untouched.
            DiskFullError: no room to create it. That is no damage: a node that stages a snapshot
                goes on without it.
        """
        self.path = path
        self._names = tables
        self._added = added
        self._bind = bind
        self._mark = b"%s %s %016x" % (FORMAT.encode(), part.encode(), origin)
        self._writing, self._map, self._gate = Lock(), Lock(), Lock()
        self._pinned: Any = None
        self._held: Any = None
        self._lent, self.settling = False, Settling(path)
        self.tables: dict[str, Any] = {}
        shutil.rmtree(self._beside, ignore_errors=True)
        self._open()

    def _open(self) -> None:
        file = self.path / "data.mdb"
        held = 0
        if file.exists():
            check_header(file)
            held = file.stat().st_size
        try:
            self._env = lmdb.open(
                str(self.path),
                map_size=self._map_bytes(held),
                max_dbs=len(self._names) + len(self._added) + 1,
                max_readers=64,
                metasync=True,
                sync=self.synced,
                writemap=self.mapped,
            )
        except lmdb.Error as error:
            raise unopened(file, error) from error
        try:
            check_length(file, self.file_bytes)
            if not self._env.stat()["entries"]:
                self._create()
            self.meta = self._env.open_db(b"meta", create=False)
            with self._env.begin() as txn:
                check_mark(self.path, txn.get(b"owner", db=self.meta), self._mark, FORMAT)
            self.tables = {
                name: self._env.open_db(name.encode(), create=False) for name in self._names
            }
            self.tables |= {name: self._env.open_db(name.encode()) for name in self._added}
            self.tables["meta"] = self.meta
        except (lmdb.Error, StorageError) as error:
            self._env.close()
            raise unopened(file, error) from error
        self._bind(self.tables)

    def _create(self) -> None:
        """All tables and the owner's mark in one transaction.

        Opened later, a table that is missing is damage: made anew and empty, it would be taken for
        what was stored.
        """
        with self._env.begin(write=True) as txn:
            meta = self._env.open_db(b"meta", txn=txn)
            for name in self._names:
                self._env.open_db(name.encode(), txn=txn)
            txn.put(b"owner", self._mark, db=meta)

    @contextmanager
    def read(self, *, buffers: bool = False, latest: bool = False) -> Iterator[Any]:
        """A read transaction, to be left soon; of the pinned view, unless ``latest``.

        With ``buffers`` keys and values are views.

        Raises:
            DamagedPages: what was read on the way is no page of LMDB's, or not the one looked for.
        """
        with self._gate:
            try:
                if self._pinned is not None and not latest:
                    assert not buffers, "views of a pinned state"
                    yield self._pinned
                else:
                    with self._begin(buffers=buffers) as txn:
                        yield txn
            except lmdb.Error as error:
                raise unreadable(self.path, error) from error

    def get(self, table: str, key: bytes) -> bytes | None:
        """The row under a key: a ``read`` of its own, in half the time."""
        with self._gate:
            try:
                with nullcontext(self._pinned) if self._pinned else self._begin() as view:
                    row: bytes | None = view.get(key, db=self.tables[table])
            except lmdb.Error as error:
                raise unreadable(self.path, error) from error
        return row

    @contextmanager
    def held(self) -> Iterator[Callable[[], bool]]:
        """Let no page of now be written over; tells whether it held: growing does not wait."""
        with self._gate:
            assert self._held is None, "held already"
            self._held = self._begin()
        try:
            yield lambda: self._held is not None
        finally:
            with self._gate:
                self._let_go()

    def _let_go(self) -> None:
        held, self._held = self._held, None
        if held is not None:
            held.abort()

    def pin(self) -> None:
        """Let all readers see what is here now, until ``unpin``."""
        with self._gate:
            assert self._pinned is None, "pinned already"
            self._pinned = self._begin()

    def unpin(self) -> None:
        """Let readers see what was written since ``pin``."""
        with self._gate:
            self._pinned.abort()
            self._pinned = None

    def write(self, change: Callable[[Any], T], *, buffers: bool = False, room: int = 0) -> T:
        """Run ``change`` in one synced write transaction; the map grows until it fits.

        Args:
            buffers: keys and values are views.
            room: bytes it will take, if that may be much: a map that is too small is found out
                half way only, and then all was for nothing.

        Raises:
            DiskFullError: nothing was written.
            WriteFailed: anything else.
        """

        def attempt() -> T:
            with self._begin(write=True, buffers=buffers) as txn:
                return change(txn)

        return self._alone(attempt, room)

    def lend(self, job: Callable[[int], None], room: int) -> None:
        """Let another process write: ``job`` gets the map's bytes and raises lmdb.MapFullError."""
        self._lent = True
        self._alone(lambda: job(self.map_bytes), room)

    def settle(self) -> None:
        """Sync what another process may have committed and not synced: it has ended."""
        self.settling.settle(lambda: self._env.sync(True))  # noqa: FBT003 - LMDB's name for it

    def clear_readers(self) -> None:
        """Forget the readers of a process that was killed: they would pin old pages for ever."""
        self._env.reader_check()

    def rewrite(self, change: Callable[[Any, Any], T], room: int) -> T:
        """Like ``write`` for a change of many pages; it also gets a view of what was before."""

        def attempt() -> T:
            with self._begin() as before, self._begin(write=True) as txn:
                return change(before, txn)

        return self._alone(attempt, room)

    def _alone(self, attempt: Callable[[], T], room: int) -> T:
        with self._writing:
            if self._lent:  # it may use pages that the one before that needs
                self.settle()
            self._make_room(room)
            return self._until_it_fits(attempt)

    def _until_it_fits(self, attempt: Callable[[], T]) -> T:
        before = self._env.info()["last_txnid"]
        while True:
            try:
                return attempt()
            except lmdb.MapFullError:
                self._grow()
            except lmdb.Error as error:
                full = isinstance(error, lmdb.DiskError) or self._cut_short(error, before)
                if full and not self._is_given_up():
                    raise DiskFullError(f"no room to write {self.path}: {error}") from error
                told = f"{self.path} cannot be written: {error}{GIVEN_UP if full else ''}"
                raise WriteFailed(told) from error

    def usage(self, table: str) -> Usage:
        """Bytes used and mapped, and what one table has of them."""
        with self.read() as txn:
            stat = txn.stat(self.tables[table])
            return Usage(
                used_bytes=self.live_bytes(txn),
                map_bytes=self.map_bytes,
                records=stat["entries"],
                file_bytes=self.file_bytes,
                records_bytes=pages_of(stat) * stat["psize"],
            )

    @contextmanager
    def snapshot(self) -> Iterator[Any]:
        """A read transaction that may last, of the state as of now: only growing waits for it."""
        with self._map, self._begin() as txn:
            yield txn

    def copy(self, target: Path) -> None:
        """Write the live pages as of now to the empty folder ``target``, synced.

        Reads and writes go on, except that a write which needs a larger map waits.

        Raises:
            DiskFullError: no room there.
        """
        with self._map:
            try:
                self._env.copy(str(target), compact=True)
            except lmdb.Error as error:
                raise DiskFullError(f"no room to copy {self.path}: {error}") from error
        sync(target / "data.mdb")
        sync(target)

    def compact(self, copy: Callable[[Path], None] | None = None) -> None:
        """Give the space of free pages back to the disk; see the module. Reads wait for the swap.

        Args:
            copy: fills the empty folder with an equal environment; else pages are copied.

        Raises:
            DiskFullError: no room for the copy; nothing has changed.
        """
        assert self._pinned is None, "compaction of a pinned state"
        with self._writing:
            self.settle()
            shutil.rmtree(self._beside, ignore_errors=True)
            try:
                self._copy_beside(copy or self.copy)
                with (self.path / "data.mdb").open("rb"):  # else its blocks are freed in between
                    with self._map, self._gate:
                        self._let_go()
                        self._env.close()
                        (self._beside / "data.mdb").rename(self.path / "data.mdb")
                        self._open()
                    sync(self.path)
            finally:
                shutil.rmtree(self._beside, ignore_errors=True)

    def _copy_beside(self, copy: Callable[[Path], None]) -> None:
        try:
            self._beside.mkdir()
            copy(self._beside)
        except OSError as error:
            raise DiskFullError(f"no room to compact {self.path}: {error.strerror}") from error

    def close(self) -> None:
        """Close it; a second call does nothing."""
        self._let_go()
        self._env.close()

    @property
    def _beside(self) -> Path:
        return self.path / "compact"

    def _cut_short(self, error: lmdb.Error, before: int) -> bool:
        """Whether a commit failed because the disk took only a part: an I/O error, says LMDB.

        The transaction's number is written last: while it is ``before``, nothing has happened.
        """
        if EIO_TEXT not in str(error) or self._env.info()["last_txnid"] != before:
            return False
        return is_full(self.path)

    def _is_given_up(self) -> bool:
        """Whether LMDB takes no more transactions of this environment, nor reads.

        It does so when the meta page cannot be written, rarely for lack of room: where a file
        system writes a page to a new place.
        """
        try:
            self._begin().abort()
        except lmdb.Error:
            return True
        return False

    def _begin(self, **options: Any) -> Any:
        return lmdb.Transaction(self._env, **options)

    def _map_bytes(self, file_bytes: int) -> int:
        return max(MAP_BYTES_START, file_bytes and file_bytes + MAP_BYTES_SPARE)

    def _make_room(self, room: int) -> None:
        while self.map_bytes < self.file_bytes + room:
            self._grow()

    def _grow(self) -> None:
        with self._map, self._gate:
            self._let_go()
            pinned = self._pinned is not None
            if pinned:
                self._pinned.abort()
            self._env.set_mapsize(self.map_bytes * 2)
            self._pinned = self._begin() if pinned else None

    @property
    def map_bytes(self) -> int:
        """Bytes that are mapped."""
        return int(self._env.info()["map_size"])

    @property
    def file_bytes(self) -> int:
        """Bytes of the file that pages were ever used in."""
        return int((self._env.info()["last_pgno"] + 1) * self._env.stat()["psize"])

    def live_bytes(self, txn: Any) -> int:
        """Bytes of the pages in use, as the transaction sees it."""
        main = self._env.stat()
        pages = sum(pages_of(txn.stat(table)) for table in self.tables.values())
        return int((2 + pages_of(main) + pages) * main["psize"])
