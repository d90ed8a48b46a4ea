"""LWW-Register: of concurrent writes the one with the larger (hlc, origin, seq) wins.

The order is total and every replica uses the same one, so equal timestamps are decided alike
everywhere. The writer's clock was advanced by all it had received, so a write always beats what
it has seen. A delete is a write without a value, a tombstone. Once that is causally stable
(``stability.py``) all that could ever come is later than it, so it goes and leaves ``EMPTY``.

State: ``(hlc, origin, seq, value or None)``. Logged: ``[type, key, value or nil]``.
"""

from __future__ import annotations

from collections.abc import Container
from typing import Any

from kvnode.core.dots import Dot, Vector
from kvnode.core.errors import BlockError, StateError

Register = tuple[int, int, int, bytes | None]
Stamp = tuple[int, int, int]
"""(hlc, origin, seq) of the winner a reader saw."""

ID = 3
NAME = "LWW_REGISTER"
EMPTY: Register = (0, 0, 0, None)


def merge(
    a: Register, b: Register, seen_a: Container[Dot] = (), seen_b: Container[Dot] = ()
) -> Register:
    """The later one; where one side has nothing, what that side has received was deleted there."""
    if not a[2]:
        return EMPTY if (b[1], b[2]) in seen_a else b
    if not b[2]:
        return EMPTY if (a[1], a[2]) in seen_b else a
    return a if a[:3] >= b[:3] else b


def garbage(state: Register) -> list[Dot]:
    """The tombstone's own dot, if it is one."""
    return [(state[1], state[2])] if state[3] is None and state[2] else []


def collect(state: Register, stable: Vector) -> Register:
    """Nothing, if it is a tombstone that ``stable`` covers."""
    gone = state[3] is None and state[2] <= stable.get(state[1], 0)
    return EMPTY if gone else state


def live(state: Register) -> list[Any] | None:
    """[hlc, origin, seq, value] of a value."""
    return None if state[3] is None else list(state)


def visible(state: Register) -> bool:
    """Whether the winner is a value."""
    return state[3] is not None


def assign(key: bytes, value: bytes) -> list[Any]:
    """The logged operation that stores ``value``."""
    return [ID, key, value]


def remove(
    state: Register, key: bytes, seen: Stamp | None, received: Container[Dot] = ()
) -> list[Any] | None:
    """The logged operation that deletes what was ``seen`` (None: what ``state`` shows).

    None when that is gone already: a newer value that the reader has not seen stays. So does, at
    other nodes, one that is concurrent with the deletion that was collected here.
    """
    if seen is None:
        return [ID, key, None] if visible(state) else None
    if not state[2] and seen[1:] in received:
        return None
    if state[:3] > seen or (state[:3] == seen and not visible(state)):
        return None
    return [ID, key, None]


def delta(op: list[Any], origin: int, seq: int, hlc: int) -> Register:
    """The small state of a logged operation."""
    if len(op) != 3 or not (op[2] is None or type(op[2]) is bytes):
        raise BlockError("register operation of unknown form")
    return (hlc, origin, seq, op[2])


def context(state: Register) -> list[int]:
    """[hlc, origin, seq] of the winner."""
    return list(state[:3])


def encode(state: Register) -> list[Any]:
    """[hlc, origin, seq, value or nil]."""
    return list(state)


def decode(raw: Any) -> Register:
    """The inverse of ``encode``; raises ``StateError``."""
    match raw:
        case [int(hlc), int(origin), int(seq), (bytes() | None) as value]:
            return (hlc, origin, seq, value)
    raise StateError("register of unknown form")
