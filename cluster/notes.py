"""Which crew notes must be visible in the end, told from the receipts alone.

A put without a context replaces what its node holds at that moment. Nobody outside knows that
moment exactly, but the session vectors of a writer's receipts enclose it: the node held at least
what the receipt *before* the put names, and at most what the put's own receipt names. So, for two
notes X and Y of one key::

    Y must have seen X    X is in the session before Y
    Y may have seen X     X is in the session after Y

A note that no other may have seen must be there; a note that another must have seen must be gone.
Whatever is between is a matter of microseconds and may be either way.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cluster.vectors import Dot


@dataclass(frozen=True, slots=True)
class Note:
    """An acknowledged crew note."""

    value: bytes
    dot: Dot
    before: Mapping[int, int]
    """Session vector of the writer's receipt before this one."""
    after: Mapping[int, int]
    """Session vector of this note's receipt."""


def wrong_survivors(written: Sequence[Note], found: Mapping[Dot, bytes]) -> list[str]:
    """What is wrong with the siblings found under a key to which these notes were written."""
    known = {note.dot: note.value for note in written}
    problems = [
        f"{value!r} was never written"
        for dot, value in sorted(found.items())
        if known.get(dot) != value
    ]
    for note in written:
        others = [other for other in written if other is not note]
        if note.dot in found:
            if any(_must_have_seen(other, note) for other in others):
                problems.append(f"{note.value!r} was replaced and is still there")
        elif not any(_may_have_seen(other, note) for other in others):
            problems.append(f"{note.value!r} is lost: nobody had seen it")
    if not found:
        problems.append("no note is left")
    return problems


def _must_have_seen(later: Note, earlier: Note) -> bool:
    return _includes(later, later.before, earlier)


def _may_have_seen(later: Note, earlier: Note) -> bool:
    return _includes(later, later.after, earlier)


def _includes(later: Note, session: Mapping[int, int], earlier: Note) -> bool:
    """One node's notes follow each other in order, also within a batch."""
    origin, seq = earlier.dot
    if later.dot[0] == origin:
        return later.dot[1] > seq
    return session.get(origin, 0) >= seq
