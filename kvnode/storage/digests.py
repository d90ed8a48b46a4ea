"""Digests of the stored state by key range: kept up with every checkpoint, asked for any range.

The store's keys are cut into segments. One begins at the empty key, and one at each stored key
that is a boundary by itself (``core/digest.py``), about every 1,024 keys. A row per segment holds
its digest. ``Segments`` changes the rows inside the transaction that writes a checkpoint: out with
what was stored under a key, in with what is stored now; so rows and entries are always of one
checkpoint, whose vector is their tag. A new boundary key cuts its segment in two, which takes
reading the second part, once in about a thousand new keys; a boundary that goes joins two rows.

A stored entry that fails its checksum has no digest to subtract. Replacing it makes its segment
be counted anew; until then the row still says what was written, so a row is not a proof of what is
on the disk: ``check_segment`` is, by reading it all.

Digests are as of the store's horizon: what expired till then is left out (``deadlines.py``).

Reading them: ``digest_reading.py``.
"""

from __future__ import annotations

import struct
from collections.abc import Generator, Iterator
from contextlib import closing
from typing import Protocol

from kvnode.core.digest import (
    ABSENT,
    MODULUS,
    Digest,
    is_boundary,
    key_digest,
    sum_of_all,
)
from kvnode.core.entry import NOTHING, Entry, decode_entry
from kvnode.core.errors import StateError
from kvnode.core.plain import plain_hash

ROW = struct.Struct(">Q16s")
READ_KEYS = 512


class Rows(Protocol):
    """The tables of a store, inside the transaction that writes a checkpoint."""

    def segment_of(self, key: bytes) -> tuple[bytes, Digest]:
        """Start and digest of the last segment that begins at or before ``key``."""
        ...

    def next_segment(self, start: bytes) -> bytes:
        """Start of the segment after this one, empty if it is the last."""
        ...

    def put_segment(self, start: bytes, digest: Digest) -> None: ...
    def delete_segment(self, start: bytes) -> None: ...
    def entries(self, start: bytes, end: bytes) -> Generator[tuple[bytes, bytes], None, None]:
        """What is stored from ``start`` to ``end`` (exclusive; empty: no end), ascending."""
        ...


class Segments:
    """The change that one checkpoint makes to the digests. Keys have to come in order."""

    def __init__(self, rows: Rows, horizon: int) -> None:
        """``horizon``: as of when the digests are (``deadlines.py``)."""
        self.change_of_total = ABSENT
        """To be added to the digest of the whole store."""
        self._horizon = horizon
        self._rows = rows
        self._open = False
        self._recount = False
        self._start = self._end = b""
        self._digest = self._before = ABSENT
        self._keys = self._sum = 0
        """What ``change`` adds to the digest, as numbers: this runs for every key."""

    def enter(self, key: bytes) -> bytes:
        """Come to the segment of ``key``; where it ends, empty if there is none behind it."""
        if not self._open or (self._end and key >= self._end):
            self._enter(key)
        return self._end

    def add(self, keys: int, total: int) -> None:
        """So many keys more in the segment that was entered, and so much more in its sum."""
        self._keys += keys
        self._sum += total

    def change(
        self, key: bytes, old: bytes | None, new_keys: int, new_sum: int, *, gone: bool
    ) -> Entry | None:
        """What is under ``key`` now has the digest ``new_...``, or is ``gone``; ``old`` was there.

        Returns what ``old`` was, NOTHING if it cannot be read; None if it was not there.
        """
        self.enter(key)
        before = None
        if old is not None:
            before = self.take(key, old)
        elif not gone:
            self.begin(key)
        self.add(new_keys, new_sum)
        if gone and key == self._start and old is not None:
            self._join()
        return before

    def take(self, key: bytes, old: bytes) -> Entry:
        """What was under ``key`` of the segment that was entered counts no more; returns it.

        NOTHING if it cannot be read.
        """
        try:
            before = decode_entry(old, key)
        except StateError:
            self._recount = True
            return NOTHING
        digest = key_digest(key, before, self._horizon)
        self.add(-digest.keys, -digest.sum)
        return before

    def begin(self, key: bytes) -> None:
        """``key``, of the segment that was entered, is new, and may begin a segment itself.

        Whatever else has changed before it has been told already.
        """
        if key != self._start and is_boundary(key):
            self._cut(key)

    def expire(self, key: bytes, raw: bytes, before: int) -> Entry | None:
        """``raw`` stays under ``key``, but is counted as of the horizon and no more of ``before``.

        Returns what it is; None if it cannot be read, then its segment is counted anew.
        """
        self.enter(key)
        try:
            entry = decode_entry(raw, key)
        except StateError:
            self._recount = True
            return None
        old, new = key_digest(key, entry, before), key_digest(key, entry, self._horizon)
        self._keys += new.keys - old.keys
        self._sum += new.sum - old.sum
        return entry

    def recount(self, key: bytes) -> None:
        """Count the segment of ``key`` anew."""
        self.enter(key)
        self._recount = True

    def finish(self) -> None:
        """Write what is not written yet."""
        if not self._open:
            return
        self._settle()
        if self._recount:
            self._digest = self._count(self._start, self._end)[0]
            self._recount = False
        if self._digest != self._before:
            self._rows.put_segment(self._start, self._digest)
            self.change_of_total = self.change_of_total.plus(self._digest).minus(self._before)
        self._open = False

    def _settle(self) -> None:
        self._digest = Digest(
            self._digest.keys + self._keys, (self._digest.sum + self._sum) % MODULUS
        )
        self._keys = self._sum = 0

    def _enter(self, key: bytes) -> None:
        self.finish()
        self._open = True
        self._start, self._digest = self._rows.segment_of(key)
        self._before = self._digest
        self._end = self._rows.next_segment(self._start)

    def _cut(self, key: bytes) -> None:
        """A segment begins at ``key`` from now on; its own entry is not counted yet."""
        self._settle()
        end = self._end
        rest, damaged = self._count_behind(key)
        self._digest = self._digest.minus(rest)
        both, self._end = self._recount, key
        self._recount = both or damaged
        self.finish()
        self._rows.put_segment(key, rest)
        self.change_of_total = self.change_of_total.plus(rest)
        self._open, self._recount = True, both
        self._start, self._end = key, end
        self._digest = self._before = rest

    def _count_behind(self, key: bytes) -> tuple[Digest, bool]:
        """The digest of what is behind ``key`` in its segment, and whether any of it is damaged.

        For about every new key one entry has to be counted here. Where what is before ``key`` is
        less, that is counted: half as much in all. It does not do where anything is damaged.
        """
        if self._is_less_before(key):
            before, damaged = self._count(self._start, key)
            if not damaged:
                return self._digest.minus(before), False
        return self._count(key + b"\0", self._end)

    def _is_less_before(self, key: bytes) -> bool:
        """Whether the segment has fewer keys before ``key`` than behind; looks at both at once."""
        before = self._rows.entries(self._start, key)
        behind = self._rows.entries(key + b"\0", self._end)
        with closing(before), closing(behind):
            return any(next(before, None) is None for _ in behind)

    def _join(self) -> None:
        """The segment's first key is gone: what is left belongs to the one before."""
        if not self._start:
            return
        self._settle()
        self._rows.delete_segment(self._start)
        left, left_before = self._digest, self._before
        self._start, digest = self._rows.segment_of(self._start)
        self._digest = digest.plus(left)
        self._before = digest.plus(left_before)
        if self._digest == self._before:  # the row has to change although the sum does not
            self._rows.put_segment(self._start, self._digest)

    def _count(self, start: bytes, end: bytes) -> tuple[Digest, bool]:
        counted, damaged = count(self._rows.entries(start, end), self._horizon)
        return counted, bool(damaged)


def count(rows: Iterator[tuple[bytes, bytes]], horizon: int) -> tuple[Digest, list[bytes]]:
    """The digest of stored entries as of ``horizon``, and the keys of those that are damaged."""
    keys, total, damaged = 0, 0, []
    plain: list[bytes] = []
    for key, raw in rows:
        hashed = plain_hash(key, raw)
        if hashed is not None:
            plain.append(hashed)
            if len(plain) == READ_KEYS:
                keys += len(plain)
                total += sum_of_all(plain)
                plain.clear()
            continue
        try:
            digest = key_digest(key, decode_entry(raw, key), horizon)
        except StateError:
            damaged.append(key)
        else:
            keys += digest.keys
            total += digest.sum
    return Digest(keys + len(plain), (total + sum_of_all(plain)) % MODULUS), damaged


def pack(digest: Digest) -> bytes:
    """A row's value."""
    return ROW.pack(digest.keys, digest.sum.to_bytes(16, "big"))


def unpack(raw: bytes) -> Digest:
    """The inverse of ``pack``; raises ``StateError``."""
    if len(raw) != ROW.size:
        raise StateError("a digest of a segment is of unknown form")
    keys, total = ROW.unpack(raw)
    return Digest(keys, int.from_bytes(total, "big"))
