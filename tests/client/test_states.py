"""What arrives is no different from what the constructors make."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvnode import Conflict, Dot, Value
from kvnode.client.states import key_state_of, stored_value_of
from kvnode.client.values import Absent, Freshness, KeyState, StoredValue
from kvnode.v1 import types_pb2

numbers = st.integers(0, 2**64 - 1)
stored = st.builds(
    StoredValue,
    st.binary(max_size=9),
    st.builds(Dot, numbers, numbers),
    numbers,
    st.text(max_size=5),
    st.none() | st.integers(1, 2**64 - 1),
)
sums = st.none() | st.integers(-(2**63), 2**63 - 1) | st.integers(2**63, 2**70)
freshness = st.sampled_from([(), (Freshness("ewr", 5), Freshness("jfk", None))])


def stored_message(item: StoredValue) -> types_pb2.StoredValue:
    return types_pb2.StoredValue(
        value=item.value,
        dot=types_pb2.Dot(origin=item.dot.origin, seq=item.dot.seq),
        time_ms=item.time_ms,
        node=item.node,
        expires_ms=item.expires_ms or 0,
    )


def counter_message(value: int) -> types_pb2.CounterValue:
    if value < 2**63:
        return types_pb2.CounterValue(value=value)
    return types_pb2.CounterValue(value=2**63 - 1, exact=str(value))


@st.composite
def arrivals(draw: st.DrawFn) -> tuple[KeyState, KeyState]:
    """(as the constructor makes it, as it arrives)."""
    g_counter, pn_counter = draw(sums), draw(sums)
    register, siblings = draw(st.none() | stored), tuple(draw(st.lists(stored, max_size=2)))
    key, context, known = draw(st.binary()), draw(st.binary()), draw(freshness)
    message = types_pb2.KeyState(key=key, context=context)
    found: list[int | bytes] = []
    if g_counter is not None:
        message.g_counter.CopyFrom(counter_message(g_counter))
        found.append(g_counter)
    if pn_counter is not None:
        message.pn_counter.CopyFrom(counter_message(pn_counter))
        found.append(pn_counter)
    if register is not None:
        message.lww_register.CopyFrom(stored_message(register))
        found.append(register.value)
    if siblings:
        message.siblings.values.extend(map(stored_message, siblings))
        found += [item.value for item in siblings]
    fields: Any = (key, context, g_counter, pn_counter, register, siblings, known)
    made: KeyState
    if len(found) == 1:
        made = Value(*fields, *found)
    else:
        made = Conflict(*fields) if found else Absent(*fields)
    return made, key_state_of(message, known)


@given(arrivals())
def test_states_are_those_of_the_constructors(both: tuple[KeyState, KeyState]) -> None:
    made, arrived = both
    assert type(arrived) is type(made)
    assert arrived == made
    assert repr(arrived) == repr(made)
    assert hash(arrived) == hash(made)
    assert arrived.freshness == made.freshness
    assert (
        pickle.dumps(arrived) == pickle.dumps(made) or pickle.loads(pickle.dumps(arrived)) == made
    )
    assert copy.deepcopy(arrived) == copy.copy(arrived) == made
    assert dataclasses.asdict(arrived) == dataclasses.asdict(made)
    assert dataclasses.replace(arrived, key=b"") == dataclasses.replace(made, key=b"")
    assert arrived.types == made.types
    assert arrived.values == made.values
    frozen(arrived, "key")


@given(stored)
def test_stored_values_are_those_of_the_constructor(made: StoredValue) -> None:
    arrived = stored_value_of(stored_message(made))
    assert type(arrived) is StoredValue
    assert type(arrived.dot) is Dot
    assert arrived == made
    assert (repr(arrived), hash(arrived)) == (repr(made), hash(made))
    assert copy.deepcopy(arrived) == pickle.loads(pickle.dumps(arrived)) == made
    frozen(arrived, "value")


def frozen(arrived: object, name: str) -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(arrived, name, b"x")
    with pytest.raises(dataclasses.FrozenInstanceError):
        delattr(arrived, name)
    with pytest.raises((AttributeError, TypeError)):
        arrived.other = 1  # type: ignore[attr-defined]
