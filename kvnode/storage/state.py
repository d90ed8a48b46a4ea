"""The state store over LMDB: the last checkpoint.

Tables:

- ``entries``: key -> entry (``core/entry.py``).
- ``conflicts``: key -> empty, for the keys a reader sees more than one value of.
- ``digests``: ``0x00 | start`` of a segment of keys -> its digest (``storage/digests.py``).
- ``requests``: number, 8 bytes -> ``request id, 16 | origin, 8 | first seq, 8 | count, 4 |
  crc32, 4``.
- ``garbage``: dot of a delete or expired value, ``origin, 8 | seq, 8``, big-endian -> key.
- ``deadlines``: ``deadline, 8 | origin, 8 | seq, 8`` of a value to expire -> key
  (``deadlines.py``).
- ``journal``, ``quarantine``: number, 8 bytes -> row (``rows.py``).
- ``meta``: ``owner``; ``garbage`` -> msgpack {origin: rows}; ``saved`` -> checkpoints written, 8
  bytes; ``digest`` -> of all keys; ``checkpoint`` -> ``0x01 | crc32 | msgpack [arrival, vector,
  chains, hlc, forks, fence, reports, names]``, and the horizon if there is one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from itertools import starmap
from pathlib import Path
from typing import Any

from kvnode.core.digest import ABSENT, Digest, key_digest
from kvnode.core.entry import Entry, decode_entry, encode_entry, garbage_dots, in_conflict
from kvnode.core.errors import StateError, quoted
from kvnode.core.snapshot import Row
from kvnode.storage.checkpoint import (
    decode_meta,
    encode_meta,
    request_row,
    restore_request,
    room_for,
)
from kvnode.storage.compaction import compact_if_wasteful, repack_if_loose
from kvnode.storage.deadlines import change_rows, sweep
from kvnode.storage.digests import ROW, Segments, pack, unpack
from kvnode.storage.entry_changes import EntryChanges
from kvnode.storage.entry_rows import first_rows
from kvnode.storage.environment import Environment, Tables
from kvnode.storage.files import drop_below
from kvnode.storage.interfaces import (
    Checkpoint,
    StorageError,
    Table,
    Usage,
)
from kvnode.storage.rows import encode_loser
from kvnode.storage.saver import Saver
from kvnode.storage.state_reading import StateReading
from kvnode.storage.unsynced import put_back

TABLES = (
    "entries", "conflicts", "digests", "requests", "garbage", "deadlines", "journal", "quarantine",
)  # fmt: skip
ROWS_BATCH = 64
"""Rows read per transaction."""


class LmdbState(StateReading):
    """See the module and ``interfaces.StateStore``. Saves come from one thread."""

    def __init__(
        self, path: Path, origin: int, opened: Callable[..., Environment] = Environment
    ) -> None:
        """Open or create the state of ``origin``; StorageError if it is another's or damaged."""
        if opened is Environment:  # it is lent by one that has it open, and has looked
            put_back(path)
        self._env = opened(path, TABLES, part="state", origin=origin, bind=self._bind)
        self._origin = origin
        self._saver: Saver | None = None

    def _bind(self, tables: Tables) -> None:
        """Take the table handles: compaction makes new ones, so use them inside transactions."""
        self._tables = tables
        self._entries = tables["entries"]
        self._conflicts = tables["conflicts"]
        self._digests = tables["digests"]
        self._requests = tables["requests"]
        self._journal = tables["journal"]
        self._meta = tables["meta"]

    def load(self, window: int) -> Checkpoint | None:
        """The last checkpoint without its entries, None if none was saved yet."""
        with self._env.read(latest=True) as txn:
            raw = txn.get(b"checkpoint", db=self._meta)
            if raw is None:
                return None
            rows = [(key, value) for key, value in txn.cursor(self._requests)]
        try:
            checkpoint = decode_meta(raw, window)
            for key, value in rows:
                restore_request(checkpoint, key, value)
        except StateError as error:
            raise StorageError(f"{self._env.path} is damaged: {error}") from error
        return checkpoint

    def get(self, key: bytes) -> Entry | None:
        """The key's entry; StateError if it is damaged."""
        raw = self._env.get("entries", key)
        try:
            return None if raw is None else decode_entry(raw, key)
        except StateError as error:
            raise StateError(f"{quoted(key)}: {error}") from error

    def get_many(self, keys: Iterable[bytes]) -> list[bytes | None]:
        """See ``interfaces.StateStore``."""
        with self._env.read() as txn:
            return first_rows(txn, self._entries, keys)

    def keys(self, start: bytes, end: bytes, limit: int, *, conflicts: bool) -> list[bytes]:
        """Up to ``limit`` keys >= start and < end, of all or of those in conflict."""
        found: list[bytes] = []
        with (
            self._env.read() as txn,
            txn.cursor(self._conflicts if conflicts else self._entries) as cursor,
        ):
            more = cursor.set_range(start) if start else cursor.first()
            while more and len(found) < limit:
                key = cursor.key()
                if end and key >= end:
                    break
                found.append(key)
                more = cursor.next()
        return found

    def rows(self, table: Table) -> Iterator[tuple[int, bytes]]:
        """All rows, by ascending number."""
        after = 0
        while True:
            batch: list[tuple[int, bytes]] = []
            with self._env.read() as txn, txn.cursor(self._env.tables[table]) as cursor:
                found = cursor.set_range(_key(after + 1))
                while found and len(batch) < ROWS_BATCH:
                    batch.append((int.from_bytes(cursor.key(), "big"), cursor.value()))
                    found = cursor.next()
            if not batch:
                return
            yield from batch
            after = batch[-1][0]

    def row(self, table: Table, number: int) -> bytes | None:
        """One row."""
        return self._env.get(table, _key(number))

    def put_rows(self, table: Table, rows: Mapping[int, bytes | None]) -> None:
        """Write or remove rows, synced."""

        def change(txn: Any) -> None:
            handle = self._env.tables[table]
            for number, raw in rows.items():
                if raw is None:
                    txn.delete(_key(number), db=handle)
                else:
                    txn.put(_key(number), raw, db=handle)

        self._env.write(change)

    def save_apart(self, held: int) -> Saver:
        """Let a process write large checkpoints (``saver.py``), which inherits ``held``."""
        self._saver = Saver(self._env, self._origin, held, self.write, self._count_saved)
        return self._saver

    def save(self, checkpoint: Checkpoint) -> None:
        """Write the checkpoint, synced; then compact a file of which hardly anything is left."""
        (self._saver.save if self._saver is not None else self.write)(checkpoint)
        compact_if_wasteful(self._env)

    def tidy(self, goes_on: Callable[[], bool]) -> None:
        """See ``interfaces.StateStore``."""
        repack_if_loose(self._env, goes_on)

    def hurry(self) -> None:
        """See ``interfaces.StateStore``."""
        if self._saver is not None:
            self._saver.hurry()

    def write(self, checkpoint: Checkpoint, done: Callable[[float], None] = lambda _: None) -> None:
        """Write the checkpoint in this process, synced; see ``EntryChanges.make``."""
        before, horizon = self._horizon(), checkpoint.durable.horizon
        losers = [(_key(number), encode_loser(loser)) for number, loser in checkpoint.journal]
        meta = encode_meta(checkpoint)

        def change(txn: Any) -> None:
            reading, waiting = self._segment_rows(txn), self._waiting_rows(txn)
            segments = Segments(reading, before)
            with txn.cursor(self._entries) as cursor:
                changes = EntryChanges(cursor, segments, waiting, before)
                changes.make(checkpoint.entries, done)
            with txn.cursor(self._requests) as cursor:
                cursor.putmulti(starmap(request_row, checkpoint.requests))
                for number in checkpoint.requests_forgotten:
                    if cursor.set_key(_key(number)):
                        cursor.delete()
            for key, raw in losers:
                txn.put(key, raw, db=self._journal)
            drop_below(txn, self._journal, _key(checkpoint.journal_floor))
            waiting.delete_garbage(checkpoint.collected)
            for dot, key in sorted(changes.garbage):
                waiting.add_garbage([dot], key)
            segments.finish()
            for key in sorted(checkpoint.recount):
                segments.recount(key)
            segments.finish()
            total = self._total(txn).plus(segments.change_of_total)
            if horizon > before:
                total = total.plus(sweep(reading, waiting, before, horizon))
            waiting.finish()
            txn.put(b"digest", pack(total), db=self._meta)
            txn.put(b"saved", _key(self._saved(txn) + 1), db=self._meta)
            txn.put(b"checkpoint", meta, db=self._meta)

        room = room_for(checkpoint, self._env.usage("entries").records_bytes)
        self._env.write(change, room=room)

    def replace(
        self,
        changes: Callable[[Iterator[Row]], Iterator[tuple[bytes, Entry]]],
        checkpoint: Checkpoint,
        room: int,
    ) -> None:
        """Change many entries together with the checkpoint, in one synced transaction.

        Args:
            changes: gets all rows as they are, in key order, and tells what changes, ascending.
            checkpoint: its ``requests`` are all that are remembered.
            room: bytes it will take, about.
        """

        def change(before: Any, txn: Any) -> None:
            was_horizon, horizon = self._tag(txn).horizon, checkpoint.durable.horizon
            reading, waiting = self._segment_rows(txn), self._waiting_rows(txn)
            segments = Segments(reading, was_horizon)
            with before.cursor(self._entries) as cursor:
                for key, entry in changes(iter(cursor)):
                    old = txn.get(key, db=self._entries)
                    if entry:
                        txn.put(key, encode_entry(entry, key), db=self._entries)
                    else:
                        txn.delete(key, db=self._entries)
                    waiting.mark_conflict(key, conflict=in_conflict(entry, was_horizon))
                    digest = key_digest(key, entry, was_horizon)
                    was = segments.change(key, old, *digest, gone=not entry)
                    change_rows(waiting, key, was, entry, was_horizon)
                    waiting.add_garbage(garbage_dots(entry, was_horizon), key)
            segments.finish()
            total = self._total(txn).plus(segments.change_of_total)
            if horizon > was_horizon:
                total = total.plus(sweep(reading, waiting, was_horizon, horizon))
            waiting.finish()
            self._put_rest(txn, checkpoint, total)

        self._env.rewrite(change, room)

    def adopt(
        self,
        tables: Mapping[str, Callable[[], Iterable[list[bytes]]]],
        checkpoint: Checkpoint,
        room: int,
    ) -> None:
        """Take the rows of another replica as they are instead of what is here, in one transaction.

        Args:
            tables: its tables, as ``[key, value, key, value, ...]``, ascending, except ``requests``
                and those that tell of one node alone; called again if the map was too small.
            checkpoint: its ``requests`` are all that are remembered; its horizon is that of the
                tables.
            room: bytes it will take, about.
        """

        def change(_: Any, txn: Any) -> None:
            for name, chunks in tables.items():
                table = self._tables[name]
                txn.drop(table, delete=False)
                with txn.cursor(table) as cursor:
                    for flat in chunks():
                        rows = iter(flat)
                        cursor.putmulti(zip(rows, rows, strict=True), append=True)
            waiting = self._waiting_rows(txn)
            waiting.recount()
            waiting.finish()
            total = ABSENT
            with txn.cursor(self._digests) as cursor:
                for raw in cursor.iternext(keys=False):
                    if len(raw) != ROW.size:
                        raise StateError("a digest of the snapshot is of unknown form")
                    total = total.plus(unpack(raw))
            self._put_rest(txn, checkpoint, total)

        self._env.rewrite(change, room)

    def copy(self, target: Path) -> None:
        """Write a compacted copy to the empty folder ``target``; DiskFullError."""
        self._env.copy(target)

    def held(self) -> AbstractContextManager[Callable[[], bool]]:
        """See ``Environment.held``."""
        return self._env.held()

    def pin(self) -> None:
        """Let readers see what is here now, until ``unpin``."""
        self._env.pin()

    def unpin(self) -> None:
        """Let readers see what was written since ``pin``."""
        self._env.unpin()

    def usage(self) -> Usage:
        """Bytes in use and mapped, keys kept."""
        return self._env.usage("entries")

    def close(self) -> None:
        """Close the store."""
        if self._saver is not None:
            self._saver.close()
        self._env.close()

    def _put_rest(self, txn: Any, checkpoint: Checkpoint, total: Digest) -> None:
        for number, loser in checkpoint.journal:
            txn.put(_key(number), encode_loser(loser), db=self._journal)
        txn.put(b"digest", pack(total), db=self._meta)
        txn.put(b"saved", _key(self._saved(txn) + 1), db=self._meta)
        txn.drop(self._requests, delete=False)
        for request_id, known in checkpoint.requests:
            txn.put(*request_row(request_id, known), db=self._requests, append=True)
        txn.put(b"checkpoint", encode_meta(checkpoint), db=self._meta)


def _key(number: int) -> bytes:
    return number.to_bytes(8, "big")
