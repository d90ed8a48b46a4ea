"""The loser journal's rows: what a register drops while concurrent, and nothing else."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from kvnode.core.absorbing import changes_of
from kvnode.core.block import decode_block
from kvnode.core.dots import Covered
from kvnode.core.losers import Loser, loser_of
from kvnode.core.operations import Delete, Put
from kvnode.core.types import LWW_REGISTER
from tests.core.memory_node import WALL_MS, MemoryNode

LATER_MS = WALL_MS + 1000


def written(origin: int, *values: bytes, wall_ms: int = WALL_MS) -> MemoryNode:
    """A node that put these into the register ``k``, one after the other."""
    node = MemoryNode(origin)
    for value in values:
        node.write(Put(b"k", value, LWW_REGISTER), wall_ms=wall_ms)
    return node


def pulled(here: MemoryNode, there: MemoryNode) -> list[Loser]:
    """What ``here`` journals when it takes all it lacks from ``there``."""
    raws = there.log.lacking(here.vector, 1 << 30)[0]
    return here.commit(blocks=[decode_block(raw) for raw in raws]).losers


def values(losers: Iterable[Loser]) -> list[bytes]:
    return [loser.value for loser in losers]


def test_the_value_that_loses_is_named_with_both_clocks_on_both_sides() -> None:
    """P4: whichever side the loser was on."""
    early, late = written(1, b"early"), written(2, b"late", wall_ms=LATER_MS)
    (here,) = pulled(early, late)
    (there,) = pulled(late, early)
    assert here == there
    assert (here.key, here.value, here.dot) == (b"k", b"early", (1, 1))
    assert (here.winner_dot, here.winner_deleted) == ((2, 1), False)
    assert here.hlc >> 16 == WALL_MS
    assert here.winner_hlc >> 16 == LATER_MS


def test_equal_times_are_decided_and_journalled_alike() -> None:
    first, second = written(1, b"first"), written(2, b"second")
    assert pulled(first, second) == pulled(second, first)
    assert first.encoded() == second.encoded()


def test_what_was_overwritten_by_who_had_seen_it_is_not_lost() -> None:
    """Also where the overwriting node learned of it from a third one, and on a fourth."""
    first, second, last = written(1, b"a", b"b"), MemoryNode(2), MemoryNode(3)
    assert pulled(second, first) == []
    second.write(Put(b"k", b"c", LWW_REGISTER))
    second.write(Delete(b"k"))
    assert pulled(first, second) == []
    assert pulled(last, second) == []


def test_own_writes_over_what_was_received_are_no_losses_also_when_replayed() -> None:
    node = written(1, b"mine")
    other = written(2, b"theirs", wall_ms=LATER_MS)
    assert values(pulled(node, other)) == [b"mine"]
    node.write(Put(b"k", b"again", LWW_REGISTER))
    fresh = MemoryNode(1)
    losers: list[Loser] = []
    for _, raw in node.log.replay(0):
        block = decode_block(raw)
        round_ = fresh.replica.replay([(block, changes_of(block))])
        fresh.memtable.install(round_.overlay, 0)
        losers += round_.losers
    assert values(losers) == [b"mine"], "a replay finds what the first run found"


def test_a_delete_that_wins_over_a_concurrent_value_is_journalled() -> None:
    base = written(1, b"base")
    deleting, putting = MemoryNode(2), MemoryNode(3)
    for node in (deleting, putting):
        node.pull(base)
    putting.write(Put(b"k", b"new", LWW_REGISTER))
    deleting.write(Delete(b"k"), wall_ms=LATER_MS)
    (loser,) = pulled(putting, deleting)
    assert (loser.value, loser.winner_deleted) == (b"new", True)
    assert pulled(deleting, putting) == [loser]


def test_a_delete_that_loses_loses_no_value() -> None:
    base = written(1, b"base")
    deleting, putting = MemoryNode(2), MemoryNode(3)
    for node in (deleting, putting):
        node.pull(base)
    deleting.write(Delete(b"k"))
    putting.write(Put(b"k", b"new", LWW_REGISTER), wall_ms=LATER_MS)
    assert pulled(putting, deleting) == []
    assert pulled(deleting, putting) == []


def test_siblings_lose_nothing() -> None:
    left, right = MemoryNode(1), MemoryNode(2)
    left.write(Put(b"k", b"left"))
    right.write(Put(b"k", b"right"))
    assert pulled(left, right) == []


def test_a_replica_that_has_the_winner_sees_also_what_the_loser_s_origin_replaced() -> None:
    """Documented in the module: more rows, never fewer than the last word of an origin."""
    losing = written(1, b"draft", b"final")
    winning = written(2, b"winner", wall_ms=LATER_MS)
    assert values(pulled(winning, losing)) == [b"draft", b"final"]
    assert values(pulled(losing, written(2, b"winner", wall_ms=LATER_MS))) == [b"final"]


@pytest.mark.parametrize("swapped", [False, True])
def test_states_of_two_holders_lose_what_the_winner_s_holder_had_not_seen(*, swapped: bool) -> None:
    """The form a snapshot uses."""
    low, high = (5, 1, 7, b"low"), (6, 2, 9, b"high")

    def lost(seen_by_winner: dict[int, int]) -> Loser | None:
        sides = [(low, Covered({1: 7})), (high, Covered(seen_by_winner))]
        (a, seen_a), (b, seen_b) = reversed(sides) if swapped else sides
        return loser_of(b"k", a, b, seen_a, seen_b)

    found = lost({2: 9, 1: 6})
    assert found is not None
    assert (found.value, found.dot, found.winner_dot) == (b"low", (1, 7), (2, 9))
    assert lost({2: 9, 1: 7}) is None
    assert loser_of(b"k", low, low, Covered({}), Covered({})) is None
