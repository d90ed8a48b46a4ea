"""The state store over LMDB: the last checkpoint.

Tables:

- ``entries``: key -> entry (``core/entry.py``).
- ``conflicts``: key -> empty, for the keys a reader sees more than one value of.
- ``digests``: ``0x00 | start`` of a segment of keys -> its digest (``storage/digests.py``).
- ``requests``: number, 8 bytes -> ``request id, 16 | origin, 8 | first seq, 8 | count, 4``.
- ``meta``: ``owner``; ``digest`` -> of all keys; ``checkpoint`` -> ``0x01 | crc32 | msgpack
  [arrival, vector, chains, hlc, forks, fence, reports, names]``.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from zlib import crc32

import msgpack

from kvnode.core.digest import ABSENT, Digest
from kvnode.core.entry import Entry, decode_entry, encode_entry, in_conflict
from kvnode.core.errors import StateError, quoted
from kvnode.core.replica import Durable
from kvnode.core.requests import Remembered, RequestWindow
from kvnode.storage.digests import Segments, pack, unpack
from kvnode.storage.environment import Environment
from kvnode.storage.interfaces import Checkpoint, Segmented, StorageError, Stored, Tag, Usage

REQUEST = struct.Struct(">16sQQI")
VERSION = b"\x01"


class LmdbState:
    """See the module and ``interfaces.StateStore``. Saves come from one thread."""

    def __init__(self, path: Path, origin: int) -> None:
        """Open or create the state of ``origin``; StorageError if it is another's or damaged."""
        tables = ("entries", "conflicts", "digests", "requests")
        self._env = Environment(path, tables, part="state", origin=origin)
        self._entries = self._env.tables["entries"]
        self._conflicts = self._env.tables["conflicts"]
        self._digests = self._env.tables["digests"]
        self._requests = self._env.tables["requests"]
        self._meta = self._env.meta

    def load(self, window: int) -> Checkpoint | None:
        """The last checkpoint without its entries, None if none was saved yet."""
        with self._env.read() as txn:
            raw = txn.get(b"checkpoint", db=self._meta)
            if raw is None:
                return None
            rows = [(key, value) for key, value in txn.cursor(self._requests)]
        try:
            checkpoint = decode_meta(raw, window)
        except StateError as error:
            raise StorageError(f"{self._env.path} is damaged: {error}") from error
        for key, value in rows:
            request_id, origin, first, size = REQUEST.unpack(value)
            remembered = Remembered(int.from_bytes(key, "big"), origin, first, size)
            checkpoint.requests.append((request_id, remembered))
            checkpoint.durable.requests.restore(request_id, remembered)
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
        table = self._conflicts if conflicts else self._entries
        with self._env.read() as txn, txn.cursor(table) as cursor:
            more = cursor.set_range(start) if start else cursor.first()
            while more and len(found) < limit:
                key = cursor.key()
                if end and key >= end:
                    break
                found.append(key)
                more = cursor.next()
        return found

    def save(self, checkpoint: Checkpoint) -> None:
        """Write the checkpoint, synced."""
        rows = [
            (key, encode_entry(entry) if entry else None, in_conflict(entry))
            for key, entry in sorted(checkpoint.entries.items())
        ]
        meta = encode_meta(checkpoint)
        floor = checkpoint.requests_floor.to_bytes(8, "big")

        def change(txn: Any) -> None:
            conflicts = txn.stat(self._conflicts)["entries"]
            segments = Segments(_Rows(txn, self._digests, self._entries))
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
                value = REQUEST.pack(request_id, known.origin, known.first_seq, known.size)
                txn.put(known.number.to_bytes(8, "big"), value, db=self._requests)
            with txn.cursor(self._requests) as cursor:
                more = cursor.first()
                while more and cursor.key() < floor:
                    more = cursor.delete()
            segments.finish()
            for key in sorted(checkpoint.recount):
                segments.recount(key)
            segments.finish()
            total = self._total(txn).plus(segments.change_of_total)
            txn.put(b"digest", pack(total), db=self._meta)
            txn.put(b"checkpoint", meta, db=self._meta)

        self._env.write(change)

    def total(self) -> tuple[Tag, Digest]:
        """The digest of all keys."""
        with self._env.read() as txn:
            return self._tag(txn), self._total(txn)

    def segments(self, start: bytes, end: bytes) -> Segmented:
        """The digests of the segments that share keys with [start, end)."""
        with self._env.read() as txn:
            tag = self._tag(txn)
            reading = _Rows(txn, self._digests, self._entries)
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
            for key, raw in _Rows(txn, self._digests, self._entries).entries(start, end):
                if len(found) >= keys_max or (found and size + len(raw) > bytes_max):
                    more = True
                    break
                found.append((key, raw))
                size += len(raw)
        return Stored(tag, found, more)

    def _total(self, txn: Any) -> Digest:
        raw = txn.get(b"digest", db=self._meta)
        return ABSENT if raw is None else unpack(raw)

    def _tag(self, txn: Any) -> Tag:
        raw = txn.get(b"checkpoint", db=self._meta)
        if raw is None:
            return Tag(txn.id(), 0, {})
        saved = decode_meta(raw, 1)
        return Tag(txn.id(), saved.arrival, saved.durable.vector)

    def usage(self) -> Usage:
        """Bytes in use and mapped, keys kept."""
        return self._env.usage("entries")

    def close(self) -> None:
        """Close the store."""
        self._env.close()


class _Rows:
    """``digests.Rows`` over a transaction."""

    def __init__(self, txn: Any, digests: Any, entries: Any) -> None:
        self._txn = txn
        self._digests = digests
        self._entries = entries

    def segment_of(self, key: bytes) -> tuple[bytes, Digest]:
        with self._txn.cursor(self._digests) as cursor:
            row = b"\0" + key
            found = cursor.set_range(row)
            if not found or cursor.key() != row:
                found = cursor.prev() if found else cursor.last()
            return (cursor.key()[1:], unpack(cursor.value())) if found else (b"", ABSENT)

    def next_segment(self, start: bytes) -> bytes:
        with self._txn.cursor(self._digests) as cursor:
            found = cursor.set_range(b"\0" + start + b"\0")
            return cursor.key()[1:] if found else b""

    def put_segment(self, start: bytes, digest: Digest) -> None:
        self._txn.put(b"\0" + start, pack(digest), db=self._digests)

    def delete_segment(self, start: bytes) -> None:
        self._txn.delete(b"\0" + start, db=self._digests)

    def entries(self, start: bytes, end: bytes) -> Iterator[tuple[bytes, bytes]]:
        with self._txn.cursor(self._entries) as cursor:
            more = cursor.set_range(start) if start else cursor.first()
            while more and not (end and cursor.key() >= end):
                yield cursor.item()
                more = cursor.next()


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
