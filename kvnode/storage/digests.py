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

Readers take a few short transactions for one answer and start over when a checkpoint came between.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

from kvnode.core.digest import ABSENT, MODULUS, Digest, is_boundary, key_digest
from kvnode.core.entry import Entry, decode_entry
from kvnode.core.errors import StateError
from kvnode.storage.interfaces import Moved, Segmented, Stored, Tag

ROW = struct.Struct(">Q16s")
READ_KEYS = 512
READ_BYTES_MAX = 4 << 20
"""Of one read transaction: values may be a MiB each, and readers must be short."""
TRIES = 4
"""Of an answer that takes several transactions, before it is given up for now."""


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
    def entries(self, start: bytes, end: bytes) -> Iterator[tuple[bytes, bytes]]:
        """What is stored from ``start`` to ``end`` (exclusive; empty: no end), ascending."""
        ...


class Segments:
    """The change that one checkpoint makes to the digests. Keys have to come in order."""

    def __init__(self, rows: Rows) -> None:
        self.change_of_total = ABSENT
        """To be added to the digest of the whole store."""
        self._rows = rows
        self._open = False
        self._recount = False
        self._start = self._end = b""
        self._digest = self._before = ABSENT
        self._keys = self._sum = 0
        """What ``change`` adds to the digest, as numbers: this runs for every key."""

    def change(self, key: bytes, old: bytes | None, entry: Entry) -> None:
        """``entry`` was stored under ``key``, empty: was removed; ``old`` was there before."""
        if not self._open or (self._end and key >= self._end):
            self._enter(key)
        new = key_digest(key, entry)
        if old is None:
            if entry and key != self._start and is_boundary(key):
                self._cut(key)
            self._keys += new.keys
            self._sum += new.sum
            return
        try:
            gone = key_digest(key, decode_entry(old, key))
        except StateError:
            self._recount = True
            gone = ABSENT
        self._keys += new.keys - gone.keys
        self._sum += new.sum - gone.sum
        if not entry and key == self._start:
            self._join()

    def recount(self, key: bytes) -> None:
        """Count the segment of ``key`` anew."""
        if not self._open or (self._end and key >= self._end):
            self._enter(key)
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
        rest, damaged = self._count(key + b"\0", end)
        self._digest = self._digest.minus(rest)
        both, self._end = self._recount, key
        self._recount = both or damaged
        self.finish()
        self._rows.put_segment(key, rest)
        self.change_of_total = self.change_of_total.plus(rest)
        self._open, self._recount = True, both
        self._start, self._end = key, end
        self._digest = self._before = rest

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
        counted, damaged = count(self._rows.entries(start, end))
        return counted, bool(damaged)


def count(rows: Iterator[tuple[bytes, bytes]]) -> tuple[Digest, list[bytes]]:
    """The digest of stored entries, and the keys of those that are damaged."""
    total, damaged = ABSENT, []
    for key, raw in rows:
        try:
            total = total.plus(key_digest(key, decode_entry(raw, key)))
        except StateError:
            damaged.append(key)
    return total, damaged


def pack(digest: Digest) -> bytes:
    """A row's value."""
    return ROW.pack(digest.keys, digest.sum.to_bytes(16, "big"))


def unpack(raw: bytes) -> Digest:
    """The inverse of ``pack``; raises ``StateError``."""
    if len(raw) != ROW.size:
        raise StateError("a digest of a segment is of unknown form")
    keys, total = ROW.unpack(raw)
    return Digest(keys, int.from_bytes(total, "big"))


# ---- reading


class DigestReader(Protocol):
    """What a state store offers; each call is one short transaction."""

    def total(self) -> tuple[Tag, Digest]: ...
    def segments(self, start: bytes, end: bytes) -> Segmented: ...
    def stored(self, start: bytes, end: bytes, keys_max: int, bytes_max: int) -> Stored: ...


class Digests(NamedTuple):
    """The digests of some ranges, as of one checkpoint."""

    tag: Tag
    digests: list[Digest]


class CheckedSegment(NamedTuple):
    """What reading a whole segment found."""

    next: bytes
    """Start of the next one, empty if that was the last."""
    keys: int
    damaged: list[bytes]
    miscounted: bool
    """The row does not say what is stored, and no damage explains it."""


def range_digests(store: DigestReader, ranges: Sequence[tuple[bytes, bytes]]) -> Digests:
    """The digests of ranges [start, end) (empty end: no end), all of one checkpoint.

    Raises:
        Moved: checkpoints came faster than the answer.
    """
    for _ in range(TRIES):
        tag: Tag | None = None
        digests = []
        try:
            for start, end in ranges:
                found, digest = _range_digest(store, start, end)
                if tag is not None and found != tag:
                    raise Moved("a checkpoint came between")
                tag = found
                digests.append(digest)
        except Moved:
            continue
        return Digests(tag or store.total()[0], digests)
    raise Moved(f"{TRIES} checkpoints came while digests were read")


def _range_digest(store: DigestReader, start: bytes, end: bytes) -> tuple[Tag, Digest]:
    if not start and not end:
        return store.total()
    segmented = store.segments(start, end)
    tag, rows = segmented.tag, segmented.rows
    total = ABSENT
    for (low, digest), high in zip(
        rows, [*(row[0] for row in rows[1:]), segmented.end], strict=True
    ):
        whole_end = not end or (high and high <= end)
        if low >= start and whole_end:
            total = total.plus(digest)
        else:
            part = _read(store, tag, max(low, start), high if whole_end else end)
            total = total.plus(count(part)[0])
    return tag, total


def check_segment(store: DigestReader, start: bytes) -> CheckedSegment:
    """Read the segment that begins at ``start`` and compare it with its row.

    Raises:
        Moved: checkpoints came faster than the answer.
    """
    for _ in range(TRIES):
        segmented = store.segments(start, start + b"\0")
        low, digest = segmented.rows[0]
        try:
            rows = list(_sizes(store, segmented, low))
        except Moved:
            continue
        keys = sum(size for size, _, _ in rows)
        damaged = [key for _, _, found in rows for key in found]
        counted = ABSENT
        for _, part, _ in rows:
            counted = counted.plus(part)
        return CheckedSegment(segmented.end, keys, damaged, counted != digest and not damaged)
    raise Moved(f"{TRIES} checkpoints came while a segment was read")


def _sizes(
    store: DigestReader, segmented: Segmented, low: bytes
) -> Iterator[tuple[int, Digest, list[bytes]]]:
    for batch in _batches(store, segmented.tag, low, segmented.end):
        part, damaged = count(iter(batch))
        yield len(batch), part, damaged


def _read(store: DigestReader, tag: Tag, start: bytes, end: bytes) -> Iterator[tuple[bytes, bytes]]:
    for batch in _batches(store, tag, start, end):
        yield from batch


def _batches(
    store: DigestReader, tag: Tag, start: bytes, end: bytes
) -> Iterator[list[tuple[bytes, bytes]]]:
    more = True
    while more:
        stored = store.stored(start, end, READ_KEYS, READ_BYTES_MAX)
        if stored.tag != tag:
            raise Moved("a checkpoint came between")
        yield stored.rows
        more = stored.more
        if more:
            start = stored.rows[-1][0] + b"\0"
