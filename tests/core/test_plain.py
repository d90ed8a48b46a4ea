"""What is told of plain entries and of their bytes is what the way through their types tells."""

from __future__ import annotations

from itertools import product

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st
from xxhash import xxh3_128

from kvnode.core.digest import key_digest
from kvnode.core.entry import (
    HEAD_BYTES,
    VERSION,
    Entry,
    deadlines,
    decode_entry,
    encode_entry,
    entry_hash,
    garbage_dots,
    in_conflict,
    opened,
)
from kvnode.core.plain import plain_hash, plain_packed, value_packer
from kvnode.core.types import COUNTERS, G_COUNTER, LWW_REGISTER, PN_COUNTER, SIBLINGS
from kvnode.core.types.slots import NO_DOT

NONE: frozenset[tuple[int, int]] = frozenset()
NUMBERS = (0, 1, 127, 128, 255, 256, 2**16 - 1, 2**16, 2**32 - 1, 2**32, 2**64 - 1)
SIZES = (0, 1, 31, 32, 255, 256, 65_535, 65_536)
VALUES = (b"\xc0", *(b"\x90" * size for size in SIZES))
SEQ = 0x90
"""Ends like an empty list."""
DEADLINE = 1_700_000_000_000
ONE: Entry = {SIBLINGS: ({(1, 2): (3, b"v")}, NONE)}
PACK = msgpack.Packer().pack

NOT_PLAIN: dict[str, Entry] = {
    "nothing": {},
    "two siblings": {SIBLINGS: ({(1, 2): (3, b"v"), (2, 2): (3, b"w")}, NONE)},
    "one that expires": {SIBLINGS: ({(1, 2): (3, b"v", DEADLINE)}, NONE)},
    "an awaited dot": {SIBLINGS: ({(1, 2): (3, b"v")}, frozenset({(SEQ, SEQ)}))},
    "an awaited dot alone": {SIBLINGS: ({}, frozenset({(SEQ, SEQ)}))},
    "a tombstone": {LWW_REGISTER: (3, 1, 2, None)},
    "a register that expires": {LWW_REGISTER: (3, 1, 2, b"v", DEADLINE)},
    "two types": {**ONE, LWW_REGISTER: (3, 1, 2, b"v")},
    "a counter with a baseline": {PN_COUNTER: {(1, 2): (3, 0, 2, 0, 5, (1, 4), NO_DOT)}},
    "one with a baseline of what it took away": {
        PN_COUNTER: {(1, 2): (3, 9, 0, 9, 5, NO_DOT, (1, 4))}
    },
    "one whose delete is not known": {G_COUNTER: {(1, 2): (3, 0, 3, 0, 5, NO_DOT, NO_DOT)}},
    "one with a slot that counts nothing": {
        G_COUNTER: {
            (1, 2): (3, 0, 0, 0, 5, NO_DOT, NO_DOT),
            (2, 2): (0, 0, 0, 0, 5, NO_DOT, NO_DOT),
        }
    },
}

numbers = st.sampled_from(NUMBERS) | st.integers(0, 2**64 - 1)
counts = st.sampled_from((0, 0, *NUMBERS[:-1])) | st.integers(0, 2**63 - 1)
dots = st.tuples(numbers, numbers)
values = st.sampled_from(VALUES) | st.binary(max_size=300)
times = st.integers(1, 2 * DEADLINE)
states: dict[int, st.SearchStrategy[object]] = {
    LWW_REGISTER: st.tuples(numbers, numbers, numbers, values | st.none())
    | st.tuples(numbers, numbers, numbers, values, times),
    SIBLINGS: st.tuples(
        st.dictionaries(
            dots, st.tuples(numbers, values) | st.tuples(numbers, values, times), max_size=3
        ),
        st.frozensets(dots, max_size=2) | st.just(NONE),
    ),
} | {
    kind: st.dictionaries(
        dots,
        st.tuples(counts, counts, st.just(0), st.just(0), numbers, st.just(NO_DOT), st.just(NO_DOT))
        | st.tuples(counts, counts, counts, counts, numbers, dots, dots),
        max_size=4,
    )
    for kind in COUNTERS
}
long, short = st.integers(2**32, 2**64 - 1), st.integers(2**16, 2**32 - 1)
usual: dict[int, st.SearchStrategy[object]] = {
    LWW_REGISTER: st.tuples(long, long, short, values | st.none()),
    SIBLINGS: st.tuples(
        st.dictionaries(st.tuples(long, short), st.tuples(long, values), min_size=1, max_size=1),
        st.frozensets(dots, max_size=1),
    ),
}
"""Of the lengths that one look tells to be plain, and of what looks much like it."""
entries = st.one_of(
    [st.fixed_dictionaries({kind: state}) for kind, state in (*states.items(), *usual.items())]
)
mixed = st.fixed_dictionaries({}, optional=states)


def hash_by_definition(key: bytes, packed: bytes) -> bytes:
    """Of both, one after the other."""
    hashed = xxh3_128(seed=len(key))
    hashed.update(key)
    hashed.update(packed)
    return hashed.digest()


def check(key: bytes, entry: Entry) -> bool:
    """Whether the entry is plain; it must be the same for the entry and for its bytes."""
    raw = encode_entry(entry, key)
    packed, hashed = plain_packed(entry, PACK), plain_hash(key, raw)
    if packed is None:
        assert hashed is None
        return False
    assert hashed == hash_by_definition(key, packed)
    assert raw == VERSION + hashed[:4] + packed
    of_the_key = (1, int.from_bytes(hashed, "big"))
    assert key_digest(key, entry, DEADLINE) == key_digest(key, entry) == of_the_key
    assert not any((deadlines(entry), garbage_dots(entry, DEADLINE), in_conflict(entry, 0)))
    return True


@given(st.binary(min_size=1, max_size=480), entries | mixed)
def test_a_short_way_leads_where_the_long_one_does(key: bytes, entry: Entry) -> None:
    check(key, entry)


@pytest.mark.parametrize("value", VALUES, ids=lambda value: str(len(value)))
def test_one_value_is_plain(value: bytes) -> None:
    for origin, seq, hlc in product(NUMBERS, NUMBERS, (0, 2**63)):
        assert check(b"key", {SIBLINGS: ({(origin, seq): (hlc, value)}, NONE)})
        assert check(b"key", {LWW_REGISTER: (hlc, origin, seq, value)})


@pytest.mark.parametrize("slots", [1, 2, 3, 10])
def test_a_counter_is_plain(slots: int) -> None:
    for birth, inc, dec in product(NUMBERS, NUMBERS[:-1], NUMBERS[:-1]):
        if inc or dec:
            slot = (inc, dec, 0, 0, 2**63, NO_DOT, NO_DOT)
            assert check(b"key", {PN_COUNTER: {(origin, birth): slot for origin in range(slots)}})


@pytest.mark.parametrize("name", NOT_PLAIN)
def test_what_may_need_more_is_not_plain(name: str) -> None:
    assert not check(b"key", NOT_PLAIN[name])


@given(entries, st.data())
def test_cut_or_changed_bytes_fail_their_checksum_and_harm_nobody(
    entry: Entry, data: st.DataObject
) -> None:
    whole = encode_entry(entry, b"key")
    assert plain_hash(b"other", whole) is None
    at = data.draw(st.integers(0, len(whole) - 1))
    changed = whole[:at] + bytes([whole[at] ^ 0x84]) + whole[at + 1 :]
    assert plain_hash(b"key", whole[:at]) is plain_hash(b"key", changed) is None


@given(entries, st.binary(min_size=1, max_size=8), st.data())
def test_bytes_of_another_form_are_not_plain_whatever_their_checksum_says(
    entry: Entry, more: bytes, data: st.DataObject
) -> None:
    """Not even by an error: they may come from another node."""
    packed = encode_entry(entry)[5:]
    at = data.draw(st.integers(0, len(packed)))
    for other in (packed[:at], packed[:at] + more, packed + more):
        check_resealed(packed, other)


@pytest.mark.parametrize("kind", [LWW_REGISTER, SIBLINGS])
def test_one_look_is_not_taken_in(kind: int) -> None:
    """Likewise where all bytes that it looks at may be right."""
    value: Entry = {LWW_REGISTER: (2**60, 2**63, 2**20, b"value\x90")}
    if kind == SIBLINGS:
        value = {SIBLINGS: ({(2**63, 2**20): (2**60, b"value\x90")}, NONE)}
    packed = encode_entry(value)[5:]
    for at in range(len(packed) + 1):
        for other in (packed[:at], packed[:at] + b"\x90" + packed[at:]):
            check_resealed(packed, other)
        for byte in range(256):
            check_resealed(packed, packed[:at] + bytes([byte]) + packed[at + 1 :])


def check_resealed(packed: bytes, other: bytes) -> None:
    """What is not ``packed``, with a right checksum, is told to be plain only if it is."""
    raw = VERSION + entry_hash(b"key", other)[:4] + other
    told = plain_hash(b"key", raw)
    if other != packed and told is not None:  # it is another one, by chance
        entry = decode_entry(raw, b"key")
        if encode_entry(entry, b"key") == raw:  # numbers are in their shortest form, as always
            assert int.from_bytes(told, "big") == key_digest(b"key", entry).sum


@pytest.mark.parametrize("kind", [LWW_REGISTER, SIBLINGS])
def test_a_packed_value_is_what_would_be_stored(kind: int) -> None:
    """Byte for byte, whatever the widths: digests of nodes that came to it otherwise are the same.

    All of them in turn: what is common, and packed in a way of its own, is little among them.
    """
    for origin, seq, hlc in product((*NUMBERS, 2**63 + 7), (*NUMBERS, 2**20 + 7), NUMBERS):
        for value in VALUES:
            entry: Entry = (
                {kind: (hlc, origin, seq, value)}
                if kind == LWW_REGISTER
                else {kind: ({(origin, seq): (hlc, value)}, NONE)}
            )
            packed = value_packer(kind, origin)(seq, hlc, value)
            assert packed == encode_entry(entry, b"k")[HEAD_BYTES:]
            assert opened(packed) == entry
            assert opened(entry) is entry
