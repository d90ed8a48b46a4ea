"""What replicas must show, told from the history alone.

The history keeps of every write who made it and which writes *its client had seen*. From the
writes a replica has received, a specification of five lines per type says what it must show; it
knows nothing of totals, baselines, dots in contexts, awaited removals or merge. What a client has
seen comes from what it read, not from what the accepting node happened to hold: a put with a
context must not remove that node's unread values.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from kvnode.core.accepted import Accepted
from kvnode.core.context import decode_token
from kvnode.core.dots import Covered, Dot, Vector, covers
from kvnode.core.errors import Reason, Refused
from kvnode.core.operations import Delete, Increment, Operation, Put
from kvnode.core.replica import Request, Round
from kvnode.core.types import COUNTERS, G_COUNTER, LWW_REGISTER, PN_COUNTER, SIBLINGS
from kvnode.core.types.slots import value as slots_value
from kvnode.core.types.slots import visible as slots_visible
from tests.core.memory_node import SECRET, TOKEN_BYTES_MAX, WALL_MS, MemoryNode

Stamp = tuple[int, int, int]
UNKNOWN_HLC = 2**63
"""Of a write that is being made: later than all that is there."""


class Event(NamedTuple):
    """A write that had an effect."""

    dot: Dot
    key: bytes
    kind: int
    payload: Any
    """Amount or value; None for a deletion."""
    observed: frozenset[Dot]
    """The writes it is meant to undo: those its client had seen."""
    stamp: Stamp
    past: Vector
    """What its writer had received."""
    run: Dot | None = None
    """Of an increment: the first of its writer's increments since a deletion the writer knew of.
    A deletion takes back what was seen of a run as a whole.
    """


# ---- the specifications: visible writes -> what is shown (None: nothing)


def undone(events: Sequence[Event]) -> set[Dot]:
    """The writes that some visible write has seen and undone."""
    return {dot for event in events for dot in event.observed}


def counter(events: Sequence[Event]) -> int | None:
    """The sum of the increments no visible deletion had seen."""
    gone = undone(events)
    left = [e.payload for e in events if e.payload is not None and e.dot not in gone]
    return sum(left) if left else None


def register(events: Sequence[Event]) -> bytes | None:
    """The value of the latest write, if that is none of a deletion."""
    latest = max(events, key=lambda event: event.stamp, default=None)
    value: bytes | None = latest.payload if latest else None
    return value


def values(events: Sequence[Event]) -> dict[Dot, bytes] | None:
    """The values that no visible write had seen and replaced."""
    gone = undone(events)
    return {e.dot: e.payload for e in events if e.payload and e.dot not in gone} or None


SPECS: dict[int, Callable[[Sequence[Event]], Any]] = {
    G_COUNTER: counter,
    PN_COUNTER: counter,
    LWW_REGISTER: register,
    SIBLINGS: values,
}


class Read(NamedTuple):
    """What a client got for a key at some moment: the token, and (for the spec) who answered."""

    key: bytes
    token: bytes
    vector: Vector


class Ask(NamedTuple):
    """One operation as a client means it."""

    key: bytes
    kind: int
    """0: a deletion of whatever the client saw."""
    payload: Any
    """Amount or value; None deletes."""
    context: Read | Literal["observed", "blind"] = "observed"

    @property
    def operation(self) -> Operation:
        """What it sends."""
        read = self.context if isinstance(self.context, Read) else None
        context = decode_token(self.key, read.token, SECRET, TOKEN_BYTES_MAX) if read else None
        if self.payload is None:
            return Delete(self.key, self.kind, context)
        if self.kind in COUNTERS:
            return Increment(self.key, self.payload, self.kind)
        return Put(self.key, self.payload, self.kind, context, blind=self.context == "blind")


def shown(node: MemoryNode, key: bytes) -> dict[int, Any]:
    """What the node really shows, in the form of the specifications."""
    found: dict[int, Any] = {}
    for kind, state in node.entry(key).items():
        if kind in COUNTERS:
            found[kind] = slots_value(state) if slots_visible(state) else None
        elif kind == LWW_REGISTER:
            found[kind] = state[3]
        else:
            found[kind] = {dot: value for dot, (_, value) in state[0].items()} or None
    return {kind: value for kind, value in found.items() if value is not None}


@dataclass
class History:
    """All writes of a run; clients write through it."""

    events: list[Event] = field(default_factory=list)

    def visible(self, vector: Vector, key: bytes, kind: int) -> list[Event]:
        """The writes to a value that a replica with ``vector`` has."""
        return [
            event
            for event in self.events
            if (event.key, event.kind) == (key, kind) and event.dot in Covered(vector)
        ]

    def expected(self, vector: Vector, key: bytes) -> dict[int, Any]:
        """What a replica with ``vector`` has to show."""
        values_ = {kind: spec(self.visible(vector, key, kind)) for kind, spec in SPECS.items()}
        return {kind: value for kind, value in values_.items() if value is not None}

    def read(self, node: MemoryNode, key: bytes) -> Read:
        """A client's read, checked."""
        self.check(node)
        return Read(key, node.token(key), dict(node.vector))

    def submit(
        self,
        node: MemoryNode,
        requests: Sequence[Sequence[Ask]],
        *,
        ids: Sequence[bytes] | None = None,
        wall_ms: int = WALL_MS,
        commit: Callable[[Sequence[Request]], Round] | None = None,
    ) -> list[Accepted | Refused]:
        """One round of client requests; every answer is checked against the history.

        ``commit`` does the round, if not ``node.commit``; if it raises, nothing has happened.
        """
        before = dict(node.vector)
        vector, start = dict(before), len(self.events)
        predicted: list[bool] = []
        for asks in requests:
            mark, seq = len(self.events), vector.get(node.origin, 0)
            try:
                for ask in asks:
                    dot = (node.origin, vector.get(node.origin, 0) + 1)
                    event = self._predict(ask, dot, vector, before)
                    vector[node.origin] = dot[1]
                    if event:
                        self.events.append(event)
                predicted.append(True)
            except Refused:
                del self.events[mark:]
                vector[node.origin] = seq
                predicted.append(False)
        ids = ids or [b""] * len(requests)
        sent = [
            Request([ask.operation for ask in asks], id_)
            for asks, id_ in zip(requests, ids, strict=True)
        ]
        try:
            round_ = commit(sent) if commit else node.commit(sent, wall_ms=wall_ms)
        except BaseException:
            del self.events[start:]
            raise
        assert [isinstance(outcome, Accepted) for outcome in round_.outcomes] == predicted
        self._stamp(start, round_, requests, before)
        return round_.outcomes

    def check(self, node: MemoryNode) -> None:
        """What the node shows is what the history says, and no effect is without its cause."""
        node.replica.check_invariants()
        assert not node.replica.durable.forks
        for key in {event.key for event in self.events}:
            assert shown(node, key) == self.expected(node.vector, key), (key, node.vector)
        for event in self.events:
            if event.dot in Covered(node.vector):
                assert covers(node.vector, event.past), f"{event.dot} is there before its cause"

    def _predict(self, ask: Ask, dot: Dot, vector: Vector, past: Vector) -> Event | None:
        """What the operation means, None if nothing; Refused(TYPE_CONFLICT)."""
        read = ask.context if isinstance(ask.context, Read) else None
        seen_at = read.vector if read else vector
        here = list(self.expected(vector, ask.key))
        kind = ask.kind
        if ask.payload is None:
            seen = [kind] if kind else list(self.expected(seen_at, ask.key))
            if len(seen) > 1:
                raise Refused(Reason.TYPE_CONFLICT, "")
            if not seen or seen[0] not in self.expected(seen_at, ask.key):
                return None
            kind = seen[0]
        elif here and kind not in here:
            raise Refused(Reason.TYPE_CONFLICT, "")
        events = self.visible(seen_at, ask.key, kind)
        observed: set[Dot] = set()
        if kind == LWW_REGISTER:
            if ask.payload is None:
                latest = max(self.visible(vector, ask.key, kind), key=_stamp, default=None)
                if latest and latest.stamp > max(map(_stamp, events)):
                    return None  # a newer value, which the client has not seen, stays
        elif kind == SIBLINGS:
            if ask.context != "blind":
                observed = set(values(events) or ())
                if ask.payload is None and observed <= undone(self.visible(vector, ask.key, kind)):
                    return None
        elif ask.payload is None:
            gone = undone(events)
            shown_runs = {e.run for e in events if e.payload is not None and e.dot not in gone}
            observed = {event.dot for event in events if event.run in shown_runs}
        run = self._run(ask, dot, vector) if kind in COUNTERS and ask.payload else None
        stamp = (UNKNOWN_HLC, *dot)
        return Event(dot, ask.key, kind, ask.payload, frozenset(observed), stamp, past, run)

    def _run(self, ask: Ask, dot: Dot, vector: Vector) -> Dot:
        events = self.visible(vector, ask.key, ask.kind)
        own = [event for event in events if event.run and event.dot[0] == dot[0]]
        last = own[-1].run if own else None
        touched = any(event.run == last and event.dot in undone(events) for event in own)
        return dot if last is None or touched else last

    def _stamp(
        self, start: int, round_: Round, requests: Sequence[Sequence[Ask]], before: Vector
    ) -> None:
        """Put the real ticks in: later than everything their writer and its client had seen."""
        ticks: dict[Dot, int] = {}
        reads: dict[Dot, Vector] = {}
        for outcome, asks in zip(round_.outcomes, requests, strict=True):
            if isinstance(outcome, Accepted):
                for i, ask in enumerate(asks):
                    dot = (outcome.origin, outcome.first_seq + i)
                    ticks[dot] = outcome.hlc + i
                    reads[dot] = ask.context.vector if isinstance(ask.context, Read) else {}
        for i, event in enumerate(self.events[start:], start):
            stamp = (ticks[event.dot], *event.dot)
            self.events[i] = event._replace(stamp=stamp)
            if event.kind != LWW_REGISTER:
                continue
            for vector in (before, reads[event.dot]):
                for other in self.visible(vector, event.key, LWW_REGISTER):
                    assert other.stamp < stamp, "a write is not later than what it has seen"


def _stamp(event: Event) -> Stamp:
    return event.stamp
