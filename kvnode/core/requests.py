"""The window of remembered request ids: what makes a retry harmless.

A request id is written into the block its operations are in, so it is as durable as they are and
reaches every replica with them. Each replica remembers the newest ``size_max`` it has applied;
older ones are forgotten, and a retry after that is a new request. Clients therefore give up on an
unanswered write within seconds.

Whose are forgotten first? Not simply the oldest: a node that catches up applies another one's
hundred thousand requests in seconds, and those accepted here a moment before the cut healed, whose
clients are asking again just now, would be gone. So the room is shared: who has most ids in the
window loses its oldest one. Each of n origins keeps its newest ``size_max / n``.

But an origin that writes no more would keep its share for ever, and with every identity that was
lost there would be less for those that live. So what is ``AGE_MAX`` windows old goes first.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

AGE_MAX = 20
"""In windows: so many requests later no client asks again, however fast they came."""


class Remembered(NamedTuple):
    """Where a request's operations went: dots (origin, first_seq) .. + size - 1."""

    number: int
    origin: int
    first_seq: int
    size: int


class RequestWindow:
    """Request id -> where it went, bounded; each origin's oldest is the first of it to go."""

    def __init__(self, size_max: int) -> None:
        assert size_max > 0
        self.size_max = size_max
        self._known: dict[bytes, Remembered] = {}
        """By number, ascending."""
        self._of: dict[int, deque[bytes]] = {}
        """Origin -> its request ids, oldest first; none is empty."""
        self._forgotten: list[int] = []
        self._next = 1
        self._too_old_at = 0
        """None is too old till ``_next`` is beyond."""

    def __len__(self) -> int:
        return len(self._known)

    def get(self, request_id: bytes) -> Remembered | None:
        """Where the request went, if remembered."""
        return self._known.get(request_id)

    def add(self, request_id: bytes, origin: int, first_seq: int, count: int) -> None:
        """Remember a request that was applied; the first one under an id counts."""
        if request_id not in self._known:
            self.restore(request_id, Remembered(self._next, origin, first_seq, count))

    def restore(self, request_id: bytes, remembered: Remembered) -> None:
        """Remember a request under the number a checkpoint kept it under; numbers ascend."""
        self._known[request_id] = remembered
        self._next = remembered.number + 1
        known = self._of.get(remembered.origin)
        if known is None:
            known = self._of[remembered.origin] = deque()
        known.append(request_id)
        if len(self._known) > self.size_max:
            self._forget_one()

    def _forget_one(self) -> None:
        ids = max(self._of.values(), key=len)
        if self._next > self._too_old_at:  # seldom: this runs for every request
            oldest = min(self._of.values(), key=self._oldest_of)
            self._too_old_at = self._oldest_of(oldest) + AGE_MAX * self.size_max
            ids = oldest if self._next > self._too_old_at else ids
        forgotten = self._known.pop(ids.popleft())
        self._forgotten.append(forgotten.number)
        if not ids:
            del self._of[forgotten.origin]

    def _oldest_of(self, ids: deque[bytes]) -> int:
        return self._known[ids[0]].number

    @property
    def next_number(self) -> int:
        """The number the next request gets."""
        return self._next

    @property
    def forgotten(self) -> Sequence[int]:
        """The numbers of the forgotten, for who keeps them on disk; see ``drop_forgotten``."""
        return tuple(self._forgotten)

    def drop_forgotten(self, count: int) -> None:
        """The first so many of ``forgotten`` are off the disk."""
        del self._forgotten[:count]

    def since(self, number: int) -> list[tuple[bytes, Remembered]]:
        """The requests with at least ``number``, oldest first."""
        newest = []
        for request_id in reversed(self._known):
            remembered = self._known[request_id]
            if remembered.number < number:
                break
            newest.append((request_id, remembered))
        newest.reverse()
        return newest
