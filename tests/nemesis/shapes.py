"""Partitions as data: which node's bytes do not reach which other.

A shape is a set of ordered pairs (source, target). It says nothing of how the bytes are stopped:
reset connections or packets that vanish are two ways to make the same shape.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from random import Random

Pair = tuple[str, str]
"""Source and target of the bytes."""
Shape = frozenset[Pair]


def halves(names: Sequence[str], chance: Random) -> Shape:
    """A minority that hears nothing of the majority, and the other way round."""
    few = set(chance.sample(names, len(names) // 2))
    return both_ways((one, other) for one in few for other in names if other not in few)


def alone(names: Sequence[str], chance: Random) -> Shape:
    """One node without any other."""
    lonely = chance.choice(names)
    return both_ways((lonely, other) for other in names if other != lonely)


def one_way(names: Sequence[str], chance: Random) -> Shape:
    """One node that hears nobody, or whom nobody hears; the other direction passes."""
    deaf = chance.choice(names)
    pairs = [(other, deaf) for other in names if other != deaf]
    return frozenset(pairs if chance.random() < 0.5 else [(b, a) for a, b in pairs])


def bridge(names: Sequence[str], chance: Random) -> Shape:
    """Two groups that know of each other only through one node, which reaches both."""
    shuffled = chance.sample(names, len(names))
    middle = len(shuffled) // 2
    left, right = shuffled[:middle], shuffled[middle + 1 :]
    return both_ways((one, other) for one in left for other in right)


def ring(names: Sequence[str], chance: Random) -> Shape:
    """Each node reaches only its two neighbours; of up to three nodes that is everybody."""
    places = chance.sample(names, len(names))
    count = len(places)
    return both_ways(
        (places[i], places[j])
        for i in range(count)
        for j in range(i + 1, count)
        if j - i not in (1, count - 1)
    )


def both_ways(pairs: Iterable[Pair]) -> Shape:
    """The pairs and their opposites."""
    return frozenset(pair for a, b in pairs for pair in ((a, b), (b, a)))
