"""The loser journal of a node: values that last-writer-wins dropped, until they are too many.

A row is in memory until a checkpoint carries it to the state store; replaying the log behind the
last checkpoint finds the same losers again, in the same order and thus under the same numbers.
What a snapshot's merge finds is in no log: it is written with the merge itself (``adopt``).

Bounded in rows and bytes, the oldest go. Of rows in the store only number, key and size are in
memory. A row that fails its checksum is left out, and said: nothing else depends on it.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Iterable
from typing import NamedTuple

from kvnode.core.errors import StateError
from kvnode.core.losers import Loser
from kvnode.storage.interfaces import StateStore
from kvnode.storage.rows import decode_loser

logger = logging.getLogger(__name__)


class Known(NamedTuple):
    """What memory has of a stored row."""

    key: bytes
    size: int


class Journal:
    """All rows, by number; numbers only grow."""

    def __init__(self, state: StateStore, *, rows_max: int, bytes_max: int) -> None:
        self._state = state
        self._rows_max = rows_max
        self._bytes_max = bytes_max
        self._index: OrderedDict[int, Known] = OrderedDict()  # its first key is found at once
        self._fresh: dict[int, Loser] = {}
        """Not in the store yet."""
        self._next = 1
        self.bytes_held = 0
        for number, raw in state.rows("journal"):
            self._next = number + 1
            try:
                loser = decode_loser(raw)
            except StateError as error:
                logger.error("row %d of the loser journal is left out: %s", number, error)
                continue
            self._index[number] = Known(loser.key, loser.size)
            self.bytes_held += loser.size
        self._make_room()

    def __len__(self) -> int:
        return len(self._index)

    def add(self, losers: Iterable[Loser]) -> None:
        """Keep them, in order; the oldest rows make room."""
        for loser in losers:
            self._fresh[self._next] = loser
            self._index[self._next] = Known(loser.key, loser.size)
            self.bytes_held += loser.size
            self._next += 1
        self._make_room()

    @property
    def next_number(self) -> int:
        """Of the row that is added next."""
        return self._next

    def adopt(self, losers: Iterable[Loser]) -> None:
        """Keep what a merge has just written to the store, numbered from ``next_number`` on."""
        self.add(losers)
        self._fresh.clear()

    def page(
        self, prefix: bytes, before: int, rows_max: int, bytes_max: int
    ) -> tuple[list[tuple[int, Loser]], int]:
        """Rows numbered below ``before`` (0: all), newest first, and ``before`` of the next page.

        It ends with the row that reaches ``bytes_max``; 0 if nothing is left.
        """
        rows: list[tuple[int, Loser]] = []
        size = 0
        for number in reversed(self._index):
            if before and number >= before:
                continue
            if not self._index[number].key.startswith(prefix):
                continue
            if len(rows) >= rows_max or size >= bytes_max:
                return rows, rows[-1][0]
            loser = self.get(number)
            assert loser is not None, "a row of the index that is nowhere"
            rows.append((number, loser))
            size += loser.size
        return rows, 0

    def get(self, number: int) -> Loser | None:
        """The row of this number, None if there is none (any more)."""
        if number not in self._index:
            return None
        loser = self._fresh.get(number)
        if loser is None:
            raw = self._state.row("journal", number)
            loser = None if raw is None else decode_loser(raw)
        return loser

    def unsaved(self) -> list[tuple[int, Loser]]:
        """What the next checkpoint has to carry."""
        return list(self._fresh.items())

    @property
    def floor(self) -> int:
        """Rows below have gone: the next checkpoint removes them."""
        return next(iter(self._index), self._next)

    def saved(self, rows: Iterable[tuple[int, Loser]]) -> None:
        """A checkpoint carried these."""
        for number, _ in rows:
            self._fresh.pop(number, None)

    def _make_room(self) -> None:
        index = self._index
        while len(index) > 1 and (len(index) > self._rows_max or self.bytes_held > self._bytes_max):
            number = next(iter(index))
            self.bytes_held -= index.pop(number).size
            self._fresh.pop(number, None)
