"""Digests of any key range, read beside a writer, and segments compared with their entries.

What is asked for is put together from the rows of whole segments and from the entries of parts
(``digests.py``). Readers take a few short transactions for one answer and start over when a
checkpoint came between.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

from kvnode.core.digest import ABSENT, Digest, key_digest
from kvnode.core.entry import decode_entry
from kvnode.core.errors import StateError
from kvnode.storage.digests import READ_KEYS, count
from kvnode.storage.interfaces import Expiring, Moved, Segmented, Stored, Tag

READ_BYTES_MAX = 4 << 20
"""Of one read transaction: values may be a MiB each, and readers must be short."""
TRIES = 4
"""Of an answer that takes several transactions, before it is given up for now."""


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
