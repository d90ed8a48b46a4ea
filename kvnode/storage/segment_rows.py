"""The digests of key segments (``digests.py``) in LMDB tables, inside a transaction."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from kvnode.core.digest import ABSENT, Digest
from kvnode.storage.digests import pack, unpack


class SegmentRows:
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

    def entries(self, start: bytes, end: bytes) -> Generator[tuple[bytes, bytes], None, None]:
        with self._txn.cursor(self._entries) as cursor:
            if cursor.set_range(start) if start else cursor.first():
                for row in cursor:  # from there on
                    if end and row[0] >= end:
                        return
                    yield row
