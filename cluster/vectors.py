"""Version vectors as the client shows them: origin -> last sequence number."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

Dot = tuple[int, int]
"""(origin, sequence number)."""

Vector = dict[int, int]


def joined(vectors: Iterable[Mapping[int, int]]) -> Vector:
    """The least vector that has all that any of these has."""
    out: Vector = {}
    for vector in vectors:
        for origin, seq in vector.items():
            out[origin] = max(seq, out.get(origin, 0))
    return out


def lacking(vector: Mapping[int, int], other: Mapping[int, int]) -> int:
    """How many operations ``other`` has that ``vector`` lacks."""
    return sum(max(0, seq - vector.get(origin, 0)) for origin, seq in other.items())
