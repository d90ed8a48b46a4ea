"""The quick ways of an entry that is one value are those of every entry."""

from __future__ import annotations

import msgpack
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kvnode.core.context import cell_token, entry_token, stamp_token
from kvnode.core.entry import (
    CHECKSUM_BYTES,
    REGISTER_LIST,
    SIBLING_LIST,
    VERSION,
    Entry,
    checked_entry,
    decode_entry,
    encode_entry,
    entry_hash,
    in_conflict,
    only_value,
    opened,
    packed_value,
    plain_entry,
    plain_value,
    unpacked_entry,
    visible_types,
)
from kvnode.core.errors import StateError
from kvnode.core.types import COUNTERS, LWW_REGISTER, SIBLINGS, TYPES, pncounter, siblings
from kvnode.core.types.slots import NO_DOT
from tests.core.memory_node import SECRET

NOW = 1_700_000_000_000
edges = st.sampled_from([0, 1, 127, 128, 255, 256, 2**16 - 1, 2**16, 2**32 - 1, 2**32, 2**64 - 1])
numbers = edges | st.integers(0, 2**64 - 1)
values = st.binary(max_size=300) | st.sampled_from([bytes(n) for n in (0, 1, 255, 256, 65_536)])
times = st.sampled_from([NOW - 1, NOW, NOW + 1])
dots = st.tuples(numbers, numbers)
registers = st.one_of(
    st.tuples(numbers, numbers, numbers, st.none() | values),
    st.tuples(numbers, numbers, numbers, values, times),
)
held = st.one_of(st.tuples(numbers, values), st.tuples(numbers, values, times))
sibling_states = st.tuples(
    st.dictionaries(dots, held, max_size=3), st.frozensets(dots, max_size=1)
).filter(lambda state: state != siblings.EMPTY)
slots = st.dictionaries(
    dots,
    st.tuples(numbers, numbers, numbers, numbers, numbers, dots, dots).map(
        lambda slot: (
            *slot[:5],
            *((slot[5], slot[6]) if slot[2] or slot[3] else (NO_DOT, NO_DOT)),
        )
    ),
    min_size=1,
    max_size=3,
)
some = st.fixed_dictionaries(
    {},
    optional={
        LWW_REGISTER: registers,
        SIBLINGS: sibling_states,
        **dict.fromkeys(COUNTERS, slots),
    },
)
"""Any entry: of no type, of one or of several."""
alone = st.one_of(
    st.builds(lambda state: {LWW_REGISTER: state}, registers),
    st.builds(lambda state: {SIBLINGS: state}, sibling_states),
)
"""Of one type, as almost all are."""
any_entry = st.one_of(alone, some)

WRITTEN: list[Entry] = [
    {LWW_REGISTER: (NOW << 16, 2**63 + 1, 70_000, b"value")},
    {SIBLINGS: ({(2**63 + 1, 70_000): (NOW << 16, b"value")}, siblings.NO_DOTS)},
    {LWW_REGISTER: (NOW << 16, 2**63 + 1, 1_000, b"a value")},
    {SIBLINGS: ({(2**63 + 1, 1_000): (NOW << 16, b"value")}, siblings.NO_DOTS)},
]
"""As a cluster writes them."""


@given(any_entry, st.binary(max_size=20))
@example(WRITTEN[0], b"k")
@example(WRITTEN[1], b"k")
def test_entries_come_back(entry: Entry, key: bytes) -> None:
    assert decode_entry(encode_entry(entry, key), key) == entry


@pytest.mark.parametrize("entry", WRITTEN)
def test_what_is_told_without_unpacking_is_what_unpacking_tells(entry: Entry) -> None:
    """Whatever single byte is another one, or whatever is cut or added."""
    packed = encode_entry(entry)[5:]
    assert plain_entry(packed) == unpacked_entry(packed) == entry
    for at in range(len(packed)):
        agree(packed[:at])
        for byte in range(256):
            agree(packed[:at] + bytes([byte]) + packed[at + 1 :])
    agree(packed + b"\x90")
    agree(packed + b"\0")


@pytest.mark.parametrize("entry", [*WRITTEN, {LWW_REGISTER: (NOW << 16, 2**63 + 1, 70_000, None)}])
def test_an_entry_is_held_packed_only_if_its_checksum_fits(entry: Entry) -> None:
    raw = encode_entry(entry, b"k")
    assert opened(checked_entry(raw, b"k")) == entry
    damaged = [raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :] for at in range(len(raw))]
    for other in (*damaged, raw[:-1], raw + b"\x90", b""):
        with pytest.raises(StateError):
            checked_entry(other, b"k")
    with pytest.raises(StateError):
        checked_entry(raw, b"l")


@pytest.mark.parametrize("packed", [
    REGISTER_LIST + b"".join(map(msgpack.packb, (5, 1, 1, "text"))),
    SIBLING_LIST + b"".join(map(msgpack.packb, (1, 1, 5, "text"))) + b"\x90",
    SIBLING_LIST + b"\xcf\1",
])  # fmt: skip
def test_what_begins_like_a_value_and_is_none_is_found_before_it_is_held(packed: bytes) -> None:
    """Its checksum fits: a faulty peer sent it. Found later, a logged block could not be merged."""
    raw = VERSION + entry_hash(b"k", packed)[:CHECKSUM_BYTES] + packed
    with pytest.raises(StateError):
        checked_entry(raw, b"k")


def agree(packed: bytes) -> None:
    told, value = plain_entry(packed), packed_value(packed)
    assert (told is None) == (value is None)
    if told is not None:
        assert told == unpacked_entry(packed)
        assert value == only_value(told, NOW)


@given(any_entry)
def test_what_is_told_of_any_entry_is_what_unpacking_tells(entry: Entry) -> None:
    packed = encode_entry(entry)[5:]
    assert plain_entry(packed) in (None, entry)
    assert unpacked_entry(packed) == entry


numbers_of_all_kinds = st.none() | st.booleans() | st.integers(-1, 2**63) | st.floats()
junk = st.recursive(
    numbers_of_all_kinds | st.binary(max_size=3) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=6),
    max_leaves=20,
)


@given(st.sampled_from(sorted(TYPES)), junk)
def test_a_state_is_taken_only_in_the_form_it_is_stored_in(kind: int, raw: object) -> None:
    packed = msgpack.packb([kind, raw])
    try:
        entry = unpacked_entry(packed)
    except StateError:
        return
    assert encode_entry(entry)[5:] == packed or kind in (SIBLINGS, *COUNTERS)  # any order


@given(any_entry, st.sampled_from([NOW, NOW + 1]))
def test_types_are_visible_one_by_one(entry: Entry, now: int) -> None:
    assert visible_types(entry, now) == [
        kind for kind in sorted(entry) if TYPES[kind].visible(entry[kind], now)
    ]


@given(any_entry, st.sampled_from([NOW, NOW + 1]))
@example({SIBLINGS: ({(1, 1): (5, b"v"), (2, 1): (5, b"w", NOW + 1)}, siblings.NO_DOTS)}, NOW)
@example({SIBLINGS: ({(1, 1): (5, b"v"), (2, 1): (5, b"w", NOW + 1)}, siblings.NO_DOTS)}, NOW + 1)
def test_the_only_value_is_that_of_what_is_in_no_conflict(entry: Entry, now: int) -> None:
    found, types = only_value(entry, now), visible_types(entry, now)
    assert (found is None) == in_conflict(entry, now)
    if found is None:
        return
    kind, value = found
    assert types == ([kind] if kind else [])
    if kind in COUNTERS:
        assert value == pncounter.value(entry[kind])
    elif kind == LWW_REGISTER:
        assert value == entry[kind][3]
    elif kind == SIBLINGS:
        assert [value] == [each[1] for each in siblings.shown(entry[kind], now).values()]


@given(any_entry, st.sampled_from([0, NOW, 2**62]))
@example(WRITTEN[0], 0)
@example(WRITTEN[1], 0)
def test_a_plain_value_is_all_there_is_to_see(entry: Entry, now: int) -> None:
    plain = plain_value(entry)
    if plain is None:
        assert entry not in WRITTEN
        return
    kind, hlc, origin, seq, value = plain
    assert visible_types(entry, now) == [kind]
    if kind == LWW_REGISTER:
        assert entry == {kind: (hlc, origin, seq, value)}
        token = stamp_token(b"k", hlc, origin, seq, SECRET)
    else:
        assert entry[kind][0] == {(origin, seq): (hlc, value)}
        token = cell_token(b"k", SIBLINGS, [origin, seq], SECRET)
    assert token == entry_token(b"k", entry, SECRET, now)


@given(st.binary(max_size=20), numbers, numbers, numbers)
@example(b"k", NOW << 16, 2**63, 70_000)
def test_the_token_of_a_stamp_is_the_registers(key: bytes, hlc: int, origin: int, seq: int) -> None:
    expected = cell_token(key, LWW_REGISTER, [hlc, origin, seq], SECRET)
    assert stamp_token(key, hlc, origin, seq, SECRET) == expected
