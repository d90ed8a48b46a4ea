"""A healed key is what it would have been, and repairing a difference loses no value."""

from __future__ import annotations

from random import Random

import pytest

from kvnode.core.block import decode_block
from kvnode.core.entry import Entry, encode_entry
from kvnode.core.operations import Delete, Increment, Operation, Put
from kvnode.core.repair import caught_up, common, latest_hlc, removed_ahead, touches, union
from kvnode.core.types import G_COUNTER, LWW_REGISTER, PN_COUNTER, SIBLINGS
from kvnode.core.types.slots import Slot
from tests.core.memory_node import MemoryNode, converge

KEYS = (b"s", b"p", b"r")


def slot(inc: int, dec: int, base_inc: int, base_dec: int, hlc: int) -> Slot:
    """A counter slot; who deleted from it does not matter here."""
    return (inc, dec, base_inc, base_dec, hlc, (0, 0), (0, 0))


def busy(seed: int) -> list[MemoryNode]:
    """Three nodes that wrote and pulled at random, some far behind others."""
    chance = Random(seed)
    nodes = [MemoryNode(origin) for origin in (1, 2, 3)]
    for number in range(60):
        node, reader = chance.choice(nodes), chance.choice(nodes)
        value = b"%d" % number
        wishes: list[Operation] = [
            Put(b"s", value),
            Put(b"s", value, blind=True),
            # a context of another node names dots that this one has not received
            Put(b"s", value, context=reader.context(b"s")),
            Delete(b"s", context=reader.context(b"s")),
            Put(b"r", value, LWW_REGISTER),
            Delete(b"r"),
            Increment(b"p", chance.randrange(-5, 0)),
            Increment(b"p", 3),
            Delete(b"p"),
        ]
        node.write(chance.choice(wishes))
        if chance.random() < 0.25:
            node.pull(reader)
    return nodes


def heal(node: MemoryNode, member: MemoryNode, key: bytes) -> None:
    """As a node does with a key that is damaged on its disk."""
    blocks = [decode_block(raw) for raw in node.log.lacking(member.vector, 1 << 30)[0]]
    seen = common(node.vector, member.vector)
    ahead = [decode_block(raw) for raw in member.log.lacking(node.vector, 1 << 30)[0]]
    removed = removed_ahead(key, member.entry(key), ahead)
    entry = caught_up(key, member.entry(key), removed, seen, blocks)
    node.memtable.install({key: entry}, 0)


@pytest.mark.parametrize("seed", range(40))
def test_a_healed_key_ends_as_if_it_had_never_been_damaged(seed: int) -> None:
    """Also healed from a member that is ahead, or behind, or both."""
    nodes = busy(seed)
    for key in KEYS:
        heal(nodes[0], nodes[1], key)
    converge(nodes)
    for key in KEYS:
        assert len({encode_entry(node.entry(key)) for node in nodes}) == 1, key


@pytest.mark.parametrize("seed", range(10))
def test_healing_from_a_member_that_is_behind_gives_the_very_entry(seed: int) -> None:
    nodes = busy(seed)
    nodes[0].pull(nodes[1])
    for key in KEYS:
        before = encode_entry(nodes[0].entry(key))
        heal(nodes[0], nodes[1], key)
        assert encode_entry(nodes[0].entry(key)) == before


def test_an_own_removal_of_what_had_not_arrived_is_remembered() -> None:
    """The member has received the value; this node must not show it when it arrives."""
    writer, member, node = MemoryNode(1), MemoryNode(2), MemoryNode(3)
    writer.write(Put(b"s", b"old"))
    member.pull(writer)
    node.write(Put(b"s", b"new", context=writer.context(b"s")))
    heal(node, member, b"s")
    node.pull(writer)
    assert [value for _, value in node.entry(b"s")[SIBLINGS][0].values()] == [b"new"]


def test_a_union_holds_all_that_either_side_holds() -> None:
    vector = {1: 9, 2: 9}
    a: Entry = {
        SIBLINGS: ({(1, 1): (5, b"x"), (1, 2): (5, b"y")}, frozenset({(2, 5), (3, 1)})),
        PN_COUNTER: {(1, 3): slot(5, 1, 0, 0, 9), (1, 4): slot(2, 0, 0, 0, 9)},
    }
    b: Entry = {
        SIBLINGS: ({(1, 2): (5, b"y"), (2, 5): (6, b"z")}, frozenset()),
        PN_COUNTER: {(1, 3): slot(4, 2, 1, 0, 8)},
        LWW_REGISTER: (7, 1, 1, b"v"),
    }
    expected: Entry = {
        SIBLINGS: (
            {(1, 1): (5, b"x"), (1, 2): (5, b"y"), (2, 5): (6, b"z")},
            frozenset({(3, 1)}),
        ),
        PN_COUNTER: {(1, 3): slot(5, 2, 1, 0, 9), (1, 4): slot(2, 0, 0, 0, 9)},
        LWW_REGISTER: (7, 1, 1, b"v"),
    }
    assert union(a, b, vector) == union(b, a, vector) == expected
    assert union(a, {}, vector)[PN_COUNTER] == a[PN_COUNTER]
    assert union({}, {}, vector) == {}


def test_the_latest_time_of_an_entry() -> None:
    """A node that takes an entry from elsewhere must not write behind it (trap 7's other half)."""
    assert latest_hlc({}) == 0
    assert latest_hlc({LWW_REGISTER: (7, 1, 1, None)}) == 7
    assert latest_hlc({G_COUNTER: {(1, 3): slot(5, 0, 0, 0, 9)}, LWW_REGISTER: (7, 1, 1, b"")}) == 9
    assert latest_hlc({SIBLINGS: ({(1, 1): (11, b"x")}, frozenset())}) == 11
    assert latest_hlc({SIBLINGS: ({}, frozenset({(3, 1)}))}) == 0


def test_which_keys_a_block_touches() -> None:
    node = MemoryNode(1)
    node.write(Put(b"a", b""), Delete(b"nothing there"), Increment(b"b", 1))
    assert touches(node.last_block, frozenset({b"b", b"c"})) == {b"b"}
