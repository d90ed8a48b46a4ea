"""Digests: the same for the same live values, whatever lies around them; different else."""

from __future__ import annotations

from itertools import pairwise
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvnode.core.digest import ABSENT, Digest, is_boundary, key_digest, live_dots
from kvnode.core.entry import Entry, decode_entry, encode_entry
from kvnode.core.errors import StateError
from kvnode.core.operations import Delete, Increment, Operation, Put
from kvnode.core.types import G_COUNTER, LWW_REGISTER, PN_COUNTER, SIBLINGS
from kvnode.core.types.slots import Slot
from tests.core.memory_node import MemoryNode, converge

digests = st.builds(Digest, st.integers(0, 2**40), st.integers(0, 2**128 - 1))


def slot(inc: int, dec: int, base_inc: int, base_dec: int, hlc: int) -> Slot:
    """A counter slot; who deleted from it does not matter here."""
    return (inc, dec, base_inc, base_dec, hlc, (0, 0), (0, 0))


def total(entries: dict[bytes, Entry]) -> Digest:
    """Of a whole state."""
    found = ABSENT
    for key, entry in entries.items():
        found = found.plus(key_digest(key, entry))
    return found


@given(digests, digests, digests)
def test_sums_can_be_taken_apart_and_put_together(a: Digest, b: Digest, c: Digest) -> None:
    assert a.plus(b) == b.plus(a)
    assert a.plus(b).plus(c) == a.plus(b.plus(c))
    assert a.plus(b).minus(a) == b
    assert a.plus(ABSENT) == a


def test_trap_19_equal_states_have_equal_digests() -> None:
    """The order of slots and dots in maps, and of the keys, does not count."""
    slots = {(1, 1): slot(5, 0, 0, 0, 9), (2, 4): slot(3, 1, 0, 0, 8), (7, 2): slot(1, 0, 1, 0, 7)}
    held = {(1, 9): (5, b"x"), (3, 2): (6, b"y")}
    forth: Entry = {PN_COUNTER: slots, SIBLINGS: (held, frozenset())}
    back: Entry = {
        SIBLINGS: (dict(reversed(held.items())), frozenset()),
        PN_COUNTER: dict(reversed(slots.items())),
    }
    assert list(forth) != list(back)
    assert key_digest(b"k", forth) == key_digest(b"k", back)
    assert total({b"a": forth, b"b": {}}) == total({b"b": {}, b"a": back})


def test_trap_19_what_is_collected_in_its_own_time_does_not_count() -> None:
    """Tombstones, spent slots, and awaited removals: each replica drops its own."""
    tombstone: Entry = {LWW_REGISTER: (9, 1, 2, None)}
    spent: Entry = {G_COUNTER: {(1, 1): slot(5, 0, 5, 0, 9)}}
    awaiting: Entry = {SIBLINGS: ({}, frozenset({(1, 7)}))}
    for dead in (tombstone, spent, awaiting, {**tombstone, **spent, **awaiting}):
        assert key_digest(b"k", dead) == ABSENT
        assert live_dots(dead) == []
    value: Entry = {LWW_REGISTER: (9, 1, 2, b"")}
    for dead in (spent, awaiting):
        assert key_digest(b"k", {**value, **dead}) == key_digest(b"k", value)
    one: Entry = {PN_COUNTER: {(1, 1): slot(5, 0, 0, 0, 9)}}
    other: Entry = {PN_COUNTER: {(1, 1): slot(5, 0, 0, 0, 9), (2, 2): slot(4, 4, 4, 4, 1)}}
    assert key_digest(b"k", one) == key_digest(b"k", other)


def test_every_live_difference_counts() -> None:
    """Two states under one digest would make verify a liar."""
    entries: list[Entry] = [
        {},
        {LWW_REGISTER: (9, 1, 2, b"v")},
        {LWW_REGISTER: (9, 1, 2, b"w")},
        {LWW_REGISTER: (9, 1, 3, b"v")},
        {LWW_REGISTER: (10, 1, 2, b"v")},
        {SIBLINGS: ({(1, 2): (9, b"v")}, frozenset())},
        {SIBLINGS: ({(1, 2): (9, b"v"), (2, 2): (9, b"v")}, frozenset())},
        {PN_COUNTER: {(1, 1): slot(5, 0, 0, 0, 9)}},
        {PN_COUNTER: {(1, 1): slot(6, 1, 0, 0, 9)}},
        {PN_COUNTER: {(1, 1): slot(6, 0, 1, 0, 9)}},
        {G_COUNTER: {(1, 1): slot(5, 0, 0, 0, 9)}},
        {G_COUNTER: {(1, 1): slot(5, 0, 0, 0, 9)}, LWW_REGISTER: (9, 1, 2, b"v")},
    ]
    found = {key_digest(key, entry) for entry in entries for key in (b"k", b"l") if entry}
    assert len(found) == 2 * (len(entries) - 1)
    assert all(digest.keys == 1 for digest in found)


def test_the_live_dots_are_those_of_what_is_shown() -> None:
    entry: Entry = {
        LWW_REGISTER: (9, 5, 2, b"v"),
        PN_COUNTER: {(3, 1): slot(5, 0, 0, 0, 9), (4, 1): slot(5, 0, 5, 0, 9)},
        SIBLINGS: ({(1, 2): (9, b"v")}, frozenset({(8, 8)})),
    }
    assert live_dots(entry) == [(1, 2), (3, 1), (5, 2)]


def test_replicas_that_have_seen_the_same_have_one_digest() -> None:
    """In whatever order they saw it, and after their entries went through storage (P3, P10)."""
    chance = Random(8)
    nodes = [MemoryNode(origin) for origin in (1, 2, 3)]
    keys = [b"k%d" % number for number in range(6)]
    for _ in range(200):
        node, key = chance.choice(nodes), chance.choice(keys)
        wishes: list[Operation] = [
            Put(key, b"v%d" % chance.randrange(9), blind=chance.random() < 0.3),
            Put(key + b"r", b"v", LWW_REGISTER),
            Increment(key + b"c", chance.randrange(1, 9)),
            Delete(key),
            Delete(key + b"r"),
            Delete(key + b"c"),
        ]
        node.write(chance.choice(wishes))
        if chance.random() < 0.3:
            node.pull(chance.choice(nodes))
        if chance.random() < 0.1:
            node.checkpoint()
    seen = {total(_entries(node)) for node in nodes}
    assert len(seen) > 1, "they agreed before they met: this shows nothing"
    converge(nodes)
    assert len({total(_entries(node)) for node in nodes}) == 1


def _entries(node: MemoryNode) -> dict[bytes, Entry]:
    return {
        key: decode_entry(raw, key)
        for key, raw in node.encoded().items()
        if decode_entry(raw, key) != {}
    }


def test_boundaries_come_about_once_in_a_segment() -> None:
    keys = [b"user:%08d" % number for number in range(50_000)]
    starts = [number for number, key in enumerate(keys) if is_boundary(key)]
    assert 25 < len(starts) < 90
    assert max(b - a for a, b in pairwise(starts)) < 10_000


def test_an_entrys_digest_survives_its_stored_form() -> None:
    entry: Entry = {SIBLINGS: ({(1, 2): (9, b"v")}, frozenset())}
    assert key_digest(b"k", decode_entry(encode_entry(entry))) == key_digest(b"k", entry)


def test_an_entry_under_another_key_fails_its_checksum() -> None:
    """A bit that flips in a key must not make another key's value of it."""
    entry: Entry = {LWW_REGISTER: (1 << 20, 5, 1, b"v")}
    raw = encode_entry(entry, b"plain/0001")
    assert decode_entry(raw, b"plain/0001") == entry
    with pytest.raises(StateError, match="checksum"):
        decode_entry(raw, b"plain/0003")
