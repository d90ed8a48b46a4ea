"""The laws every data type keeps, as one suite that takes a type and tries to break it.

A type's states form a join semilattice only together with what their holder has received, because
types may delete without tombstones. So an *element* is ``(state, set of received dots)`` and its
join is ``(merge, union)``. Elements are made the way replicas make them: a few replicas write,
with contexts that a client read at any of them earlier, and merge each other's states. A write
goes out as a delta; the laws compare delta mode with state mode.

In *collecting* runs a replica now and then lets go what is causally stable (as an oracle that knows
all writes tells), of deletes and of what has expired by its own clock. These are compared by live
forms, because others, and the deltas, have not: as of the latest time that any of them has taken.
Where types can give a value a deadline they do, now and then.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import msgpack
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from kvnode.core.dots import Dot, Vector
from kvnode.core.entry import decode_entry, encode_entry
from kvnode.core.types import (
    G_COUNTER,
    LWW_REGISTER,
    PN_COUNTER,
    SIBLINGS,
    DataType,
    State,
    gcounter,
    lww,
    pncounter,
    siblings,
)

KEY = b"k"
REPLICAS = 3
TIMES = 6
"""Deadlines and clocks are from 1 to this."""


class Element(NamedTuple):
    """A point of the lattice."""

    state: State
    seen: frozenset[Dot]


class Written(NamedTuple):
    """One write: its delta as an element of its own, and the writer before and after it."""

    delta: Element
    before: Element
    after: Element


@dataclass
class Run:
    """What happened, and in which order else its deltas could have arrived (with repeats)."""

    writes: list[Written] = field(default_factory=list)
    replicas: list[Element] = field(default_factory=list)
    snapshots: list[Element] = field(default_factory=list)
    deliveries: list[int] = field(default_factory=list)
    triple: tuple[int, int, int] = (0, 0, 0)
    collecting: bool = False
    past: int = 0
    """Whatever was collected because it had expired had a deadline till then."""


DEADLINES = st.sampled_from([0, 0, *range(1, TIMES + 1)])
"""0: none."""
Draw = Callable[[st.SearchStrategy[Any]], Any]
Mutate = Callable[[Draw, Element, State, Dot], list[Any] | None]
"""(draw, writer, state that its client read, dot of the write) -> operation."""


def _change_gcounter(draw: Draw, here: Element, read: State, dot: Dot) -> list[Any] | None:
    if draw(st.integers(0, 2)):
        return gcounter.increment(here.state, KEY, draw(st.integers(1, 9)), *dot)
    seen = {slot: totals[:2] for slot, totals in read.items()}
    return gcounter.remove(here.state, KEY, draw(st.sampled_from([None, seen])))


def _change_pncounter(draw: Draw, here: Element, read: State, dot: Dot) -> list[Any] | None:
    if draw(st.integers(0, 2)):
        amount = draw(st.integers(-9, 9).filter(bool))
        return pncounter.increment(here.state, KEY, amount, *dot)
    seen = {slot: totals[:2] for slot, totals in read.items()}
    return pncounter.remove(here.state, KEY, draw(st.sampled_from([None, seen])))


def _change_register(draw: Draw, here: Element, read: State, dot: Dot) -> list[Any] | None:
    if draw(st.booleans()):
        return lww.assign(KEY, b"%d:%d" % dot, draw(DEADLINES))
    return lww.remove(here.state, KEY, draw(st.sampled_from([None, read[:3]])))


def _change_siblings(draw: Draw, here: Element, read: State, dot: Dot) -> list[Any] | None:
    value = draw(st.sampled_from([b"%d:%d" % dot, None]))
    mode = draw(st.sampled_from(["explicit", "observed", "blind"]))
    replaced: list[Dot] = []
    if mode == "explicit":
        replaced = siblings.replaced(here.state, sorted(read[0]), here.seen)
    elif mode == "observed":
        replaced = list(here.state[0])
    deadline = draw(DEADLINES) if value else 0
    return siblings.write(KEY, value, replaced, deadline) if value or replaced else None


MUTATE: dict[int, Mutate] = {
    G_COUNTER: _change_gcounter,
    PN_COUNTER: _change_pncounter,
    LWW_REGISTER: _change_register,
    SIBLINGS: _change_siblings,
}
"""How a client changes each type; a registered type without an entry fails the suite."""


def join(kind: DataType, a: Element, b: Element) -> Element:
    """Least upper bound."""
    return Element(kind.merge(a.state, b.state, a.seen, b.seen), a.seen | b.seen)


def canonical(kind: DataType, state: State) -> bytes:
    """The bytes that digests and comparisons between replicas see."""
    packed: bytes = msgpack.packb(kind.encode(state))
    return packed


@st.composite
def runs(draw: Draw, kind: DataType, mutate: Mutate, *, collecting: bool = False) -> Run:
    """A short life of a few replicas."""
    bottom = Element(kind.EMPTY, frozenset())
    replicas = [bottom] * REPLICAS
    run = Run(snapshots=[bottom], collecting=collecting)
    ticks: dict[Dot, int] = {}
    for _ in range(draw(st.integers(6 if collecting else 0, 12))):
        here = draw(st.integers(0, REPLICAS - 1))
        if collecting and draw(st.integers(0, 4)) == 0:
            if draw(st.integers(0, 3)):  # all exchange what they have, or little would be stable
                for other in replicas:
                    replicas = [join(kind, replica, other) for replica in replicas]
            past = draw(st.integers(0, TIMES))  # no clock is right, and any may step back
            run.past = max(run.past, past)
            collected = kind.collect(replicas[here].state, _stable(run, replicas, here), past)
            replicas[here] = replicas[here]._replace(state=collected)
        elif draw(st.integers(0, 2)) == 0:
            there = draw(st.integers(0, REPLICAS - 1))
            replicas[here] = join(kind, replicas[here], replicas[there])
        else:
            writer = replicas[here]
            origin = here + 1
            dot = (origin, 1 + sum(seen[0] == origin for seen in writer.seen))
            read = draw(st.sampled_from(run.snapshots))
            op = mutate(draw, writer, read.state, dot)
            known = max([ticks[seen] for seen in writer.seen | read.seen], default=0)
            ticks[dot] = known + draw(st.integers(1, 3))  # ticks of two origins may be equal
            delta = kind.EMPTY if op is None else kind.delta(op, *dot, ticks[dot])
            small = Element(delta, frozenset({dot}))
            replicas[here] = join(kind, writer, small)
            run.writes.append(Written(small, writer, replicas[here]))
        run.snapshots.append(replicas[here])
    run.replicas = replicas
    run.deliveries = _deliveries(draw, run.writes)
    last = len(run.snapshots) - 1
    run.triple = draw(st.tuples(*[st.integers(0, last)] * 3))
    return run


def _stable(run: Run, replicas: list[Element], here: int) -> Vector:
    """Of each origin the dots that all have, while ``here`` has all writes made without them."""
    everywhere = frozenset.intersection(*(replica.seen for replica in replicas))
    unseen = [write for write in run.writes if not write.delta.seen <= replicas[here].seen]
    stable: Vector = {}
    for origin, seq in sorted(everywhere):
        blind = any((origin, seq) not in write.before.seen for write in unseen)
        if seq == stable.get(origin, 0) + 1 and not blind:
            stable[origin] = seq
    return stable


def _deliveries(draw: Draw, writes: list[Written]) -> list[int]:
    """Indices of ``writes`` in an order that causal delivery allows, some more than once."""
    order: list[int] = []
    arrived: set[Dot] = set()
    waiting = dict(enumerate(writes))
    while waiting:
        ready = [i for i, write in waiting.items() if write.before.seen <= arrived]
        index = draw(st.sampled_from(ready))
        order.append(index)
        arrived |= waiting.pop(index).delta.seen
        if draw(st.integers(0, 3)) == 0:
            order.append(draw(st.sampled_from(order)))
    return order


def shuffled(state: State) -> State:
    """An equal state whose dicts and sets were filled in another order."""
    if isinstance(state, dict):
        return {shuffled(key): shuffled(state[key]) for key in reversed(list(state))}
    if isinstance(state, frozenset):
        return frozenset(sorted(state, reverse=True))
    if isinstance(state, tuple):
        return tuple(shuffled(part) for part in state)
    return state


def check(kind: DataType, run: Run) -> None:
    """Every law on one run; AssertionError names the law that is broken."""
    by_seen: dict[frozenset[Dot], bytes] = {}

    def same(element: Element, law: str) -> None:
        """Elements that have received the same are equal, byte for byte."""
        found: bytes = (
            msgpack.packb(kind.live(element.state, run.past))
            if run.collecting
            else canonical(kind, element.state)
        )
        assert by_seen.setdefault(element.seen, found) == found, law

    for snapshot in run.snapshots:
        same(snapshot, "replicas that have received the same differ")
        assert canonical(kind, join(kind, snapshot, snapshot).state) == canonical(
            kind, snapshot.state
        ), "merge is not idempotent"
        _check_encoding(kind, snapshot.state)

    a, b, c = (run.snapshots[index] for index in run.triple)
    same(join(kind, a, b), "merge is not commutative")
    same(join(kind, b, a), "merge is not commutative")
    if run.collecting:
        for one in run.snapshots:
            for other in run.snapshots:
                same(join(kind, one, other), "what was collected comes back")
    same(join(kind, join(kind, a, b), c), "merge is not associative")
    same(join(kind, a, join(kind, b, c)), "merge is not associative")

    for write in run.writes:
        same(join(kind, write.delta, write.before), "a delta does not give what its writer got")
        same(join(kind, write.after, write.delta), "a delta that comes again changes something")

    element = Element(kind.EMPTY, frozenset())
    for index in run.deliveries:
        element = join(kind, element, run.writes[index].delta)
        same(element, "deltas in another order do not give the same state")
    whole = Element(kind.EMPTY, frozenset())
    for replica in run.replicas:
        whole = join(kind, whole, replica)
    assert whole.seen == element.seen
    same(whole, "delta mode and state mode differ")


def _check_encoding(kind: DataType, state: State) -> None:
    raw = msgpack.unpackb(canonical(kind, state))
    assert kind.decode(raw) == state, "encoding does not round-trip"
    assert canonical(kind, shuffled(state)) == canonical(kind, state), (
        "equal states have different bytes"
    )


def check_entry(entry: dict[int, State]) -> None:
    """The stored form of a whole entry keeps the same two laws."""
    stored = encode_entry(entry)
    assert decode_entry(stored) == entry
    assert encode_entry({kind: shuffled(entry[kind]) for kind in reversed(list(entry))}) == stored


def check_laws(
    kind: DataType, mutate: Mutate, *, collecting: bool = False, shrink: bool = True
) -> None:
    """Try to break the type; AssertionError if that succeeds."""
    phases = settings().phases if shrink else [Phase.generate]

    @settings(phases=phases, max_examples=3 * settings().max_examples, report_multiple_bugs=False)
    @given(runs(kind, mutate, collecting=collecting))
    def search(run: Run) -> None:
        check(kind, run)

    search()
