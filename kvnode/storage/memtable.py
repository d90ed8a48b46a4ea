"""The state as readers and the next round see it: what changed since the last checkpoint, over it.

``active`` takes every committed round. A checkpoint *freezes* it: the entries stay readable while
a thread writes them, and a new ``active`` goes on top. Entries are immutable, so nothing has to be
copied. When the checkpoint is on disk the frozen layer is dropped; if it failed, it is put back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from heapq import merge

from sortedcontainers import SortedList

from kvnode.core.entry import NOTHING, Entry
from kvnode.storage.interfaces import StateStore

EXAMINED_MAX = 20_000
"""Entries looked at per page of a scan: deleted keys must not make one call long."""
CHUNK_KEYS = 512


class Memtable:
    """Entries in memory over a state store."""

    def __init__(self, store: StateStore) -> None:
        self.bytes_held = 0
        """About what the active layer holds (size of the blocks that made it)."""
        self._store = store
        self._active: dict[bytes, Entry] = {}
        self._frozen: dict[bytes, Entry] = {}
        self._order: SortedList[bytes] | None = None
        """All keys in memory, for scans; None until the next scan makes it anew."""
        self._fresh: list[bytes] = []
        """Keys that came since ``_order`` was last brought up to date."""

    def __len__(self) -> int:
        return len(self._active) + len(self._frozen)

    @property
    def active_keys(self) -> int:
        """Keys changed since the last freeze."""
        return len(self._active)

    def read(self, key: bytes) -> Entry:
        """The key's entry as of the last committed round."""
        entry = self._active.get(key)
        if entry is None:
            entry = self._frozen.get(key)
            if entry is None:
                entry = self._store.get(key) or NOTHING
        return entry

    def install(self, entries: Mapping[bytes, Entry], size: int) -> None:
        """Take a committed round's entries; ``size`` in bytes, about."""
        if self._order is not None:
            active, frozen = self._active, self._frozen
            self._fresh += [key for key in entries if key not in active and key not in frozen]
        self._active.update(entries)
        self.bytes_held += size

    def freeze(self) -> Mapping[bytes, Entry]:
        """Close the active layer for a checkpoint."""
        assert not self._frozen, "a checkpoint is running"
        self._frozen, self._active = self._active, {}
        self.bytes_held = 0
        return self._frozen

    def drop_frozen(self) -> None:
        """The checkpoint is on disk."""
        self._frozen = {}
        self._order = None

    def restore_frozen(self, size: int) -> None:
        """The checkpoint failed: what it should have written waits for the next one."""
        self._frozen.update(self._active)
        self._active, self._frozen = self._frozen, {}
        self.bytes_held += size

    def scan(
        self,
        start: bytes,
        end: bytes,
        accept: Callable[[bytes, Entry], bool],
        *,
        conflicts: bool = False,
    ) -> bytes | None:
        """Offer entries from ``start`` (inclusive) to ``end`` (exclusive; empty: none) in order.

        Stops when ``accept`` returns False (that entry was not taken) or enough was looked at;
        returns the last key that was taken, to go on behind, or None at the end. With
        ``conflicts`` the store's part is only the keys it has marked, while those in memory are
        all offered.
        """
        examined = 0
        taken = start
        cursor: bytes | None = start
        while cursor is not None:
            stored = self._store.keys(cursor, end, CHUNK_KEYS, conflicts=conflicts)
            last = stored[-1] if len(stored) == CHUNK_KEYS else None
            before = None
            for key in merge(stored, self._in_memory(cursor, end, last)):
                if key == before:
                    continue  # in both
                before = key
                examined += 1
                if examined > EXAMINED_MAX or not accept(key, self.read(key)):
                    return taken
                taken = key
            cursor = None if last is None else last + b"\0"
        return None

    def _in_memory(self, start: bytes, end: bytes, last: bytes | None) -> Iterator[bytes]:
        """Keys in memory from ``start`` to ``last`` (inclusive) or else ``end`` (exclusive)."""
        if self._order is None:
            self._order = SortedList(self._active.keys() | self._frozen.keys())
        elif self._fresh:
            self._order.update(self._fresh)
        self._fresh.clear()
        keys: Iterator[bytes] = (
            self._order.irange(start, end or None, inclusive=(True, False))
            if last is None
            else self._order.irange(start, last)
        )
        return keys
