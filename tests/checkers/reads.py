"""The reads of a history in an order in which knowledge only grows.

Sorted by the sum of their vectors: a read that covers another's vector comes after it, at whatever
node. A read without a vector says nothing about what should be there; only the values that it
shows can be judged.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from tests.checkers.facts import Facts
from tests.checkers.history import Call, Final, Seen, Type, Vector


@dataclass(slots=True)
class Read:
    """One look at some keys of one node; ``key`` sorts."""

    source: Call | Final
    node: str
    vector: Vector
    seen: tuple[Seen, ...]
    started_ms: float
    ended_ms: float
    clock: tuple[float, float] | None = None
    """See ``Call``."""


INFINITY = float("inf")


def reads(facts: Facts) -> list[Read]:
    """All of them, those at the end included; equal finals once."""
    out = [
        Read(
            call,
            call.node,
            call.vector,
            call.seen,
            call.started_ms,
            call.ended_ms or INFINITY,
            call.clock,
        )
        for call in facts.history.calls
        if call.seen and call.outcome == "ok"
    ]
    judged: list[Final] = []
    for final in facts.history.finals:
        if any(final.vector == other.vector and final.keys == other.keys for other in judged):
            continue
        judged.append(final)
        absent = {key for key, _ in facts.stories} - final.keys.keys()
        seen = (*final.keys.values(), *(Seen(key) for key in sorted(absent)))
        at = INFINITY if final.at_ms is None else final.at_ms
        begun = 0.0 if at == INFINITY else at
        out.append(Read(final, final.node, final.vector, seen, begun, at, final.clock))
    out.sort(key=lambda read: sum(read.vector.values()))
    return out


def looks(facts: Facts, kind: Type, all_reads: list[Read]) -> Iterator[tuple[Read, Seen]]:
    """Every look at a key of that type, in order."""
    cells = {key for key, type_ in facts.stories if type_ == kind}
    for read in all_reads:
        for seen in read.seen:
            if seen.key in cells or _shows(seen, kind):
                yield read, seen


def _shows(seen: Seen, kind: Type) -> bool:
    if kind == "SIBLINGS":
        return bool(seen.siblings)
    if kind == "LWW":
        return seen.lww is not None
    return kind in seen.counters
