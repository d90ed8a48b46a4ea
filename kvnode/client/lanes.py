"""Which callers share one call: gathering without waiting.

A call of its own for every caller costs some 250 us of gRPC on each side, an operation inside a
shared one a tenth of that. Waiting for company would cost an idle caller time it need not lose.
So nobody waits for company, only for room: a *lane* lets ``FLIGHTS_MAX`` calls be on their way to
the node at once. Whoever finds room goes at once, alone; who comes while all are away waits, and
all who wait go together in the next. Under load the batches grow by themselves, as in the node's
group commit.

Many who were answered together ask again together. All in one call, they and the node would work
in turns; so a crowd that finds nobody away goes in two halves, one behind the other, and from then
on each half is on its way while the other is here.

Callers in one lane want the same of a call (read or write, the same levels), so none is held up
by what another has asked for. A session whose node may have to wait for what it has seen has a lane
of its own.

Order: entries leave in the order in which they came, and an entry whose key is on its way already
waits until that flight has landed, with everything behind it. So writes of one key happen in the
order of the calls, also when a caller did not await the first. The exception is a flight whose
reply was lost: nobody can wait for that, so it stops counting (``Flight.aside``).

Bounds: a flight holds what one call may hold. What waits is bounded by its callers, each of which
is held until its own outcome is known or its deadline has passed.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from kvnode.client.steps import Steps
from kvnode.client.values import shown
from kvnode.errors import DeadlineExceeded, KvnodeError, NodeUnavailable, OutcomeUnknown

if TYPE_CHECKING:
    from kvnode.client.channels import Endpoint
    from kvnode.v1 import types_pb2

FLIGHTS_MAX: Final = 2
"""One is built and its answer taken apart here while the node works on the other."""

HALVES_MIN: Final = 32
"""So many waiting entries, with none away, go in two flights. Smaller ones cost more in calls than
is won (``python -m bench.client_calls``)."""

LANES_MAX: Final = 256
"""Beyond it those that nobody uses now are dropped: sessions come and go."""

OPERATIONS_MAX: Final = 10_000
BYTES_MAX: Final = 4 << 20
"""What a node takes in one call; these two are the protocol's."""


class Entry:
    """One caller's request, and what became of it.

    ``endpoint``: the node it was sent to, empty as long as it is certain that nothing was sent.
    It is settled once, with ``reply`` or ``error``; ``settled`` tells its caller.
    """

    __slots__ = (
        "abandoned",
        "after",
        "deadline",
        "endpoint",
        "error",
        "flight",
        "is_write",
        "keys",
        "lane",
        "lock",
        "operations",
        "otherwise",
        "problems",
        "reply",
        "request",
        "request_id",
        "settled",
        "size",
        "unknown",
        "verb",
        "wake",
    )

    def __init__(
        self,
        *,
        lane: Hashable,
        request: Any,
        keys: tuple[bytes, ...],
        size: int,
        verb: str,
        deadline: float,
        is_write: bool,
        request_id: bytes = b"",
        otherwise: str = "",
        after: types_pb2.VersionVector | None = None,
    ) -> None:
        self.lane = lane
        self.request = request
        self.keys = keys
        self.operations = len(keys)
        self.size = size
        self.verb = verb
        self.deadline = deadline
        self.is_write = is_write
        self.request_id = request_id
        self.otherwise = otherwise
        self.after = after
        self.endpoint = ""
        self.reply: Any = None
        self.error: KvnodeError | RuntimeError | None = None
        self.unknown: OutcomeUnknown | None = None
        self.problems: list[tuple[Endpoint, KvnodeError | None]] = []
        self.abandoned = False
        self.settled = False
        self.flight: Flight | None = None
        """With threads: the one its caller is to lead."""
        self.wake: Callable[[], None] | None = None
        self.lock = threading.Lock()

    @property
    def what(self) -> str:
        """For messages: "put of key 'k'"."""
        if len(self.keys) == 1:
            return f"{self.verb} of key {shown(self.keys[0])}"
        return f"{self.verb} of {len(self.keys)} {'operations' if self.is_write else 'keys'}"

    def depart(self, address: str) -> bool:
        """It is about to be sent there; not if its caller has given up."""
        with self.lock:
            if self.abandoned or self.settled:
                return False
            self.endpoint = address
            return True

    def stay(self) -> None:
        """It is certain again that nothing was done."""
        self.endpoint = ""

    def settle(self, reply: Any) -> None:
        """It was answered."""
        with self.lock:
            if self.settled:
                return
            self.reply = reply
            self.settled = True
        if self.wake is not None:
            self.wake()

    def fail(self, error: KvnodeError | RuntimeError) -> None:
        """It was refused, or nobody knows."""
        with self.lock:
            if self.settled:
                return
            self.error = error
            self.settled = True
        if self.wake is not None:
            self.wake()

    def give_up(self) -> None:
        """Its time is over, or nobody works on it any more: settled with what is certain."""
        self.abandoned = True
        self.fail(self.overdue())

    def overdue(self) -> KvnodeError:
        """What is known of an entry without an answer."""
        if not self.is_write:
            return DeadlineExceeded(f"{self.what} was not answered in time")
        if self.endpoint:
            return self.unknown or self.unknown_at(self.endpoint)
        return NodeUnavailable(f"{self.what} could not be sent in time; nothing was done")

    def unknown_at(self, address: str) -> OutcomeUnknown:
        """It was sent there, and no reply came."""
        return OutcomeUnknown(
            f"no reply from {address} to {self.what}: it may have happened or not;"
            f" ask {address} again with the same request_id{self.otherwise}",
            request_id=self.request_id,
            endpoint=address,
            write=self.what,
        )


@dataclass(slots=True, eq=False)
class Flight:
    """Entries that go in one call. ``aside``: it no longer counts for its lane."""

    entries: list[Entry]
    keys: frozenset[bytes] = frozenset()
    aside: bool = False

    @property
    def deadline(self) -> float:
        """That of the most patient caller; the others look after their own."""
        return max(entry.deadline for entry in self.entries)

    def strand(self, error: BaseException) -> None:
        """The flight ended early: settle what it left open."""
        for entry in self.entries:
            if entry.settled:
                continue
            if isinstance(error, RuntimeError) and not (entry.is_write and entry.endpoint):
                entry.fail(error)
            else:
                entry.give_up()


Fly = Callable[[Flight], Steps[None]]


@dataclass(slots=True)
class Lane:
    """Entries that wait, and the flights they wait for. Its driver keeps threads apart."""

    fly: Fly
    ordered: bool
    waiting: deque[Entry] = field(default_factory=deque)
    flights: list[Flight] = field(default_factory=list)

    def begin(self) -> Flight | None:
        """The next flight, if there is room and somebody to go."""
        if not self.waiting or len(self.flights) >= FLIGHTS_MAX:
            return None
        taken: list[Entry] = []
        operations = size = 0
        waiting = self.waiting
        halves = not self.flights and len(waiting) >= HALVES_MIN
        left = len(waiting) // FLIGHTS_MAX if halves else 0
        while waiting and (not taken or len(waiting) > left):
            entry = waiting[0]
            operations += entry.operations
            size += entry.size
            if taken and (operations > OPERATIONS_MAX or size > BYTES_MAX):
                break
            if self.ordered and self._away(entry):
                break
            waiting.popleft()
            if not entry.settled:
                taken.append(entry)
        if not taken:
            return None
        keys = frozenset(key for entry in taken for key in entry.keys) if self.ordered else ()
        flight = Flight(taken, frozenset(keys))
        self.flights.append(flight)
        return flight

    def land(self, flight: Flight) -> None:
        """Its answer is here, or is not to be waited for."""
        if not flight.aside:
            flight.aside = True
            self.flights.remove(flight)

    def _away(self, entry: Entry) -> bool:
        return any(key in flight.keys for flight in self.flights for key in entry.keys)


def in_use(lanes: dict[Hashable, Lane]) -> dict[Hashable, Lane]:
    """Those in which somebody waits or is on the way."""
    return {key: lane for key, lane in lanes.items() if lane.waiting or lane.flights}


def overtaken(entries: Sequence[Entry], done: Sequence[bool]) -> set[Entry]:
    """Those that were not done while a later one of the same key was, or may have been: another
    node would carry them out after it.
    """
    found: set[Entry] = set()
    keys: set[bytes] = set()
    for entry, was_done in zip(reversed(entries), reversed(done), strict=True):
        if was_done:
            keys.update(entry.keys)
        elif not keys.isdisjoint(entry.keys):
            found.add(entry)
    return found
