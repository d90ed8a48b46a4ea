"""A log whose disk takes its time, or fails, when a test says so."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence

from kvnode.core.block import Block
from kvnode.storage.memory import MemoryLog

DEADLINE_S = 10.0


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


async def until(condition: Callable[[], bool]) -> None:
    """Let the loop run until ``condition`` holds; the log's thread works meanwhile."""
    async with asyncio.timeout(DEADLINE_S):
        while not condition():
            await asyncio.sleep(0.001)
