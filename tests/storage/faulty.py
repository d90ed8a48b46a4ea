"""Stores whose disk takes its time, fails or rots when a test says so."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterable, Sequence

from kvnode.core.block import Block
from kvnode.core.entry import Entry
from kvnode.core.errors import StateError
from kvnode.storage.interfaces import Checkpoint, Stored
from kvnode.storage.memory import MemoryLog, MemoryState

DEADLINE_S = 60.0


class GatedLog(MemoryLog):
    """Appends stop at two gates: before anything is on disk, and before they return."""

    def __init__(self) -> None:
        super().__init__()
        self.before = threading.Event()
        self.after = threading.Event()
        self.before.set()
        self.after.set()
        self.entered = threading.Event()
        """Set when an append has reached the first gate."""
        self.stored = threading.Event()
        """Set when an append has reached the second gate."""
        self.failure: BaseException | None = None

    def append(self, blocks: Sequence[Block]) -> None:
        self.entered.set()
        assert self.before.wait(DEADLINE_S)
        if self.failure:
            raise self.failure
        super().append(blocks)
        self.stored.set()
        assert self.after.wait(DEADLINE_S)


class SlowState(MemoryState):
    """A state store whose saves wait at a gate."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = GatedLog()

    def save(self, checkpoint: Checkpoint) -> None:
        self.gate.append([])
        super().save(checkpoint)


class RottenState(MemoryState):
    """A state store where some entries fail their checksum."""

    def __init__(self) -> None:
        super().__init__()
        self.rotten: set[bytes] = set()

    def get(self, key: bytes) -> Entry | None:
        if key in self.rotten:
            raise StateError(f"{key!r}: entry fails its checksum")
        return super().get(key)

    def get_many(self, keys: Iterable[bytes]) -> list[bytes | None]:
        keys = list(keys)
        rows = super().get_many(keys)
        return [
            b"rotten" if key in self.rotten else row for key, row in zip(keys, rows, strict=True)
        ]

    def stored(self, start: bytes, end: bytes, keys_max: int, bytes_max: int) -> Stored:
        found = super().stored(start, end, keys_max, bytes_max)
        rows = [(key, b"rotten" if key in self.rotten else row) for key, row in found.rows]
        return found._replace(rows=rows)


async def until(condition: Callable[[], bool]) -> None:
    """Let the loop run until ``condition`` holds; the log's thread works meanwhile."""
    async with asyncio.timeout(DEADLINE_S):
        while not condition():  # noqa: ASYNC110 - the other side is a thread
            await asyncio.sleep(0.001)
