"""LWW-Register: of concurrent writes the one with the larger (hlc, origin, seq) wins.

The order is total and every replica uses the same one, so equal timestamps are decided alike
everywhere. The writer's clock was advanced by all it had received, so a write always beats what
it has seen. A delete is a write without a value, a tombstone. Once that is causally stable
(``stability.py``) all that could ever come is later than it, so it goes and leaves ``EMPTY``.

A value may bear a deadline. The winner's counts: when that has passed the register shows nothing,
never an older value, and from then on the winner is collected as a tombstone is.

State: ``(hlc, origin, seq, value or None)``, with a deadline as fifth where the value has one.
Logged: ``[type, key, value or nil]``, likewise with a deadline as fourth.
"""

from __future__ import annotations

from collections.abc import Container
from typing import Any

from kvnode.core.dots import Dot, Vector
from kvnode.core.errors import BlockError, StateError
from kvnode.core.hlc import is_time_ms

Register = tuple[int, int, int, bytes | None] | tuple[int, int, int, bytes | None, int]
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


def deadline(state: Register) -> int:
    """Of the winner, 0 if it has none."""
    return state[4] if len(state) == 5 else 0


def deadlines(state: Register) -> list[tuple[int, Dot]]:
    """The winner's, if it has one."""
    return [(state[4], (state[1], state[2]))] if len(state) == 5 else []


def garbage(state: Register, past: int = 0) -> list[Dot]:
    """The winner's own dot, if it is a tombstone or has expired."""
    return [(state[1], state[2])] if state[2] and not visible(state, past) else []


def collect(state: Register, stable: Vector, past: int = 0) -> Register:
    """Nothing, if it is a tombstone or has expired and ``stable`` covers it."""
    gone = not visible(state, past) and state[2] <= stable.get(state[1], 0)
    return EMPTY if gone else state


def live(state: Register, past: int = 0) -> list[Any] | None:
    """[hlc, origin, seq, value] of a value, and its deadline if it has one."""
    return list(state) if visible(state, past) else None


def visible(state: Register, now: int = 0) -> bool:
    """Whether the winner is a value, and has not expired."""
    return state[3] is not None and (len(state) == 4 or state[4] > now)


def assign(key: bytes, value: bytes, deadline: int = 0) -> list[Any]:
    """The logged operation that stores ``value``; 0: for good."""
    return [ID, key, value, deadline] if deadline else [ID, key, value]


def remove(
    state: Register,
    key: bytes,
    seen: Stamp | None,
    received: Container[Dot] = (),
    now: int = 0,
) -> list[Any] | None:
    """The logged operation that deletes what was ``seen`` (None: what ``state`` shows).

    None when that is gone already: a newer value that the reader has not seen stays. So does, at
    other nodes, one that is concurrent with the deletion that was collected here.
    """
    if seen is None:
        return [ID, key, None] if visible(state, now) else None
    if not state[2] and seen[1:] in received:
        return None
    if state[:3] > seen or (state[:3] == seen and not visible(state, now)):
        return None
    return [ID, key, None]


def delta(op: list[Any], origin: int, seq: int, hlc: int) -> Register:
    """The small state of a logged operation."""
    value = op[2]
    if len(op) == 3 and (value is None or type(value) is bytes):
        return (hlc, origin, seq, value)
    if len(op) == 4 and type(value) is bytes and is_time_ms(op[3]):
        return (hlc, origin, seq, value, op[3])
    raise BlockError("register operation of unknown form")


def context(state: Register) -> list[int]:
    """[hlc, origin, seq] of the winner."""
    return list(state[:3])


def encode(state: Register) -> list[Any]:
    """[hlc, origin, seq, value or nil], and the deadline if there is one."""
    return list(state)


def decode(raw: Any) -> Register:
    """The inverse of ``encode``; raises ``StateError``."""
    # spelled out: a pattern takes three times as long, and this runs for every read
    if type(raw) is list:
        if len(raw) == 4:
            hlc, origin, seq, value = raw
            if type(hlc) is type(origin) is type(seq) is int and (
                type(value) is bytes or value is None
            ):
                return (hlc, origin, seq, value)
        elif len(raw) == 5:
            hlc, origin, seq, value, deadline = raw
            if (
                type(hlc) is type(origin) is type(seq) is int
                and type(value) is bytes
                and is_time_ms(deadline)
            ):
                return (hlc, origin, seq, value, deadline)
    raise StateError("register of unknown form")
