"""The entries of a checkpoint on their way to the table: encoded, digested, and exchanged.

Problem: this is done for every key of every checkpoint, and is what limits sustained writes. In
Python each call and each name that is looked up counts.

Idea: almost all entries are plain (``core/plain.py``), and so is what they replace. For them a
flat loop over the keys of a segment, with all that it calls at hand, does just what the general way
(``_exchange``) does; what is not plain, new or old, takes that way. Digests are added up once for a
segment, not key by key.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgpack
from xxhash import xxh3_128_digest as hash_of

from kvnode.core.digest import is_boundary, key_digest, sum_of_all
from kvnode.core.dots import Dot
from kvnode.core.entry import (
    CHECKSUM_BYTES,
    HEAD_BYTES,
    VERSION,
    Entry,
    Held,
    encode_entry,
    garbage_dots,
    in_conflict,
    opened,
)
from kvnode.core.plain import is_plain, plain_packed
from kvnode.storage.deadlines import Waiting, change_rows
from kvnode.storage.digests import Segments


class EntryChanges:
    """What a checkpoint does to the table of entries, and to what hangs on it."""

    def __init__(self, cursor: Any, segments: Segments, waiting: Waiting, horizon: int) -> None:
        self.garbage: list[tuple[Dot, bytes]] = []
        """(dot, key) of what waits in the new entries."""
        self._cursor = cursor
        self._segments = segments
        self._waiting = waiting
        self._horizon = horizon

    def make(self, entries: Mapping[bytes, Held], done: Callable[[float], None]) -> None:
        """Exchange the entries of these keys; an empty one means the key goes.

        Args:
            done: is told now and then which share is done, and may take its time.
        """
        keys = sorted(entries)
        at = 0
        while at < len(keys):
            end = self._segments.enter(keys[at])
            stop = bisect_left(keys, end, at) if end else len(keys)
            self._make_in_segment(keys[at:stop], entries)
            at = stop
            done(at / len(keys))

    def _make_in_segment(self, keys: Sequence[bytes], entries: Mapping[bytes, Held]) -> None:
        """Everything spelled out, for what is usual: this runs for every key of a checkpoint."""
        added: list[bytes] = []
        removed: list[bytes] = []
        replace, pack = self._cursor.replace, msgpack.Packer().pack
        add, remove = added.append, removed.append
        for key in keys:
            held = entries[key]
            if isinstance(held, bytes):
                packed: bytes | None = held
            else:
                packed = plain_packed(held, pack)
            if packed is None:
                self._settle(added, removed)
                self._exchange(key, opened(held))
                continue
            size = len(key)
            hashed = hash_of(key + packed, size)  # ``entry_hash``
            add(hashed)
            old = replace(key, VERSION + hashed[:CHECKSUM_BYTES] + packed)
            if old is None:
                if is_boundary(key):
                    last = added.pop()
                    self._settle(added, removed)
                    self._segments.begin(key)
                    add(last)
                continue
            hashed = hash_of(key + old[HEAD_BYTES:], size)
            if not is_plain(old, VERSION + hashed[:CHECKSUM_BYTES]):
                self._unplain(key, old, opened(held))
                continue
            remove(hashed)
        self._settle(added, removed)

    def _settle(self, added: list[bytes], removed: list[bytes]) -> None:
        """Tell the segment of these digests, before anything that looks at it."""
        if added or removed:
            keys = len(added) - len(removed)
            self._segments.add(keys, sum_of_all(added) - sum_of_all(removed))
            added.clear()
            removed.clear()

    def _unplain(self, key: bytes, old: bytes, after: Entry) -> None:
        """What goes with an old entry that was not plain, or is damaged."""
        was = self._segments.take(key, old)
        change_rows(self._waiting, key, was, after, self._horizon)
        self._waiting.mark_conflict(key, conflict=in_conflict(after, self._horizon))

    def _exchange(self, key: bytes, entry: Entry) -> None:
        """One key's, whatever it is."""
        raw = encode_entry(entry, key) if entry else None
        old = self._cursor.pop(key) if raw is None else self._cursor.replace(key, raw)
        digest = key_digest(key, entry, self._horizon)
        was = self._segments.change(key, old, *digest, gone=raw is None)
        change_rows(self._waiting, key, was, entry, self._horizon)
        self._waiting.mark_conflict(key, conflict=in_conflict(entry, self._horizon))
        self.garbage += ((dot, key) for dot in garbage_dots(entry, self._horizon))
