"""Ready-made answers to conflicts, for ``get(resolve=)``, ``update(resolve=)`` and handles.

A resolver gets a ``Conflict`` and returns the one value. It should not depend on the order of the
siblings: two regions that merge the same ones at once then write the same value. ``union``,
``latest`` and ``longest`` are like that, and raise ConflictError where a key has values of several
types, which only the program knows how to merge.
"""

from __future__ import annotations

from collections.abc import Callable

from kvnode.client.values import Conflict, ConflictError, StoredValue


def latest(conflict: Conflict) -> bytes:
    """The value written last, by the writers' clocks. The others are lost."""
    return max(siblings_of(conflict), key=lambda each: (each.time_ms, each.dot)).value


def longest(conflict: Conflict) -> bytes:
    """The longest value, of several so long the greatest. The others are lost."""
    return max(
        (each.value for each in siblings_of(conflict)), key=lambda value: (len(value), value)
    )


def union(separator: bytes | str = b",") -> Callable[[Conflict], bytes]:
    """Values are sets, their members with a separator between them; all members are kept, sorted.

    What one region removed and another did not change comes back: that takes a set type.
    """
    between = separator.encode() if isinstance(separator, str) else separator
    if not between:
        raise ValueError("a separator has at least one byte")

    def merge(conflict: Conflict) -> bytes:
        members = {member for each in siblings_of(conflict) for member in each.value.split(between)}
        return between.join(sorted(members - {b""}))

    return merge


def custom(merge: Callable[[list[bytes]], bytes | str]) -> Callable[[Conflict], bytes]:
    """Your own function of the values, which it gets sorted."""

    def resolve(conflict: Conflict) -> bytes:
        made = merge(sorted(each.value for each in siblings_of(conflict)))
        return made.encode() if isinstance(made, str) else made

    return resolve


def siblings_of(conflict: Conflict) -> tuple[StoredValue, ...]:
    """The values to choose from; ConflictError if they are of several types."""
    if len(conflict.types) > 1:
        raise ConflictError(conflict)
    return conflict.siblings
