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

Readers take a few short transactions for one answer and start over when a checkpoint came between.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

from kvnode.core.digest import ABSENT, MODULUS, Digest, is_boundary, key_digest
from kvnode.core.entry import Entry, decode_entry
from kvnode.core.errors import StateError
from kvnode.core.plain import passes, plain_sum
from kvnode.storage.interfaces import Expiring, Moved, Segmented, Stored, Tag

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

    def change(self, key: bytes, old: bytes | None, new: Digest, *, gone: bool) -> Entry | None:
        """What is under ``key`` now has the digest ``new``, or is ``gone``; ``old`` was there.

        Returns what ``old`` was; None if there is nothing to be known of it: nothing was there, or
        something plain (``core/plain.py``), or nothing that can be read.
        """
        if not self._open or (self._end and key >= self._end):
            self._enter(key)
        if old is None:
            if not gone and key != self._start and is_boundary(key):
                self._cut(key)
            self._keys += new.keys
            self._sum += new.sum
            return None
        before, was = None, ABSENT
        plain = plain_sum(key, old) if passes(key, old) else None
        if plain is not None:
            was = Digest(1, plain)
        else:
            try:
                before = decode_entry(old, key)
                was = key_digest(key, before, self._horizon)
            except StateError:
                self._recount = True
        self._keys += new.keys - was.keys
        self._sum += new.sum - was.sum
        if gone and key == self._start:
            self._join()
        return before

    def expire(self, key: bytes, raw: bytes, before: int) -> Entry | None:
        """``raw`` stays under ``key``, but is counted as of the horizon and no more of ``before``.

        Returns what it is; None if it cannot be read, then its segment is counted anew.
        """
        if not self._open or (self._end and key >= self._end):
            self._enter(key)
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
        counted, damaged = count(self._rows.entries(start, end), self._horizon)
        return counted, bool(damaged)


def count(rows: Iterator[tuple[bytes, bytes]], horizon: int) -> tuple[Digest, list[bytes]]:
    """The digest of stored entries as of ``horizon``, and the keys of those that are damaged."""
    keys, total, damaged = 0, 0, []
    for key, raw in rows:
        plain = plain_sum(key, raw) if passes(key, raw) else None
        if plain is not None:
            keys += 1
            total += plain
            continue
        try:
            digest = key_digest(key, decode_entry(raw, key), horizon)
        except StateError:
            damaged.append(key)
        else:
            keys += digest.keys
            total += digest.sum
    return Digest(keys, total % MODULUS), damaged


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
    def expiring(
        self, until: int, limit: int, after: Expiring
    ) -> tuple[Tag, list[tuple[Expiring, bytes]]]: ...


class Digests(NamedTuple):
    """The digests of some ranges, of one checkpoint."""

    tag: Tag
    digests: list[Digest]
    past: int
    """As of this time."""


class CheckedSegment(NamedTuple):
    """What reading a whole segment found."""

    next: bytes
    """Start of the next one, empty if that was the last."""
    keys: int
    damaged: list[bytes]
    miscounted: bool
    """The row does not say what is stored, and no damage explains it."""


def range_digests(
    store: DigestReader, ranges: Sequence[tuple[bytes, bytes]], past: int = 0
) -> Digests:
    """The digests of ranges [start, end) (empty end: no end), all of one checkpoint.

    They are as of ``past``, or of the store's horizon if that is later: it cannot go back.

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
            tag = tag or store.total()[0]
            later = _expired(store, tag, past) if past > tag.horizon else []
        except Moved:
            continue
        for change in later:
            for number, (start, end) in enumerate(ranges):
                if change.key >= start and not (end and change.key >= end):
                    digests[number] = digests[number].minus(change.before).plus(change.after)
        return Digests(tag, digests, max(past, tag.horizon))
    raise Moved(f"{TRIES} checkpoints came while digests were read")


class _Change(NamedTuple):
    """What a later time makes of a key's digest."""

    key: bytes
    before: Digest
    after: Digest


def _expired(store: DigestReader, tag: Tag, past: int) -> list[_Change]:
    """The keys that lose something between the horizon and ``past``."""
    keys: set[bytes] = set()
    after, more = Expiring(tag.horizon), True
    while more:
        found, rows = store.expiring(past, READ_KEYS, after)
        if found != tag:
            raise Moved("a checkpoint came between")
        keys.update(key for _, key in rows)
        more = len(rows) == READ_KEYS
        after = rows[-1][0] if rows else after
    changes = []
    for key in sorted(keys):
        for _, raw in _read(store, tag, key, key + b"\0"):
            try:
                entry = decode_entry(raw, key)
            except StateError:
                continue  # it differs anyway, and shows when keys are compared
            old, new = key_digest(key, entry, tag.horizon), key_digest(key, entry, past)
            changes.append(_Change(key, old, new))
    return changes


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
            total = total.plus(count(part, tag.horizon)[0])
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
        part, damaged = count(iter(batch), segmented.tag.horizon)
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
