"""The state as readers and the next round see it: what changed since the last checkpoint, over it.

``active`` takes every committed round. A checkpoint *freezes* it: the entries stay readable while
a thread writes them, and a new ``active`` goes on top. Entries are immutable, so nothing has to be
copied. When the checkpoint is on disk the frozen layer is dropped; if it failed, it is put back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from itertools import repeat

from sortedcontainers import SortedList

from kvnode.core.entry import NOTHING, Entry, Held, checked_entry, decode_entry, opened
from kvnode.core.errors import StateError
from kvnode.storage.interfaces import DamagedPages, StateStore

EXAMINED_MAX = 20_000
"""Entries looked at per page of a scan: deleted keys must not make one call long."""
CHUNK_KEYS_FIRST = 32
CHUNK_GROWTH = 4
CHUNK_KEYS = 512
"""Read from the store at once: few at first, for whoever asks for few, then more each time."""
CHUNK_BYTES = 2 << 20
"""Likewise, where values are large."""


class Memtable:
    """Entries in memory over a state store."""

    def __init__(self, store: StateStore) -> None:
        self.bytes_held = 0
        """About what the active layer holds (size of the blocks that made it)."""
        self._store = store
        self._active: dict[bytes, Held] = {}
        self._frozen: dict[bytes, Held] = {}
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
        held = self._active.get(key)
        if held is None:
            held = self._frozen.get(key)
            if held is None:
                return self._store.get(key) or NOTHING
        return opened(held)

    def read_many(self, keys: Iterable[bytes]) -> dict[bytes, Entry]:
        """The same of many keys; without those whose entries are damaged, and maybe others.

        For what is missing ask ``read``.
        """
        return {key: opened(held) for key, held in self._many(keys, decode_entry).items()}

    def held_many(self, keys: Iterable[bytes]) -> dict[bytes, Held]:
        """The same as they are held, for who will not open most of them."""
        return self._many(keys, checked_entry)

    def _many(
        self, keys: Iterable[bytes], checked: Callable[[bytes, bytes], Held]
    ) -> dict[bytes, Held]:
        """With one look into the store: half the time of one for each.

        Without those that are damaged, and maybe others: what is large is not held all at once.
        """
        active, frozen = self._active, self._frozen
        found: dict[bytes, Held] = {}
        stored: list[bytes] = []
        for key in keys:
            held = active.get(key)
            if held is None:
                held = frozen.get(key)
                if held is None:
                    stored.append(key)
                    continue
            found[key] = held
        if len(stored) < 2:
            return found  # a look for one key is quicker
        with suppress(DamagedPages):
            for key, raw in zip(stored, self._store.get_many(stored), strict=False):
                try:
                    found[key] = NOTHING if raw is None else checked(raw, key)
                except StateError:
                    continue
        return found

    def install(self, entries: Mapping[bytes, Held], size: int) -> None:
        """Take a committed round's entries; ``size`` in bytes, about."""
        if self._order is not None:
            active, frozen = self._active, self._frozen
            self._fresh += [key for key in entries if key not in active and key not in frozen]
        self._active.update(entries)
        self.bytes_held += size

    def freeze(self) -> Mapping[bytes, Held]:
        """Close the active layer for a checkpoint."""
        assert not self._frozen, "a checkpoint is running"
        self._frozen, self._active = self._active, {}
        self.bytes_held = 0
        return self._frozen

    def drop_frozen(self) -> dict[bytes, Held]:
        """The checkpoint is on disk; returns what is not needed any more."""
        frozen, self._frozen = self._frozen, {}
        self._order = None
        return frozen

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
        chunk_keys = CHUNK_KEYS_FIRST
        while cursor is not None:
            chunk_keys = min(chunk_keys, CHUNK_KEYS)
            stored, last = self._stored(cursor, end, chunk_keys, conflicts=conflicts)
            for key, raw in _merged(stored, self._in_memory(cursor, end, last)):
                examined += 1
                if examined > EXAMINED_MAX:
                    return taken
                entry = None if raw is None else _decoded(raw, key)
                if entry is None:
                    entry = self.read(key)
                if not accept(key, entry):
                    return taken
                taken = key
            cursor = None if last is None else last + b"\0"
            chunk_keys *= CHUNK_GROWTH
        return None

    def _stored(
        self, start: bytes, end: bytes, keys_max: int, *, conflicts: bool
    ) -> tuple[Iterable[tuple[bytes, bytes | None]], bytes | None]:
        """The store's next keys, with entries where that is quicker, and the last if more follow.

        Where a page behind the next keys is damaged they are still to be read, each by itself.
        """
        if not conflicts:
            with suppress(DamagedPages):
                found = self._store.stored(start, end, keys_max, CHUNK_BYTES)
                return found.rows, found.rows[-1][0] if found.more else None
        keys = self._store.keys(start, end, keys_max, conflicts=conflicts)
        return zip(keys, repeat(None)), keys[-1] if len(keys) == keys_max else None

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


def _merged(
    stored: Iterable[tuple[bytes, bytes | None]], in_memory: Iterator[bytes]
) -> Iterator[tuple[bytes, bytes | None]]:
    """Both in order, those in memory without the entry that the store has of them."""
    waiting = next(in_memory, None)
    for row in stored:
        key = row[0]
        while waiting is not None and waiting < key:
            yield waiting, None
            waiting = next(in_memory, None)
        if waiting == key:
            yield key, None
            waiting = next(in_memory, None)
        else:
            yield row
    if waiting is not None:
        yield waiting, None
        yield from zip(in_memory, repeat(None))


def _decoded(raw: bytes, key: bytes) -> Entry | None:
    try:
        return decode_entry(raw, key)
    except StateError:
        return None
