"""After healing all members are equal: vector, digest, and what they show.

Equal vectors with unequal digests are the worst of it: such nodes will never differ in what they
ask each other for, so they stay different for ever.
"""

from __future__ import annotations

from tests.checkers.count import Count
from tests.checkers.facts import Facts, vector_text
from tests.checkers.history import Final, Seen, Verdict


def convergence(facts: Facts) -> Verdict:
    """Compare every pair of finals."""
    count = Count("convergence")
    finals = facts.history.finals
    for index, one in enumerate(finals):
        for other in finals[:index]:
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
            elif one.keys != other.keys:
                count.unexpected(
                    f"{other.node} and {one.node} have equal vectors and show the key "
                    f"{_difference(one, other)!r} differently"
                )
            else:
                count.ok()
    return count.verdict


def _difference(one: Final, other: Final) -> bytes:
    keys = sorted(one.keys.keys() | other.keys.keys())
    return next(
        key for key in keys if one.keys.get(key, Seen(key)) != other.keys.get(key, Seen(key))
    )
