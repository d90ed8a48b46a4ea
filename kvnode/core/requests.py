"""The window of remembered request ids: what makes a retry harmless.

A request id is written into the block its operations are in, so it is as durable as they are and
reaches every replica with them. Each replica remembers the newest ``size_max`` it has applied, in
the order it applied them; older ones are forgotten, and a retry after that is a new request.
Clients therefore give up on an unanswered write within seconds.
"""

from __future__ import annotations

from typing import NamedTuple


class Remembered(NamedTuple):
    """Where a request's operations went: dots (origin, first_seq) .. + size - 1."""

    number: int
    origin: int
    first_seq: int
    size: int


class RequestWindow:
    """Request id -> where it went, oldest first, bounded."""

    def __init__(self, size_max: int) -> None:
        assert size_max > 0
        self.size_max = size_max
        self._known: dict[bytes, Remembered] = {}
        self._next = 1

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
        """Remember a request under the number a checkpoint kept it under."""
        self._known[request_id] = remembered
        self._next = remembered.number + 1
        if len(self._known) > self.size_max:
            del self._known[next(iter(self._known))]

    @property
    def next_number(self) -> int:
        """The number the next request gets."""
        return self._next

    @property
    def floor(self) -> int:
        """The lowest number still remembered; what is below can be deleted."""
        return next(iter(self._known.values())).number if self._known else self._next

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
