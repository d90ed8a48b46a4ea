"""Work that is spread over a time, so that others have the processor and the disk meanwhile."""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Event
from typing import Final

QUANTUM_S: Final = 0.004
"""A pause that would be shorter is left for later: each costs two changes of process."""


class Pace:
    """Holds up who works, as long as more is done than the time that has passed allows."""

    def __init__(
        self, seconds: float, hurry: Event, now: Callable[[], float] = time.monotonic
    ) -> None:
        """All of it is to take so long, from now; ``hurry``: no longer than it has to."""
        self._seconds = seconds
        self._hurry = hurry
        self._now = now
        self._began = now()

    def __call__(self, share: float) -> None:
        """So much of it is done, of 1."""
        ahead_s = self._began + self._seconds * share - self._now()
        if ahead_s >= QUANTUM_S:
            self._hurry.wait(ahead_s)
