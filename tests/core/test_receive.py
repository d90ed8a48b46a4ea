"""The receive rule: every verdict of the table, and what it leads to."""

from __future__ import annotations

import pytest

from kvnode.core.block import GENESIS, Block, encode_block
from kvnode.core.dots import Vector
from kvnode.core.errors import Reason, Refused
from kvnode.core.operations import Increment, Put
from kvnode.core.receive import HoldBuffer, Verdict, judge
from kvnode.core.replica import Request
from tests.core.memory_node import MemoryNode

SEEN, APPLIED, HELD = Verdict.SEEN, Verdict.APPLIED, Verdict.HELD
DROPPED, FORK, AHEAD = Verdict.DROPPED, Verdict.FORK, Verdict.AHEAD


def blocks(node: MemoryNode) -> list[bytes]:
    return [raw for _, raw in node.log.replay(0)]


def written(origin: int, *values: bytes) -> MemoryNode:
    """A node with one block per value."""
    node = MemoryNode(origin)
    for value in values:
        node.write(Put(b"k", value))
    return node


def chain(origin: int, sizes: list[int], deps: Vector | None = None) -> list[Block]:
    """Hand-made blocks of nothing but sequence numbers."""
    made: list[Block] = []
    first, previous = 1, GENESIS
    for size in sizes:
        block = encode_block(
            origin=origin,
            first_seq=first,
            hlc=first,
            wall_ms=1,
            deps=deps or {},
            ops=[],
            requests=[],
            previous=previous,
            dep_chains=[],
            count=size,
        )
        made.append(block)
        first, previous = first + size, block.chain
    return made


def test_a_block_that_fits_is_applied_and_seen_when_it_comes_again() -> None:
    node, raws = MemoryNode(1), blocks(written(2, b"a", b"b"))
    assert node.receive(raws) == [APPLIED, APPLIED]
    before = node.encoded()
    assert node.receive(raws) == [SEEN, SEEN]
    assert node.encoded() == before
    assert node.log.last_arrival == 2, "what was seen is not logged again"


def test_a_block_behind_a_gap_is_held_until_the_gap_is_filled() -> None:
    node, raws = MemoryNode(1), blocks(written(2, b"a", b"b", b"c"))
    assert node.receive([raws[2]]) == [HELD]
    assert node.receive([raws[1]]) == [HELD]
    assert node.vector == {}
    assert node.entry(b"k") == {}
    assert node.receive([raws[0]]) == [APPLIED, APPLIED, APPLIED]
    assert node.vector == {2: 3}
    assert node.receive([raws[1]]) == [SEEN]


def test_a_block_waits_for_what_its_writer_had_received() -> None:
    """No effect before its cause, whatever way it took."""
    cause = written(2, b"a")
    effect = MemoryNode(3)
    effect.pull(cause)
    effect.write(Put(b"k", b"b"))
    node = MemoryNode(1)
    assert node.receive([effect.last_block.raw]) == [HELD]
    assert node.vector == {}
    assert node.receive(blocks(cause)) == [APPLIED, APPLIED]
    assert node.vector == {2: 1, 3: 1}


def test_held_blocks_are_soft_state() -> None:
    node, raws = MemoryNode(1), blocks(written(2, b"a", b"b"))
    node.receive([raws[1]])
    node.restart()
    assert node.receive([raws[0]]) == [APPLIED]
    assert node.vector == {2: 1}


def test_the_hold_buffer_is_bounded() -> None:
    raws = blocks(written(2, *(b"%d" % i for i in range(10))))
    node = MemoryNode(1, hold_bytes_max=3 * len(raws[1]))
    verdicts = node.receive(raws[1:])
    assert verdicts == [HELD] * 3 + [DROPPED] * 6
    assert node.receive([raws[1]]) == [HELD], "what is held already needs no more room"
    node.receive(raws[:1])
    assert node.vector == {2: 4}
    assert len(node.replica.held) == 0
    assert node.replica.held.bytes_held == 0
    assert node.receive(raws) == [SEEN] * 4 + [APPLIED] * 6


def test_the_hold_buffer_gives_back_what_has_become_useless() -> None:
    held = HoldBuffer(10_000)
    first, second, third = chain(2, [1, 1, 1])
    assert held.hold(second)
    assert held.hold(third)
    assert held.take_ready({}) == []
    assert held.take_ready({2: 3}) + held.take_ready({2: 3}) == [second, third]
    assert len(held) == 0
    assert held.bytes_held == 0
    assert first.last_seq == 1


def forked(node: MemoryNode, origin: int) -> bool:
    return origin in node.replica.durable.forks


def test_another_block_under_a_seen_dot_is_a_fork() -> None:
    node = MemoryNode(1)
    node.receive(blocks(written(2, b"a")))
    assert node.receive(blocks(written(2, b"other"))) == [FORK]
    assert forked(node, 2)
    assert node.vector == {2: 1}


def test_a_predecessor_that_is_another_one_is_a_fork() -> None:
    """The successor alone gives it away: the other first block never came here."""
    node = MemoryNode(1)
    node.receive(blocks(written(2, b"a")))
    assert node.receive(blocks(written(2, b"other", b"b"))[1:]) == [FORK]


def test_a_dependency_that_is_another_one_is_a_fork() -> None:
    """Two histories of node 2; node 3 has seen the other one. Its own blocks are no longer
    what they claim, so they must not be merged either.
    """
    node = MemoryNode(1)
    node.receive(blocks(written(2, b"a")))
    third = MemoryNode(3)
    third.pull(written(2, b"other"))
    third.write(Put(b"k", b"c"))
    assert node.receive([third.last_block.raw]) == [FORK]
    assert node.vector == {2: 1}


def test_a_dependency_inside_a_block_is_a_fork() -> None:
    """Blocks are applied whole: nobody can have had half of one."""
    node = MemoryNode(1)
    (whole,) = chain(2, [5])
    node.receive([whole.raw])
    (half,) = chain(3, [1], {2: 3})
    assert node.receive([half.raw]) == [FORK]


@pytest.mark.parametrize("sizes", [[1, 5], [2, 1], [4], [3, 1]])
def test_a_partial_overlap_is_a_fork(sizes: list[int]) -> None:
    node = MemoryNode(1)
    node.receive([block.raw for block in chain(2, [3])])
    assert node.receive([chain(2, sizes)[0].raw]) == ([SEEN] if sizes == [3, 1] else [FORK])


def test_what_is_held_of_a_forgotten_origin_above_its_limit_is_dropped() -> None:
    """Nothing would ever let it in, and it would take the room of others until a restart."""
    node, good = MemoryNode(1), blocks(written(2, b"a", b"b", b"c", b"d"))
    assert node.receive(good[1:]) == [HELD, HELD, HELD]
    whole = node.replica.held.bytes_held
    node.replica.limit({2: 3})
    assert len(node.replica.held) == 2
    assert node.replica.held.bytes_held == whole - len(good[3])
    assert node.receive(good[:1]) == [APPLIED, APPLIED, APPLIED]
    assert node.vector == {2: 3}
    assert node.replica.held.bytes_held == 0


def test_nothing_of_a_forked_origin_is_taken_any_more() -> None:
    node = MemoryNode(1)
    good = blocks(written(2, b"a", b"b"))
    node.receive(good[:1])
    node.receive(blocks(written(2, b"other")))
    assert node.receive(good[1:]) == [FORK]
    assert node.vector == {2: 1}
    assert node.receive(blocks(written(3, b"c"))) == [APPLIED], "the others go on"
    node.checkpoint()
    node.restart()
    assert node.receive(good[1:]) == [FORK], "also after a restart"


def test_own_blocks_from_elsewhere_that_are_not_known_here_fence_this_node() -> None:
    """An old copy of its directory was put back: it must not use those numbers again."""
    node, copy = written(1, b"a"), written(1, b"a")
    copy.write(Put(b"k", b"b"))
    assert node.receive(blocks(copy)) == [SEEN, AHEAD]
    with pytest.raises(Refused) as refusal:
        node.write(Put(b"k", b"c"))
    assert refusal.value.reason is Reason.NODE_FENCED
    assert node.vector == {1: 1}
    assert node.receive(blocks(written(2, b"x"))) == [APPLIED], "replication goes on"
    node.checkpoint()
    node.restart()
    with pytest.raises(Refused):
        node.write(Put(b"k", b"c"))


def test_another_history_of_the_own_origin_fences_this_node() -> None:
    """Two copies of one directory are running."""
    node, copy = written(1, b"a"), written(1, b"b")
    assert node.receive(blocks(copy)) == [FORK]
    with pytest.raises(Refused) as refusal:
        node.write(Put(b"k", b"c"))
    assert refusal.value.reason is Reason.NODE_FENCED


def test_a_malformed_operation_is_refused_before_it_is_logged() -> None:
    block = encode_block(
        origin=2,
        first_seq=1,
        hlc=1,
        wall_ms=1,
        deps={},
        ops=[[4, b"k", b"fine", []], [99, b"k", b"?"]],
        requests=[],
        previous=GENESIS,
        dep_chains=[],
    )
    node = MemoryNode(1)
    assert node.receive([block.raw]) == [Verdict.MALFORMED]
    assert node.log.last_arrival == 0
    assert node.vector == {}
    assert node.entry(b"k") == {}
    node.replica.check_invariants()


def test_the_own_block_of_a_round_comes_before_what_the_round_receives() -> None:
    """It was written without having seen it."""
    node, other = MemoryNode(1), written(2, b"theirs")
    round_ = node.commit([Request([Put(b"k", b"ours")])], [other.last_block])
    assert [block.origin for block in round_.records] == [1, 2]
    assert round_.own is not None
    assert round_.own.deps == {}
    other.pull(node)
    assert node.encoded() == other.encoded()
    assert len(node.entry(b"k")[4][0]) == 2


def test_judging_changes_nothing() -> None:
    vector: Vector = {}
    (block,) = chain(2, [1])
    assert judge(block, own_origin=1, vector=vector, chain_at=lambda _: None).verdict is APPLIED
    assert vector == {}


def test_a_wish_to_receive_nothing_logs_nothing() -> None:
    node = MemoryNode(1)
    assert node.receive([]) == []
    node.write(Increment(b"c", 1))
    assert node.log.last_arrival == 1


def test_an_old_block_whose_record_was_given_up_is_seen() -> None:
    """Its chain value is no longer known; a known one that differs is a fork all the same."""
    here, there = MemoryNode(1), MemoryNode(2)
    for number in range(4):
        there.write(Put(b"k", b"%d" % number))
    raws = [raw for _, raw in there.log.replay(0)]
    here.receive(raws)
    here.log.cut(4)
    assert here.log.prune({2: 3}) == 2
    assert here.receive(raws) == [Verdict.SEEN] * 4
    impostor = MemoryNode(2)
    for _ in range(3):
        impostor.write(Put(b"k", b"another"))
    assert here.receive([impostor.last_block.raw]) == [Verdict.FORK]
