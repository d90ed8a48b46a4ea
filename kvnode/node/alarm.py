"""A timer that is put off all the time and seldom rings.

``asyncio.timeout`` around every message makes a timer and cancels it; that is a tenth of what
pushing a small block costs. Here putting off is an assignment: the one timer looks, when it goes
off, how far it was put off, and sleeps again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class Alarm:
    """Rings whenever it was not put off for so long, until it is cancelled."""

    def __init__(self, after_s: float, ring: Callable[[], None]) -> None:
        self._after_s = after_s
        self._ring = ring
        self._loop = asyncio.get_running_loop()
        self._due = self._loop.time() + after_s
        self._timer = self._loop.call_at(self._due, self._look)

    def put_off(self) -> None:
        """Begin to count anew."""
        self._due = self._loop.time() + self._after_s

    def cancel(self) -> None:
        """Ring no more."""
        self._timer.cancel()

    def _look(self) -> None:
        if self._loop.time() >= self._due:
            self._ring()
            self.put_off()
        self._timer = self._loop.call_at(self._due, self._look)
