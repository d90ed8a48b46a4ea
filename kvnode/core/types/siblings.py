"""Siblings (multi-value register): concurrent values are all kept until a write has seen them.

Problem: a new value must replace what its writer had *seen*, and nothing else, and a deleted
value must not come back from a replica that still has it, without a tombstone for every delete.

Idea: each value is held under the dot of its write. A write names the dots it replaces. Whether a
dot that is not held was removed or has not arrived yet is told by what the replica has received
(its version vector, shared by all keys): received and not held = removed. So a delete leaves
nothing behind. Only a dot that was removed *before* it arrived (its remover had seen more than
this replica) has to be remembered, and only until it arrives.

State: ``(held: {dot: (hlc, value)}, awaited: frozenset of dots)``.
Logged: ``[type, key, value or nil, [origin, seq, ...] replaced]``.

Invariants: (1) no dot is both held and awaited; (2) every held dot has been received; (3) no
awaited dot has been received.

Preguiça et al. 2012 and Almeida et al. 2014 (dotted version vectors), Gonçalves et al. 2017
(server-wide clocks).
"""

from __future__ import annotations

from collections.abc import Container, Iterable
from typing import Any

from kvnode.core.dots import Dot, Vector
from kvnode.core.errors import BlockError, StateError

Held = dict[Dot, tuple[int, bytes]]
Siblings = tuple[Held, frozenset[Dot]]

ID = 4
NAME = "SIBLINGS"
NO_DOTS: frozenset[Dot] = frozenset()
EMPTY: Siblings = ({}, NO_DOTS)


def merge(
    a: Siblings, b: Siblings, seen_a: Container[Dot] = (), seen_b: Container[Dot] = ()
) -> Siblings:
    """A value stays if both hold it, or one does and the other has not received it.

    ``seen_a`` and ``seen_b`` are the dots each side's holder has received; of a delta, its own.
    """
    held_a, awaited_a = a
    held_b, awaited_b = b
    held: Held = {
        dot: value
        for dot, value in held_a.items()
        if dot in held_b or not (dot in awaited_b or dot in seen_b)
    }
    for dot, value in held_b.items():
        if dot not in held_a and not (dot in awaited_a or dot in seen_a):
            held[dot] = value
    if not awaited_a and not awaited_b:
        return (held, NO_DOTS)
    awaited = frozenset(
        dot for dot in awaited_a | awaited_b if dot not in seen_a and dot not in seen_b
    )
    return (held, awaited)


def visible(state: Siblings) -> bool:
    """Whether any value is held."""
    return bool(state[0])


def garbage(state: Siblings) -> list[Dot]:  # noqa: ARG001 - deletes leave nothing behind
    """No dots: nothing waits for being stable."""
    return []


def collect(state: Siblings, stable: Vector) -> Siblings:  # noqa: ARG001
    """The same."""
    return state


def live(state: Siblings) -> list[Any] | None:
    """[[origin, seq, hlc, value], ...] held, sorted by dot."""
    return encode(state)[0] or None


def write(key: bytes, value: bytes | None, replaced: Iterable[Dot]) -> list[Any]:
    """The logged operation that stores ``value`` (None: nothing) in place of ``replaced``."""
    return [ID, key, value, [number for dot in sorted(replaced) for number in dot]]


def replaced(state: Siblings, seen: Iterable[Dot], received: Container[Dot]) -> list[Dot]:
    """Of the dots a reader saw, those there is still something to do about.

    A dot that was received here and is not held was replaced by somebody before.
    """
    held = state[0]
    return [dot for dot in seen if dot in held or dot not in received]


def delta(op: list[Any], origin: int, seq: int, hlc: int) -> Siblings:
    """The small state of a logged operation."""
    if len(op) != 4 or not (op[2] is None or type(op[2]) is bytes) or type(op[3]) is not list:
        raise BlockError("siblings operation of unknown form")
    return (
        {} if op[2] is None else {(origin, seq): (hlc, op[2])},
        _dots(op[3], BlockError) if op[3] else NO_DOTS,
    )


def context(state: Siblings) -> list[int]:
    """Flat (origin, seq) of the held dots, sorted."""
    return [number for dot in sorted(state[0]) for number in dot]


def encode(state: Siblings) -> list[Any]:
    """[[[origin, seq, hlc, value], ...] sorted by dot, [origin, seq, ...] awaited, sorted]."""
    held, awaited = state
    return [
        [[*dot, *held[dot]] for dot in sorted(held)],
        [number for dot in sorted(awaited) for number in dot],
    ]


def decode(raw: Any) -> Siblings:
    """The inverse of ``encode``; raises ``StateError``."""
    match raw:
        case [list(rows), list(awaited)]:
            held: Held = {}
            for row in rows:
                # spelled out: a pattern takes four times as long, and this runs for every entry
                # that a checkpoint replaces
                if type(row) is not list or len(row) != 4:
                    raise StateError("sibling of unknown form")
                origin, seq, hlc, value = row
                if not (type(origin) is type(seq) is type(hlc) is int and type(value) is bytes):
                    raise StateError("sibling of unknown form")
                held[(origin, seq)] = (hlc, value)
            return (held, _dots(awaited, StateError) if awaited else NO_DOTS)
    raise StateError("siblings of unknown form")


def _dots(flat: list[Any], error: type[Exception]) -> frozenset[Dot]:
    if len(flat) % 2 or not all(type(number) is int and number >= 0 for number in flat):
        raise error("dots of unknown form")
    numbers = iter(flat)
    return frozenset(zip(numbers, numbers, strict=True))
