"""Stored values and states of keys, made of messages.

These are most of what a client does for a read. A frozen dataclass sets each of its fields with
``object.__setattr__``, which takes four times as long as an assignment, and a state with its value
has fifteen. So objects are filled while they are *open*: of a class with the same fields that lets
them be assigned. Then they are given the class they are of, which CPython allows where the layouts
are the same, and are what its constructor would have made.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kvnode.client.values import (
    Absent,
    Conflict,
    Dot,
    Freshness,
    KeyState,
    StoredValue,
    Value,
    counter_of,
)

if TYPE_CHECKING:
    from kvnode.v1 import types_pb2


class _OpenStoredValue(StoredValue):
    __slots__ = ()
    __setattr__ = object.__setattr__
    __delattr__ = object.__delattr__
    """Both or none: in CPython they are one, and slow if either of them is in Python."""


class _OpenState(KeyState):
    __slots__ = ()
    __setattr__ = object.__setattr__
    __delattr__ = object.__delattr__


class _OpenValue(KeyState):
    __slots__ = ("value",)
    __setattr__ = object.__setattr__
    __delattr__ = object.__delattr__


_new = object.__new__


def stored_value_of(message: types_pb2.StoredValue) -> StoredValue:
    """A value with its provenance."""
    dot = message.dot
    made: Any = _new(_OpenStoredValue)
    made.value = message.value
    made.dot = tuple.__new__(Dot, (dot.origin, dot.seq))  # two thirds of the time of Dot(...)
    made.time_ms = message.time_ms
    made.node = message.node
    made.expires_ms = message.expires_ms or None
    made.__class__ = StoredValue
    return made  # type: ignore[no-any-return]


def key_state_of(
    message: types_pb2.KeyState, freshness: tuple[Freshness, ...] = ()
) -> Value | Conflict | Absent:
    """The state of a key, field by field."""
    has = message.HasField
    g_counter = counter_of(message.g_counter) if has("g_counter") else None
    pn_counter = counter_of(message.pn_counter) if has("pn_counter") else None
    register = stored_value_of(message.lww_register) if has("lww_register") else None
    siblings = (
        tuple([stored_value_of(item) for item in message.siblings.values])
        if has("siblings")
        else ()
    )
    found = len(siblings)
    found += (g_counter is not None) + (pn_counter is not None) + (register is not None)
    kind: type[KeyState]
    made: Any
    if found == 1:
        kind, made = Value, _new(_OpenValue)
        if register is not None:
            made.value = register.value
        elif siblings:
            made.value = siblings[0].value
        else:
            made.value = pn_counter if g_counter is None else g_counter
    else:
        kind, made = Conflict if found else Absent, _new(_OpenState)
    made.key = message.key
    made.context = message.context
    made.g_counter = g_counter
    made.pn_counter = pn_counter
    made.register = register
    made.siblings = siblings
    made.freshness = freshness
    made.__class__ = kind
    return made  # type: ignore[no-any-return]


def value_of(
    told: bytes | int | types_pb2.KeyState | None, freshness: tuple[Freshness, ...]
) -> bytes | int | Conflict | None:
    """What a caller gets who wants values alone; None: there is nothing."""
    if told is None or isinstance(told, (bytes, int)):
        return told
    state = key_state_of(told, freshness)
    if isinstance(state, Conflict):
        return state
    return state.value if isinstance(state, Value) else None
