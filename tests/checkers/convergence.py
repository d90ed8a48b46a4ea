"""After healing all members are equal: vector, digest, and what they show.

Equal vectors with unequal digests are the worst of it: such nodes will never differ in what they
ask each other for, so they stay different for ever.

Values with a deadline are left out: each node goes by its own clock, and the nodes are not looked
at in one moment. That they are shown and hidden when they are to be is for ``expiry`` and the
types' checkers.
"""

from __future__ import annotations

from dataclasses import replace

from tests.checkers.count import Count
from tests.checkers.facts import Cell, Facts, vector_text
from tests.checkers.history import Dot, Final, Seen, Verdict


def convergence(facts: Facts) -> Verdict:
    """Compare every pair of finals."""
    count = Count("convergence")
    finals = facts.history.finals
    lasting = [_lasting(facts, final) for final in finals]
    for index, one in enumerate(finals):
        for at, other in enumerate(finals[:index]):
            if one.vector != other.vector:
                count.lost(
                    f"{other.node} ended at {vector_text(other.vector)}, "
                    f"{one.node} at {vector_text(one.vector)}"
                )
            elif one.digest != other.digest:
                count.unexpected(
                    f"{other.node} and {one.node} have equal vectors, and the digests "
                    f"{other.digest} and {one.digest}"
                )
            elif lasting[index] != lasting[at]:
                count.unexpected(
                    f"{other.node} and {one.node} have equal vectors and show the key "
                    f"{_difference(lasting[index], lasting[at])!r} differently"
                )
            else:
                count.ok()
    return count.verdict


def _lasting(facts: Facts, final: Final) -> dict[bytes, Seen]:
    """What it shows that has no deadline; keys of which nothing is left are left out."""
    found: dict[bytes, Seen] = {}
    for key, seen in final.keys.items():
        siblings = {
            dot: value
            for dot, value in seen.siblings.items()
            if not _expires(facts, (key, "SIBLINGS"), dot, value)
        }
        lww = seen.lww
        if lww is not None and _expires(facts, (key, "LWW"), *lww):
            lww = None
        if siblings or lww or seen.counters:
            found[key] = replace(seen, siblings=siblings, lww=lww)
    return found


def _expires(facts: Facts, cell: Cell, dot: Dot, value: bytes) -> bool:
    effect = facts.effect(cell, dot, value)
    return effect is not None and effect.written.deadline_ms is not None


def _difference(one: dict[bytes, Seen], other: dict[bytes, Seen]) -> bytes:
    return next(key for key in sorted(one.keys() | other.keys()) if one.get(key) != other.get(key))
