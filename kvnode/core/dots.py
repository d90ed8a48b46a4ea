"""Dots, version vectors and what they cover.

A *dot* ``(origin, seq)`` names one write. A *version vector* ``{origin: seq}`` says what a replica
has: of each origin a prefix without holes. Both are plain tuple and dict because they are made and
compared for every operation on the write path (a NamedTuple dot costs 4 x as much to build).

A context (``context.py``) is something else: what a *client* saw of one key, which may have holes.
"""

from __future__ import annotations

from collections.abc import Mapping

Dot = tuple[int, int]
"""(origin id, 64 bits; sequence number, from 1)."""

Vector = dict[int, int]
"""origin id -> last seq of the contiguous prefix; an origin that is absent has seq 0."""


class Covered:
    """The set of dots a version vector covers, as a view: it follows the vector's changes."""

    __slots__ = ("vector",)

    def __init__(self, vector: Mapping[int, int]) -> None:
        self.vector = vector

    def __contains__(self, dot: object) -> bool:
        return dot[1] <= self.vector.get(dot[0], 0)  # type: ignore[index,no-any-return]


def covers(vector: Mapping[int, int], other: Mapping[int, int]) -> bool:
    """Whether ``vector`` has everything ``other`` has."""
    for origin, seq in other.items():  # noqa: SIM110 - asked for every message: all() takes twice as long
        if vector.get(origin, 0) < seq:
            return False
    return True


def missing_ops(vector: Mapping[int, int], other: Mapping[int, int]) -> int:
    """How many operations ``other`` has that ``vector`` lacks."""
    return sum(max(0, seq - vector.get(origin, 0)) for origin, seq in other.items())
