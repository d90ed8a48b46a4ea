"""What a client makes of the states that nodes send."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from kvnode import (
    Absent,
    Conflict,
    ConflictError,
    DataType,
    Dot,
    KeyNotFound,
    KeyState,
    StoredValue,
    Value,
    ValueTypeError,
)
from kvnode.client.states import key_state_of
from kvnode.client.values import counter_of, shown, vector_of
from kvnode.v1 import types_pb2

ORIGIN = 0xAB


def stored(value: bytes, seq: int = 1) -> StoredValue:
    """A value written at EWR."""
    return StoredValue(value, Dot(ORIGIN, seq), 1000, "EWR")


def made(key: bytes, context: bytes, **fields: Any) -> Any:
    """The state of the kind that these values make it."""
    state = KeyState(key, context, **fields)
    if len(state.values) == 1:
        return Value(key, context, **fields, value=state.values[0])
    return Conflict(key, context, **fields) if state.values else Absent(key, context)


def test_the_types_have_the_numbers_of_the_wire() -> None:
    wire = {
        name.removeprefix("DATA_TYPE_"): number
        for name, number in types_pb2.DataType.items()
        if number
    }
    assert {kind.name: kind.value for kind in DataType} == wire


def test_a_dot_reads_as_origin_and_seq() -> None:
    assert str(Dot(0xAB, 12)) == "00000000000000ab:12"
    assert repr(Dot(0xAB, 12)) == "Dot('00000000000000ab:12')"
    assert repr([Dot(0xAB, 12)]) == "[Dot('00000000000000ab:12')]"
    assert Dot(1, 2) < Dot(1, 3) < Dot(2, 0)


@pytest.mark.parametrize(
    ("state", "value"),
    [
        (made(b"k", b"c", g_counter=0), 0),
        (made(b"k", b"c", pn_counter=-3), -3),
        (made(b"k", b"c", register=stored(b"")), b""),
        (made(b"k", b"c", siblings=(stored(b"v"),)), b"v"),
    ],
)
def test_a_key_with_one_value_has_it(state: Any, value: int | bytes) -> None:
    assert state.visible
    assert not state.in_conflict
    assert state.value == value
    assert len(state.types) == 1


@pytest.mark.parametrize(
    "state",
    [
        made(b"k", b"c", siblings=(stored(b"a"), stored(b"b", 2))),
        made(b"k", b"c", pn_counter=1, siblings=(stored(b"a"),)),
        made(b"k", b"c", g_counter=1, pn_counter=1),
        made(b"k", b"c", register=stored(b"a"), g_counter=0),
    ],
)
def test_a_key_with_several_values_gives_none_of_them_alone(state: Any) -> None:
    """Picking one silently would lose the others."""
    assert state.in_conflict
    with pytest.raises(ConflictError, match="'k' is in conflict") as raised:
        _ = state.value
    assert raised.value.state is state
    assert len(state.values) == 2


def test_one_value_as_text_or_counter() -> None:
    """Without a cast: ``value`` is ``int | bytes``."""
    word: str = made(b"k", b"c", siblings=(stored("Zo\u00eb".encode()),)).text
    total: int = made(b"k", b"c", pn_counter=-3).counter
    assert (word, total) == ("Zo\u00eb", -3)
    assert made(b"k", b"c", g_counter=0).counter == 0


def test_text_or_a_counter_that_the_value_is_not() -> None:
    with pytest.raises(ValueTypeError, match=r"key 'k' is a counter, not text; use \.counter"):
        _ = made(b"k", b"c", g_counter=1).text
    with pytest.raises(ValueTypeError, match=r"key 'k' is not UTF-8 \(.* at byte 1\); use \.value"):
        _ = made(b"k", b"c", register=stored(b"a\xff")).text
    with pytest.raises(TypeError, match=r"key 'k' holds bytes, not a counter"):
        _ = made(b"k", b"c", siblings=(stored(b"5"),)).counter


def test_of_several_values_or_none_there_is_no_text_and_no_counter() -> None:
    several = made(b"k", b"c", pn_counter=1, siblings=(stored(b"a"),))
    with pytest.raises(ConflictError):
        _ = several.text
    with pytest.raises(ConflictError):
        _ = several.counter
    with pytest.raises(KeyNotFound):
        _ = made(b"k", b"c").text
    with pytest.raises(KeyNotFound):
        _ = made(b"k", b"c").counter


def test_a_conflict_names_its_values() -> None:
    state = made(b"\xff", b"c", pn_counter=-7, siblings=(stored(b"Ada"), stored(b"x" * 99)))
    expected = (
        "key b'\\xff' is in conflict, its values are: -7, 'Ada', '" + "x" * 40 + "'... (99 bytes)"
    )
    assert str(ConflictError(state)) == expected


def test_a_key_without_a_value_is_not_found_and_keeps_its_context() -> None:
    state = made(b"k", b"\x01\x02")
    assert not state.visible
    assert state.types == ()
    with pytest.raises(KeyNotFound) as raised:
        _ = state.value
    assert raised.value.context == b"\x01\x02"


def test_states_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        made(b"k", b"c").key = b"x"


def test_a_sum_beyond_64_bits_is_exact() -> None:
    message = types_pb2.CounterValue(value=2**63 - 1, exact=str(2**64 + 5))
    assert counter_of(message) == 2**64 + 5


def test_every_field_of_a_state_arrives() -> None:
    dot = types_pb2.Dot(origin=2**64 - 1, seq=3)
    value = types_pb2.StoredValue(value=b"\x00\xff", dot=dot, time_ms=5, node="JFK")
    message = types_pb2.KeyState(
        key=b"k",
        context=b"c",
        g_counter=types_pb2.CounterValue(value=0),
        pn_counter=types_pb2.CounterValue(value=-1),
        lww_register=value,
        siblings=types_pb2.Siblings(values=[value, value]),
    )
    item = StoredValue(b"\x00\xff", Dot(2**64 - 1, 3), 5, "JFK")
    assert key_state_of(message) == Conflict(b"k", b"c", 0, -1, item, (item, item))


def test_absent_is_not_zero() -> None:
    state = key_state_of(types_pb2.KeyState(key=b"k"))
    assert (state.g_counter, state.pn_counter, state.register, state.siblings) == (
        None,
        None,
        None,
        (),
    )


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (b"user:1", "'user:1'"),
        ("\u00e9".encode(), "'\u00e9'"),
        (b"\x00\xff", "b'\\x00\\xff'"),
        (b"a\nb", "'a\\nb'"),
        (b"x" * 41, "'" + "x" * 40 + "'... (41 bytes)"),
    ],
)
def test_messages_quote_bytes_on_one_line(raw: bytes, text: str) -> None:
    assert shown(raw) == text


def test_receipts_of_one_commit_do_not_share_their_vector() -> None:
    """It is parsed once for all of them."""
    dot = types_pb2.Dot(origin=1, seq=2)
    message = types_pb2.VersionVector(entries=[dot])
    first, second = vector_of(message), vector_of(message)
    first[1] = 9
    assert second == vector_of(message) == {1: 2}
    assert vector_of(types_pb2.VersionVector()) == {}
