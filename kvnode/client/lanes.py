"""Which callers share one call: gathering without waiting.

A call of its own for every caller costs some 250 us of gRPC on each side, an operation inside a
shared one a tenth of that or less. Waiting for company would cost an idle caller time it need not
lose. So who finds nobody away goes at once, alone; who comes while others are away waits, and all
who wait go together in the next call. Under load the batches grow by themselves, as in the node's
group commit. A *lane* lets ``FLIGHTS_MAX`` calls be on their way to the node at once.

A second call beside the first is for a ``crowd``. On a loop, whose calls go on a stream, it costs
both sides as much as some 20 puts in columns: 1,000 puts a second, each by a task of its own, took
12 ms at the median where everybody left as soon as there was room, and 8.5 ms where fewer than
``CROWD`` waited for those away (three nodes and the client on two processors; the lag's p99 65 and
30 ms). Only where the first is away for long, because the node is far, others do not wait for it.
With threads any second call is worth its price, and ``crowd`` 1: one that has its answer asks again
when the next is away already, so two of them would take turns (880 puts a second, and 480).

Many who were answered together ask again together. All in one call, they and the node would work
in turns; so a crowd that finds nobody away goes in two halves, one behind the other, and from then
on each half is on its way while the other is here.

Callers in one lane want the same of a call (read or write, the same levels), so none is held up
by what another has asked for. A session whose node may have to wait for what it has seen has a lane
of its own.

Order: entries leave in the order in which they came, and an entry whose key is on its way already
waits until that flight has landed, with everything behind it. So writes of one key happen in the
order of the calls, also when a caller did not await the first, or gave up waiting for it. The
exception is a flight whose reply was lost: nobody can wait for that, so it stops counting
(``Flight.aside``).

Increments of one key that ask for the same type of counter (or none of them for one) do not wait
for each other, so many callers of one hot counter keep all flights on their way. Nobody can tell
in which order they happened: sums do not depend on it, nor does which counter they are added to or
which they create, and one that is sent again later, also at another node, adds the same. All else
of that key waits for them, and they for it: which increments a delete removes, and of which type
the counter is that an increment without a type finds, does depend on the order.

Bounds: a flight holds what one call may hold. What waits is bounded by its callers, each of which
is held until its own outcome is known or its deadline has passed.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from kvnode.client.steps import Steps
from kvnode.client.values import shown
from kvnode.errors import DeadlineExceeded, KvnodeError, NodeUnavailable, OutcomeUnknown

if TYPE_CHECKING:
    from kvnode.client.alike import Kind
    from kvnode.client.channels import Endpoint
    from kvnode.v1 import types_pb2

FLIGHTS_MAX: Final = 2
"""One is built and its answer taken apart here while the node works on the other."""

CROWD: Final = 32
"""So many waiting operations are worth another call beside the one that is away."""

HALVES_MIN: Final = FLIGHTS_MAX * CROWD
"""So many waiting entries, with none away, go in two flights."""

FAR_S: Final = 0.025
"""Who comes when the call before is away for so long need not wait for it."""

LANES_MAX: Final = 256
"""Beyond it those that nobody uses now are dropped: sessions come and go."""

OPERATIONS_MAX: Final = 10_000
BYTES_MAX: Final = 4 << 20
"""What a node takes in one call; these two are the protocol's."""


class Entry:
    """One caller's request, and what became of it.

    ``endpoint``: the node it was sent to, empty as long as it is certain that nothing was sent.
    It is settled once, with ``reply`` or ``error``; ``settled`` tells its caller. ``adds``: it is
    nothing but increments, and these of one type, 0 for none; None if there is something else.
    ``kind``, ``value``: of one that can go in columns, and has no request yet (``alike.py``).
    """

    __slots__ = (
        "abandoned",
        "adds",
        "after",
        "deadline",
        "endpoint",
        "error",
        "flight",
        "is_write",
        "keys",
        "kind",
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
        "value",
        "verb",
        "wake",
    )

    def __init__(
        self,
        lane: Hashable,
        keys: tuple[bytes, ...],
        size: int,
        verb: str,
        deadline: float,
        *,
        is_write: bool,
    ) -> None:
        self.lane = lane
        self.keys = keys
        self.operations = len(keys)
        self.size = size
        self.verb = verb
        self.deadline = deadline
        self.is_write = is_write
        # what only some have is set by who makes them: one call with all of it took twice as long
        self.request: Any = None
        self.request_id = b""
        """A write has one before it is sent."""
        self.kind: Kind | None = None
        self.value: Any = None
        self.otherwise = ""
        self.after: types_pb2.VersionVector | None = None
        self.adds: int | None = None
        self.endpoint = ""
        self.reply: Any = None
        self.error: KvnodeError | RuntimeError | None = None
        self.unknown: OutcomeUnknown | None = None
        self.problems: tuple[tuple[Endpoint, KvnodeError | None], ...] = ()
        self.abandoned = False
        self.settled = False
        self.flight: Flight | None = None
        """With threads: the one its caller is to lead."""
        self.wake: Callable[[], None] | None = None
        self.lock = threading.Lock()
        """Who settles it holds it meanwhile."""

    @property
    def what(self) -> str:
        """For messages: "put of key 'k'"."""
        if len(self.keys) == 1:
            return f"{self.verb} of key {shown(self.keys[0])}"
        return f"{self.verb} of {len(self.keys)} {'operations' if self.is_write else 'keys'}"

    def depart(self, address: str) -> bool:
        """It is about to be sent there; not if its caller has given up.

        First it is said where, then looked whether the caller is there: who gives up does it the
        other way round, so one of the two sees the other.
        """
        self.endpoint = address
        if self.abandoned or self.settled:
            self.endpoint = ""
            return False
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
        if address := self.endpoint:
            return self.unknown or self.unknown_at(address)
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


class Written:
    """Keys of some entries, to see whether the order of these and of another one matters."""

    __slots__ = ("_adds",)

    def __init__(self, entries: Iterable[Entry] = ()) -> None:
        self._adds: dict[bytes, int | None] = {}
        """Key -> what every one of them adds; None if that is not the same for all."""
        self.add(entries)

    def add(self, entries: Iterable[Entry]) -> None:
        """More of them."""
        known = self._adds
        for entry in entries:
            adds = entry.adds
            for key in entry.keys:
                if known.setdefault(key, adds) != adds:
                    known[key] = None

    def touches(self, entry: Entry) -> bool:
        """It has a key in common with one of them, and not all are alike increments of that."""
        known, adds = self._adds, entry.adds
        if known.keys().isdisjoint(entry.keys):
            return False
        return adds is None or any(known.get(key, adds) != adds for key in entry.keys)


@dataclass(slots=True, eq=False)
class Flight:
    """Entries that go in one call. ``aside``: it no longer counts for its lane."""

    entries: list[Entry]
    left_at: float = 0.0
    aside: bool = False
    _written: Written | None = None

    @property
    def written(self) -> Written:
        """What it touches must not be on its way as long as this is."""
        if self._written is None:  # who flies alone is never asked
            self._written = Written(self.entries)
        return self._written

    @property
    def deadline(self) -> float:
        """That of the most patient caller; the others look after their own."""
        return max([entry.deadline for entry in self.entries])

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
    """Entries that wait, and the flights they wait for. Its driver keeps threads apart.

    ``now``: monotonic seconds. ``crowd``: operations, see the module.
    """

    fly: Fly
    now: Callable[[], float]
    ordered: bool
    crowd: int = 1
    waiting: deque[Entry] = field(default_factory=deque)
    flights: list[Flight] = field(default_factory=list)
    due: bool = False
    """On a loop: ``begin`` is going to be called."""

    def begin(self) -> Flight | None:
        """The next flight, if there is room and somebody to go."""
        if not self.waiting or (self.flights and not self._may_follow()):
            return None
        taken: list[Entry] = []
        operations = size = 0
        waiting = self.waiting
        halves = not self.flights and len(waiting) >= HALVES_MIN
        left = len(waiting) // FLIGHTS_MAX if halves else 0
        away = [flight.written for flight in self.flights] if self.ordered else []
        while waiting and (not taken or len(waiting) > left):
            entry = waiting[0]
            operations += entry.operations
            size += entry.size
            if taken and (operations > OPERATIONS_MAX or size > BYTES_MAX):
                break
            held_back = False
            for written in away:
                held_back = held_back or written.touches(entry)
            if held_back:
                break
            waiting.popleft()
            if not entry.settled:
                taken.append(entry)
        if not taken:
            return None
        flight = Flight(taken, self.now())
        self.flights.append(flight)
        return flight

    def _may_follow(self) -> bool:
        """Another one may leave while there are some away."""
        if len(self.flights) >= FLIGHTS_MAX:
            return False
        if len(self.waiting) >= self.crowd:
            return True
        if sum([entry.operations for entry in self.waiting]) >= self.crowd:
            return True
        return self.now() >= self.flights[-1].left_at + FAR_S

    def land(self, flight: Flight) -> None:
        """Its answer is here, or is not to be waited for."""
        if not flight.aside:
            flight.aside = True
            self.flights.remove(flight)


def in_use(lanes: dict[Hashable, Lane]) -> dict[Hashable, Lane]:
    """Those in which somebody waits or is on the way."""
    return {key: lane for key, lane in lanes.items() if lane.waiting or lane.flights}


def overtaken(entries: Sequence[Entry], done: Sequence[bool]) -> set[Entry]:
    """Those that were not done while a later one was, or may have been, that had to come after:
    another node would carry them out behind it.
    """
    found: set[Entry] = set()
    later = Written()
    for entry, was_done in zip(reversed(entries), reversed(done), strict=True):
        if was_done:
            later.add([entry])
        elif later.touches(entry):
            found.add(entry)
    return found
