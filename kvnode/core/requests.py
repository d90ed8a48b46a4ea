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

What is remembered of a request is kept packed: that is half the memory of a tuple of numbers, and
is made in less time. But it stays for long where it was made, between what the requests of its
time were made into, and of that most is let go soon. Python gives memory back to the machine by
the MiB, so a few thousand requests keep a hundred of those from going. A copy, made when that
other memory is free, lies together: ``copying``.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from struct import Struct
from typing import NamedTuple

AGE_MAX = 20
"""In windows: so many requests later no client asks again, however fast they came."""

ID_BYTES = 16
FILLING = 300_000
"""Objects of a request's size that are made before its copy and let go after it. They take what is
left free in pieces that are in use; else copies would keep those. After a load of 2 M keys there
was room for 230,000. A small window is on few pieces anyway: 100 for each request do."""


class Remembered(NamedTuple):
    """Where a request's operations went: dots (origin, first_seq) .. + size - 1."""

    number: int
    origin: int
    first_seq: int
    size: int


Row = tuple[int, int, int, int]
"""The fields of ``Remembered``, for who takes many of them at once."""
_PACKED = Struct("<QQQI")
"""The fields of ``Remembered``."""
_pack, _unpack = _PACKED.pack, _PACKED.unpack


class RequestWindow:
    """Request id -> where it went, bounded; each origin's oldest is the first of it to go."""

    def __init__(self, size_max: int) -> None:
        assert size_max > 0
        self.size_max = size_max
        self._known: dict[bytes, bytes] = {}
        """Request id -> what is ``Remembered``, packed; by number, ascending."""
        self._of: dict[int, deque[bytes]] = {}
        """Origin -> its request ids, oldest first; none is empty."""
        self._unsaved: list[tuple[bytes, Row]] = []
        self._forgotten: list[int] = []
        self._next = 1
        self._too_old_at = 0
        """None is too old till ``_next`` is beyond."""

    def __len__(self) -> int:
        return len(self._known)

    def get(self, request_id: bytes) -> Remembered | None:
        """Where the request went, if remembered."""
        packed = self._known.get(request_id)
        return None if packed is None else Remembered(*_unpack(packed))

    def knows_none(self, request_ids: Iterable[bytes]) -> bool:
        """Whether all of them are new."""
        return self._known.keys().isdisjoint(request_ids)

    def add(self, request_id: bytes, origin: int, first_seq: int, count: int) -> None:
        """Remember a request that was applied; the first one under an id counts."""
        if request_id not in self._known:
            number = self._next
            self._unsaved.append((request_id, (number, origin, first_seq, count)))
            self._keep(request_id, number, origin, first_seq, count)
            if len(self._unsaved) > 2 * self.size_max:  # nothing is saved, for want of room say
                self._unsaved = [one for one in self._unsaved if one[0] in self._known]

    def restore(self, request_id: bytes, remembered: Remembered) -> None:
        """Remember a request under the number a checkpoint kept it under; numbers ascend."""
        self._keep(request_id, *remembered)

    def _keep(self, request_id: bytes, number: int, origin: int, first_seq: int, size: int) -> None:
        self._known[request_id] = _pack(number, origin, first_seq, size)
        self._next = number + 1
        known = self._of.get(origin)
        if known is None:
            known = self._of[origin] = deque()
        known.append(request_id)
        if len(self._known) > self.size_max:
            self._forget_one()

    def _forget_one(self) -> None:
        ids = max(self._of.values(), key=len)
        if self._next > self._too_old_at:  # seldom: this runs for every request
            oldest = min(self._of.values(), key=self._oldest_of)
            self._too_old_at = self._oldest_of(oldest) + AGE_MAX * self.size_max
            ids = oldest if self._next > self._too_old_at else ids
        number, origin, _, _ = _unpack(self._known.pop(ids.popleft()))
        self._forgotten.append(number)
        if not ids:
            del self._of[origin]

    def _oldest_of(self, ids: deque[bytes]) -> int:
        number: int = _unpack(self._known[ids[0]])[0]
        return number

    @property
    def unsaved(self) -> list[tuple[bytes, Row]]:
        """Those that were added, oldest first, for who keeps them on disk; see ``drop_unsaved``.

        Some may be forgotten by now: put those on disk before ``forgotten`` is taken off it. To
        look for the new ones among all took a tenth of a second for a checkpoint of single puts.
        """
        return self._unsaved.copy()

    def drop_unsaved(self, saved: Sequence[tuple[bytes, Row]]) -> None:
        """These, which ``unsaved`` told, are on the disk."""
        if saved:
            last = saved[-1][1][0]
            del self._unsaved[: bisect_right(self._unsaved, last, key=lambda one: one[1][0])]

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

    def all(self) -> list[tuple[bytes, Remembered]]:
        """All requests, oldest first."""
        return [(known, Remembered(*_unpack(packed))) for known, packed in self._known.items()]

    def copying(self) -> Callable[[], RequestWindow]:
        """What makes a copy of what is remembered now, of new objects, and may do so in a thread:
        to make a hundred thousand takes too long for who answers others.
        """
        known, origins = self._known.copy(), list(self._of)

        def copy() -> RequestWindow:
            filling = [bytes(ID_BYTES) for _ in range(min(FILLING, 100 * len(known)))]
            made = RequestWindow(self.size_max)
            made._of = {origin: deque() for origin in origins}  # in this order they lose their ids
            for request_id, packed in known.items():
                made._keep(bytes(memoryview(request_id)), *_unpack(packed))
            del filling
            return made

        return copy

    def lie_in(self, copy: RequestWindow) -> None:
        """Let go of the own objects for those of the copy, unless something came since."""
        if copy._next == self._next:
            self._known, copy._known = copy._known, self._known
            self._of, copy._of = copy._of, self._of

    def clear(self) -> None:
        """Let go of all, a request at a time: in a thread, others come in between."""
        for ids in self._of.values():
            ids.clear()
        while self._known:
            self._known.popitem()
