"""Siblings (multi-value register): concurrent values are all kept until a write has seen them.

Problem: a new value must replace what its writer had *seen*, and nothing else, and a deleted
value must not come back from a replica that still has it, without a tombstone for every delete.

Idea: each value is held under the dot of its write. A write names the dots it replaces. Whether a
dot that is not held was removed or has not arrived yet is told by what the replica has received
(its version vector, shared by all keys): received and not held = removed. So a delete leaves
nothing behind. Only a dot that was removed *before* it arrived (its remover had seen more than
this replica) has to be remembered, and only until it arrives.

A value may bear a deadline of its own. Expired, it is not shown, but held until collection takes
it away as a replacement would; a write that replaces what is held replaces it too.

State: ``(held: {dot: (hlc, value)}, awaited: frozenset of dots)``; a value that expires is held as
``(hlc, value, deadline)``.
Logged: ``[type, key, value or nil, [origin, seq, ...] replaced]``, and the deadline if it has one.

Invariants: (1) no dot is both held and awaited; (2) every held dot has been received; (3) no
awaited dot has been received.

Preguiça et al. 2012 and Almeida et al. 2014 (dotted version vectors), Gonçalves et al. 2017
(server-wide clocks).
"""

from __future__ import annotations

from collections.abc import Collection, Container, Iterable, Sequence
from typing import Any

from kvnode.core.dots import Dot, Vector
from kvnode.core.errors import BlockError, StateError
from kvnode.core.hlc import is_time_ms

Value = tuple[int, bytes] | tuple[int, bytes, int]
Held = dict[Dot, Value]
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


def expired(value: Value, now: int) -> bool:
    """Whether a held value is to be shown no more."""
    return len(value) == 3 and value[2] <= now


def deadline(value: Value) -> int:
    """Of a held value, 0 if it has none."""
    return value[2] if len(value) == 3 else 0


def shown(state: Siblings, now: int) -> Held:
    """What is held and has not expired."""
    return {dot: value for dot, value in state[0].items() if len(value) == 2 or value[2] > now}


def visible(state: Siblings, now: int = 0) -> bool:
    """Whether any value is held that has not expired."""
    for value in state[0].values():  # noqa: SIM110 - for every read: any() takes twice as long
        if len(value) == 2 or value[2] > now:
            return True
    return False


def deadlines(state: Siblings) -> list[tuple[int, Dot]]:
    """Of the values that have one."""
    return [(value[2], dot) for dot, value in state[0].items() if len(value) == 3]


def garbage(state: Siblings, past: int = 0) -> list[Dot]:
    """Values that have expired: deletes leave nothing behind."""
    return [dot for dot, value in state[0].items() if expired(value, past)]


def collect(state: Siblings, stable: Vector, past: int = 0) -> Siblings:
    """Without the values that have expired and that ``stable`` covers."""
    gone = {dot for dot in garbage(state, past) if dot[1] <= stable.get(dot[0], 0)}
    if not gone:
        return state
    return ({dot: value for dot, value in state[0].items() if dot not in gone}, state[1])


def live(state: Siblings, past: int = 0) -> list[Any] | None:
    """What ``encode`` makes of those held and not expired, when no dot is awaited."""
    held = state[0]
    shown = [[*dot, *held[dot]] for dot in sorted(held) if not expired(held[dot], past)]
    return [shown, []] if shown else None


def write(
    key: bytes, value: bytes | None, replaced: Collection[Dot], deadline: int = 0
) -> list[Any]:
    """The logged operation that stores ``value`` (None: nothing) in place of ``replaced``."""
    dots: list[int] = []
    if len(replaced) == 1:  # this, or none, almost always
        (dot,) = replaced
        dots += dot
    elif replaced:
        dots = [number for dot in sorted(replaced) for number in dot]
    return [ID, key, value, dots, deadline] if deadline else [ID, key, value, dots]


def alone(dot: Dot, hlc: int, value: bytes, deadline: int = 0) -> Siblings:
    """What is left when a write replaces all that is held and nothing is awaited."""
    return ({dot: (hlc, value, deadline) if deadline else (hlc, value)}, NO_DOTS)


def replaced(state: Siblings, seen: Iterable[Dot], received: Container[Dot]) -> list[Dot]:
    """Of the dots a reader saw, those there is still something to do about.

    A dot that was received here and is not held was replaced by somebody before.
    """
    held = state[0]
    return [dot for dot in seen if dot in held or dot not in received]


def delta(op: list[Any], origin: int, seq: int, hlc: int) -> Siblings:
    """The small state of a logged operation."""
    value = op[2]
    held: Held
    if len(op) == 4 and (value is None or type(value) is bytes) and type(op[3]) is list:
        held = {} if value is None else {(origin, seq): (hlc, value)}
    elif len(op) == 5 and type(value) is bytes and type(op[3]) is list and is_time_ms(op[4]):
        held = {(origin, seq): (hlc, value, op[4])}
    else:
        raise BlockError("siblings operation of unknown form")
    return (held, _dots(op[3], BlockError) if op[3] else NO_DOTS)


def each_replaced(lists: Sequence[Any]) -> list[frozenset[Dot]]:
    """The dots that each of some writes replaces, as logged; BlockError."""
    if {*map(type, lists)} != {list}:
        raise BlockError("siblings operation of unknown form")
    return [_dots(flat, BlockError) if flat else NO_DOTS for flat in lists]


def context(state: Siblings) -> list[int]:
    """Flat (origin, seq) of the held dots, sorted.

    Those that have expired too: who was shown nothing of them has seen them gone, and what is
    written then must replace them also where a slower clock still shows them.
    """
    return [number for dot in sorted(state[0]) for number in dot]


def encode(state: Siblings) -> list[Any]:
    """[[[origin, seq, hlc, value], ...] sorted by dot, [origin, seq, ...] awaited, sorted].

    A value that expires has its deadline behind it.
    """
    held, awaited = state
    return [
        [[*dot, *held[dot]] for dot in sorted(held)],
        [number for dot in sorted(awaited) for number in dot],
    ]


def decode(raw: Any) -> Siblings:
    """The inverse of ``encode``; raises ``StateError``."""
    # spelled out: patterns take four times as long, and this runs for every read
    if not (type(raw) is list and len(raw) == 2 and type(raw[0]) is type(raw[1]) is list):
        raise StateError("siblings of unknown form")
    rows, awaited = raw
    held: Held = {}
    for row in rows:
        if type(row) is not list or not 4 <= len(row) <= 5:
            raise StateError("sibling of unknown form")
        origin, seq, hlc, value = row[:4]
        if not (type(origin) is type(seq) is type(hlc) is int and type(value) is bytes):
            raise StateError("sibling of unknown form")
        if len(row) == 4:
            held[(origin, seq)] = (hlc, value)
        elif is_time_ms(row[4]):
            held[(origin, seq)] = (hlc, value, row[4])
        else:
            raise StateError("sibling of unknown form")
    return (held, _dots(awaited, StateError) if awaited else NO_DOTS)


def _dots(flat: list[Any], error: type[Exception]) -> frozenset[Dot]:
    if len(flat) == 2:  # almost always, where there is any
        origin, seq = flat
        if type(origin) is type(seq) is int and origin >= 0 and seq >= 0:
            return frozenset(((origin, seq),))
    if len(flat) % 2 or not all(type(number) is int and number >= 0 for number in flat):
        raise error("dots of unknown form")
    numbers = iter(flat)
    return frozenset(zip(numbers, numbers, strict=True))
