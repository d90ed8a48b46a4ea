"""Requests of a stream that come late, and what that says: time they have used up, or overload.

What lies in a stream's buffers, here, on its way and at its caller, waits in a queue that nobody
has bounded. The node sees it only by what it does to the requests: they are late. Late ones are
normal behind a stall (a commit that took long, a network that stood still), and then they are to be
done. But if they stay late, and the node is at work all the while, more is offered than it can
bear: those behind are better off with a refusal now than with an answer in seconds. That rule is
CoDel's (Nichols and Jacobson, Controlling Queue Delay, ACM Queue 2012): not how long the queue is
counts, but whether it ever empties. Only writes are refused: it is they who keep the node at work.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

LATE_S: Final = 0.25
"""Requests that are later stand in a queue."""

STANDING_S: Final = 0.5
"""A queue that has stood for so long does not go away by itself."""

SILENCE_S: Final = 1.0
"""Without a request for so long nobody knows whether a queue stands."""

BUSY_SHARE: Final = 0.5
"""Of the time that the node has been at work. If less, it is the network that is slow, and to
refuse what has come through it at last would help nobody."""


class Lateness:
    """How long messages of one stream were on their way, beyond the quickest of them.

    The clocks of caller and node have nothing in common but their pace, so nobody can say how long
    a message took; but how much longer than another.
    """

    def __init__(self) -> None:
        self._least_s = math.inf

    def of(self, sent_ms: int, now: float) -> float:
        """Seconds, of one that is read now; 0 for a caller that does not say when it sent it."""
        if not sent_ms:
            return 0.0
        apart_s = now - sent_ms / 1000
        self._least_s = min(self._least_s, apart_s)
        return apart_s - self._least_s


class Standing:
    """Whether the requests of one stream stand in a queue that the node does not work off."""

    def __init__(self, busy_s: Callable[[], float]) -> None:
        """``busy_s``: seconds for which the node has been at work, of all time."""
        self._busy_s = busy_s
        self._looked: tuple[float, float] | None = None
        """When, and how long the node had been at work by then; None: requests come in time."""
        self._stands = False

    def too_much(self, waited_s: float, now: float) -> bool:
        """Whether one that has waited for so long, and is read now, should be refused."""
        if waited_s < LATE_S:
            self._looked, self._stands = None, False
            return False
        if self._looked is None:
            self._looked = now, self._busy_s()
            return False
        at, busy_s = self._looked
        passed_s = now - at
        if passed_s >= STANDING_S:
            self._looked = now, self._busy_s()
            worked = self._looked[1] - busy_s >= BUSY_SHARE * passed_s
            self._stands = worked and passed_s < SILENCE_S
        return self._stands
