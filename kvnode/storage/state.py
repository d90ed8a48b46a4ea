"""The state store over LMDB: the last checkpoint.

Tables:

- ``entries``: key -> entry (``core/entry.py``).
- ``conflicts``: key -> empty, for the keys a reader sees more than one value of.
- ``requests``: number, 8 bytes -> ``request id, 16 | origin, 8 | first seq, 8 | count, 4``.
- ``garbage``: delete's dot ``origin, 8 | seq, 8``, big-endian -> key.
- ``meta``: ``owner``; ``garbage`` -> msgpack {origin: rows}; ``checkpoint`` ->
  ``0x01 | crc32 | msgpack [arrival, vector, chains, hlc, forks, fence, reports, names]``.
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any
from zlib import crc32

import msgpack

from kvnode.core.dots import Dot, Vector
from kvnode.core.entry import Entry, decode_entry, encode_entry, garbage_dots, in_conflict
from kvnode.core.errors import StateError, quoted
from kvnode.core.replica import Durable
from kvnode.core.requests import Remembered, RequestWindow
from kvnode.core.snapshot import Row
from kvnode.storage.environment import Environment, Tables
from kvnode.storage.interfaces import Checkpoint, StorageError, Usage

TABLES = ("entries", "conflicts", "requests", "garbage")
REQUEST = struct.Struct(">16sQQI")
DOT = struct.Struct(">QQ")
VERSION = b"\x01"


class LmdbState:
    """See the module and ``interfaces.StateStore``. Saves come from one thread."""

    def __init__(self, path: Path, origin: int) -> None:
        """Open or create the state of ``origin``; StorageError if it is another's or damaged."""
        self._env = Environment(path, TABLES, part="state", origin=origin, bind=self._bind)

    def _bind(self, tables: Tables) -> None:
        """Take the table handles: compaction makes new ones, so use them inside transactions."""
        self._tables = tables
        self._entries = tables["entries"]
        self._conflicts = tables["conflicts"]
        self._requests = tables["requests"]
        self._garbage = tables["garbage"]
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
        except StateError as error:
            raise StorageError(f"{self._env.path} is damaged: {error}") from error
        for key, value in rows:
            restore_request(checkpoint, key, value)
        return checkpoint

    def get(self, key: bytes) -> Entry | None:
        """The key's entry; StateError if it is damaged."""
        with self._env.read() as txn:
            raw = txn.get(key, db=self._entries)
        try:
            return None if raw is None else decode_entry(raw)
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

    def save(self, checkpoint: Checkpoint) -> None:
        """Write the checkpoint, synced; then compact a file that has become mostly free pages."""
        rows = [
            (key, encode_entry(entry) if entry else None, in_conflict(entry))
            for key, entry in sorted(checkpoint.entries.items())
        ]
        garbage = garbage_rows(checkpoint)
        meta = encode_meta(checkpoint)
        floor = checkpoint.requests_floor.to_bytes(8, "big")

        def change(txn: Any) -> None:
            conflicts = txn.stat(self._conflicts)["entries"]
            for key, raw, conflict in rows:
                if raw is None:
                    txn.delete(key, db=self._entries)
                else:
                    txn.put(key, raw, db=self._entries)
                if conflict:
                    txn.put(key, b"", db=self._conflicts)
                elif conflicts:
                    txn.delete(key, db=self._conflicts)
            for request_id, known in checkpoint.requests:
                value = REQUEST.pack(request_id, known.origin, known.first_seq, known.size)
                txn.put(known.number.to_bytes(8, "big"), value, db=self._requests)
            with txn.cursor(self._requests) as cursor:
                more = cursor.first()
                while more and cursor.key() < floor:
                    more = cursor.delete()
            self._change_garbage(txn, checkpoint.collected, garbage)
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
            with before.cursor(self._entries) as cursor:
                for key, entry in changes(iter(cursor)):
                    self._put(txn, key, entry)
                    garbage += [(dot, key) for dot in garbage_dots(entry)]
            self._change_garbage(txn, [], garbage)
            self._put_rest(txn, checkpoint)

        self._env.rewrite(change, room)

    def adopt(
        self,
        tables: Mapping[str, Callable[[], Iterable[list[bytes]]]],
        checkpoint: Checkpoint,
        room: int,
    ) -> None:
        """Take the rows of another replica as they are instead of what is here, in one transaction.

        Args:
            tables: its tables except ``requests``, as ``[key, value, key, value, ...]``, ascending;
                called again if the map turned out to be too small.
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
            self._put_rest(txn, checkpoint)

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

    def usage(self) -> Usage:
        """Bytes in use and mapped, keys kept."""
        return self._env.usage("entries")

    def close(self) -> None:
        """Close the store."""
        self._env.close()

    def _put(self, txn: Any, key: bytes, entry: Entry) -> None:
        if entry:
            txn.put(key, encode_entry(entry), db=self._entries)
        else:
            txn.delete(key, db=self._entries)
        if in_conflict(entry):
            txn.put(key, b"", db=self._conflicts)
        else:
            txn.delete(key, db=self._conflicts)

    def _put_rest(self, txn: Any, checkpoint: Checkpoint) -> None:
        txn.drop(self._requests, delete=False)
        for request_id, known in checkpoint.requests:
            value = REQUEST.pack(request_id, known.origin, known.first_seq, known.size)
            txn.put(known.number.to_bytes(8, "big"), value, db=self._requests, append=True)
        txn.put(b"checkpoint", encode_meta(checkpoint), db=self._meta)


def restore_request(checkpoint: Checkpoint, key: bytes, value: bytes) -> None:
    """Put a row of ``requests`` into a loaded checkpoint."""
    request_id, origin, first, size = REQUEST.unpack(value)
    remembered = Remembered(int.from_bytes(key, "big"), origin, first, size)
    checkpoint.requests.append((request_id, remembered))
    checkpoint.durable.requests.restore(request_id, remembered)


def garbage_rows(checkpoint: Checkpoint) -> list[tuple[Dot, bytes]]:
    """(delete's dot, key) of all that waits in the entries of a checkpoint, ascending."""
    entries = checkpoint.entries.items()
    return sorted((dot, key) for key, entry in entries for dot in garbage_dots(entry))


def encode_meta(checkpoint: Checkpoint) -> bytes:
    """The checkpoint without entries and requests."""
    durable = checkpoint.durable
    packed: bytes = msgpack.packb(
        [
            checkpoint.arrival,
            sorted(durable.vector.items()),
            sorted(durable.chains.items()),
            durable.hlc,
            sorted(durable.forks.items()),
            durable.fence,
            [(origin, sorted(seen.items())) for origin, seen in sorted(durable.reports.items())],
            sorted(checkpoint.names.items()),
        ]
    )
    return VERSION + crc32(packed).to_bytes(4, "big") + packed


def decode_meta(raw: bytes, window: int) -> Checkpoint:
    """The inverse of ``encode_meta``; raises ``StateError``."""
    packed = raw[5:]
    if raw[:1] != VERSION or crc32(packed).to_bytes(4, "big") != raw[1:5]:
        raise StateError("the checkpoint is of an unknown version or fails its checksum")
    arrival, vector, chains, hlc, forks, fence, reports, names = msgpack.unpackb(packed)
    durable = Durable(
        RequestWindow(window),
        dict(vector),
        dict(chains),
        hlc,
        dict(forks),
        fence,
        {origin: dict(seen) for origin, seen in reports},
    )
    return Checkpoint(arrival, durable, dict(names), {}, [])
