"""The state store over LMDB: the last checkpoint.

Tables:

- ``entries``: key -> entry (``core/entry.py``).
- ``conflicts``: key -> empty, for the keys a reader sees more than one value of.
- ``digests``: ``0x00 | start`` of a segment of keys -> its digest (``storage/digests.py``).
- ``requests``: number, 8 bytes -> ``request id, 16 | origin, 8 | first seq, 8 | count, 4 |
  crc32, 4``.
- ``garbage``: delete's dot ``origin, 8 | seq, 8``, big-endian -> key.
- ``journal``, ``quarantine``: number, 8 bytes -> row (``rows.py``).
- ``meta``: ``owner``; ``garbage`` -> msgpack {origin: rows}; ``saved`` -> checkpoints written, 8
  bytes; ``digest`` -> of all keys; ``checkpoint`` -> ``0x01 | crc32 | msgpack [arrival, vector,
  chains, hlc, forks, fence, reports, names]``.
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgpack

from kvnode.core.digest import ABSENT, Digest
from kvnode.core.dots import Dot, Vector
from kvnode.core.entry import Entry, decode_entry, encode_entry, garbage_dots, in_conflict
from kvnode.core.errors import StateError, quoted
from kvnode.core.snapshot import Row
from kvnode.storage.checkpoint import (
    decode_meta,
    encode_meta,
    garbage_rows,
    request_row,
    restore_request,
)
from kvnode.storage.digests import ROW, Segments, pack, unpack
from kvnode.storage.environment import Environment, Tables
from kvnode.storage.interfaces import (
    Checkpoint,
    Segmented,
    StorageError,
    Stored,
    Table,
    Tag,
    Usage,
)
from kvnode.storage.rows import encode_loser
from kvnode.storage.scrutiny import report_damage
from kvnode.storage.segment_rows import SegmentRows

TABLES = ("entries", "conflicts", "digests", "requests", "garbage", "journal", "quarantine")
DOT = struct.Struct(">QQ")
ROWS_BATCH = 64
"""Rows read per transaction."""


class LmdbState:
    """See the module and ``interfaces.StateStore``. Saves come from one thread."""

    def __init__(self, path: Path, origin: int) -> None:
        """Open or create the state of ``origin``; StorageError if it is another's or damaged."""
        self._env = Environment(path, TABLES, part="state", origin=origin, bind=self._bind)
        self._env.check("entries", "requests", "journal", "quarantine")
        report_damage(self._env)

    def _bind(self, tables: Tables) -> None:
        """Take the table handles: compaction makes new ones, so use them inside transactions."""
        self._tables = tables
        self._entries = tables["entries"]
        self._conflicts = tables["conflicts"]
        self._digests = tables["digests"]
        self._requests = tables["requests"]
        self._garbage = tables["garbage"]
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
        with self._env.read() as txn:
            raw = txn.get(key, db=self._entries)
        try:
            return None if raw is None else decode_entry(raw, key)
        except StateError as error:
            raise StateError(f"{quoted(key)}: {error}") from error

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
        with self._env.read() as txn:
            raw: bytes | None = txn.get(_key(number), db=self._env.tables[table])
        return raw

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

    def save(self, checkpoint: Checkpoint) -> None:
        """Write the checkpoint, synced; then compact a file that has become mostly free pages."""
        rows = [
            (key, encode_entry(entry, key) if entry else None, in_conflict(entry))
            for key, entry in sorted(checkpoint.entries.items())
        ]
        garbage = garbage_rows(checkpoint)
        losers = [(_key(number), encode_loser(loser)) for number, loser in checkpoint.journal]
        meta = encode_meta(checkpoint)
        floor = _key(checkpoint.requests_floor)

        def change(txn: Any) -> None:
            conflicts = txn.stat(self._conflicts)["entries"]
            segments = Segments(SegmentRows(txn, self._digests, self._entries))
            for key, raw, conflict in rows:
                old = txn.get(key, db=self._entries)
                if raw is None:
                    txn.delete(key, db=self._entries)
                else:
                    txn.put(key, raw, db=self._entries)
                segments.change(key, old, checkpoint.entries[key])
                if conflict:
                    txn.put(key, b"", db=self._conflicts)
                elif conflicts:
                    txn.delete(key, db=self._conflicts)
            for request_id, known in checkpoint.requests:
                txn.put(*request_row(request_id, known), db=self._requests)
            _drop_below(txn, self._requests, floor)
            for key, raw in losers:
                txn.put(key, raw, db=self._journal)
            _drop_below(txn, self._journal, _key(checkpoint.journal_floor))
            self._change_garbage(txn, checkpoint.collected, garbage)
            segments.finish()
            for key in sorted(checkpoint.recount):
                segments.recount(key)
            segments.finish()
            total = self._total(txn).plus(segments.change_of_total)
            txn.put(b"digest", pack(total), db=self._meta)
            txn.put(b"saved", _key(self._saved(txn) + 1), db=self._meta)
            txn.put(b"checkpoint", meta, db=self._meta)

        self._env.write(change)
        self._env.compact_if_wasteful()

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
            garbage: list[tuple[Dot, bytes]] = []
            segments = Segments(SegmentRows(txn, self._digests, self._entries))
            with before.cursor(self._entries) as cursor:
                for key, entry in changes(iter(cursor)):
                    old = txn.get(key, db=self._entries)
                    self._put(txn, key, entry)
                    segments.change(key, old, entry)
                    garbage += [(dot, key) for dot in garbage_dots(entry)]
            segments.finish()
            self._change_garbage(txn, [], garbage)
            self._put_rest(txn, checkpoint, self._total(txn).plus(segments.change_of_total))

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
            checkpoint: its ``requests`` are all that are remembered.
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
            with txn.cursor(self._garbage) as cursor:
                waiting = Counter(DOT.unpack(key)[0] for key in cursor.iternext(values=False))
            txn.put(b"garbage", msgpack.packb(dict(waiting)), db=self._meta)
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

    def pin(self) -> None:
        """Let readers see what is here now, until ``unpin``."""
        self._env.pin()

    def unpin(self) -> None:
        """Let readers see what was written since ``pin``."""
        self._env.unpin()

    def garbage(self, stable: Vector, limit: int, after: Dot = (0, 0)) -> list[tuple[Dot, bytes]]:
        """See ``interfaces.StateStore``."""
        found: list[tuple[Dot, bytes]] = []
        with self._env.read() as txn, txn.cursor(self._garbage) as cursor:
            for origin in sorted(stable):
                if origin < after[0]:
                    continue
                start = (origin, after[1] + 1 if origin == after[0] else 0)
                more = cursor.set_range(DOT.pack(*start))
                end = DOT.pack(origin, stable[origin])
                while more and len(found) < limit and cursor.key() <= end:
                    found.append((DOT.unpack(cursor.key()), cursor.value()))
                    more = cursor.next()
        return found

    def waiting(self) -> dict[int, int]:
        """See ``interfaces.StateStore``."""
        with self._env.read() as txn:
            return self._waiting(txn)

    def _waiting(self, txn: Any) -> dict[int, int]:
        raw = txn.get(b"garbage", db=self._meta)
        found: dict[int, int] = msgpack.unpackb(raw, strict_map_key=False) if raw else {}
        return found

    def _change_garbage(
        self, txn: Any, collected: list[Dot], garbage: list[tuple[Dot, bytes]]
    ) -> None:
        """Rows that were looked at go, then those of the entries saved come (back)."""
        rows = self._waiting(txn)
        for dot in collected:
            if txn.delete(DOT.pack(*dot), db=self._garbage):
                rows[dot[0]] -= 1
        for dot, key in garbage:
            if txn.put(DOT.pack(*dot), key, db=self._garbage, overwrite=False):
                rows[dot[0]] = rows.get(dot[0], 0) + 1
        left = {origin: count for origin, count in sorted(rows.items()) if count}
        txn.put(b"garbage", msgpack.packb(left), db=self._meta)

    def total(self) -> tuple[Tag, Digest]:
        """The digest of all keys."""
        with self._env.read() as txn:
            return self._tag(txn), self._total(txn)

    def segments(self, start: bytes, end: bytes) -> Segmented:
        """The digests of the segments that share keys with [start, end)."""
        with self._env.read() as txn:
            tag = self._tag(txn)
            reading = SegmentRows(txn, self._digests, self._entries)
            found = [reading.segment_of(start)]
            after = reading.next_segment(found[0][0])
            with txn.cursor(self._digests) as cursor:
                more = bool(after) and cursor.set_range(b"\0" + after)
                while more and not (end and cursor.key()[1:] >= end):
                    found.append((cursor.key()[1:], unpack(cursor.value())))
                    more = cursor.next()
                after = cursor.key()[1:] if more else b""
        return Segmented(tag, found, after)

    def stored(self, start: bytes, end: bytes, keys_max: int, bytes_max: int) -> Stored:
        """Entries from ``start`` to ``end`` as they are stored."""
        found: list[tuple[bytes, bytes]] = []
        size, more = 0, False
        with self._env.read() as txn:
            tag = self._tag(txn)
            for key, raw in SegmentRows(txn, self._digests, self._entries).entries(start, end):
                if len(found) >= keys_max or (found and size + len(raw) > bytes_max):
                    more = True
                    break
                found.append((key, raw))
                size += len(raw)
        return Stored(tag, found, more)

    def _total(self, txn: Any) -> Digest:
        raw = txn.get(b"digest", db=self._meta)
        return ABSENT if raw is None else unpack(raw)

    def _saved(self, txn: Any) -> int:
        return int.from_bytes(txn.get(b"saved", db=self._meta) or b"", "big")

    def _tag(self, txn: Any) -> Tag:
        raw = txn.get(b"checkpoint", db=self._meta)
        if raw is None:
            return Tag(self._saved(txn), 0, {})
        saved = decode_meta(raw, 1)
        return Tag(self._saved(txn), saved.arrival, saved.durable.vector)

    def usage(self) -> Usage:
        """Bytes in use and mapped, keys kept."""
        return self._env.usage("entries")

    def close(self) -> None:
        """Close the store."""
        self._env.close()

    def _put(self, txn: Any, key: bytes, entry: Entry) -> None:
        if entry:
            txn.put(key, encode_entry(entry, key), db=self._entries)
        else:
            txn.delete(key, db=self._entries)
        if in_conflict(entry):
            txn.put(key, b"", db=self._conflicts)
        else:
            txn.delete(key, db=self._conflicts)

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


def _drop_below(txn: Any, table: Any, floor: bytes) -> None:
    with txn.cursor(table) as cursor:
        more = cursor.first()
        while more and cursor.key() < floor:
            more = cursor.delete()
