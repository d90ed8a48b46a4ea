"""Where two histories part, and what of the losing one is made again."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import pytest

from kvnode.core.block import Block, decode_block
from kvnode.core.context import Context
from kvnode.core.dots import Dot
from kvnode.core.operations import Delete, Increment, Operation, Put
from kvnode.core.reissue import Again, Parted, Reissue, part
from kvnode.core.replica import Request
from kvnode.core.types import G_COUNTER, LWW_REGISTER, PN_COUNTER, SIBLINGS
from tests.core.memory_node import WALL_MS, MemoryNode, converge

OLD, NEW, OTHER = 1, 2, 3
LATER_MS = WALL_MS + 60_000


def blocks_of(node: MemoryNode, origin: int = OLD) -> list[Block]:
    """All of the origin's blocks in a node's log."""
    found = [decode_block(raw) for _, raw in node.log.replay(0)]
    return [block for block in found if block.origin == origin]


class Fork:
    """Two nodes under one origin with a common part, and a third that has the winner's."""

    def __init__(self, *common: Operation) -> None:
        self.lost, self.other = MemoryNode(OLD), MemoryNode(OTHER)
        for operation in common:
            self.lost.write(operation)
        self.won = copy_of(self.lost)

    def settle(self) -> tuple[Reissue, MemoryNode]:
        """The cluster has the winning history; the losing node comes back as NEW."""
        converge([self.won, self.other])
        new = MemoryNode(NEW)
        new.pull(self.other)
        parted = part(blocks_of(self.lost), new.replica.chain_at, new.vector.get(OLD, 0))
        assert parted is not None
        return Reissue(parted, new.memtable.read), new


def copy_of(node: MemoryNode) -> MemoryNode:
    """A node of the same origin with the same log."""
    copy = MemoryNode(node.origin)
    copy.log.append([decode_block(raw) for _, raw in node.log.replay(0)])
    copy.restart()
    return copy


def carry_out(work: Reissue, node: MemoryNode) -> list[Again]:
    """All of it, one after the other; the requests."""
    made = []
    for again in work.requests():
        accepted = node.write(*again.operations, request_id=again.request_id, wall_ms=LATER_MS)
        work.done(again, accepted.origin, accepted.first_seq, repeated=accepted.repeated)
        made.append(again)
    return made


def value(node: MemoryNode, key: bytes, kind: int = PN_COUNTER) -> int:
    """A counter's sum."""
    slots = node.entry(key).get(kind, {})
    return sum(slot[0] - slot[1] - slot[2] + slot[3] for slot in slots.values())


# ---- where they part


def chains(*blocks: Block) -> Callable[[Dot], bytes | None]:
    """What a cluster that has these blocks knows."""
    known = {block.end: block.chain for block in blocks}
    return known.get


def history(count: int) -> list[Block]:
    node = MemoryNode(OLD)
    for number in range(count):
        node.write(Put(b"k", b"%d" % number))
    return blocks_of(node)


@pytest.mark.parametrize("common", [1, 2, 3])
def test_the_last_block_with_one_chain_value_ends_the_common_part(common: int) -> None:
    blocks = history(3)
    parted = part(blocks, chains(*blocks[:common]), common)
    assert parted == Parted(blocks[:common], blocks[common:])


def test_a_gap_in_what_the_cluster_knows_does_not_matter() -> None:
    """Index rows may be pruned: a chain value covers all before it."""
    blocks = history(3)
    assert part(blocks, chains(blocks[1]), 2) == Parted(blocks[:2], blocks[2:])


def test_all_is_lost_where_the_cluster_has_nothing_of_it() -> None:
    blocks = history(2)
    assert part(blocks, chains(), 0) == Parted([], blocks)


def test_all_is_lost_where_the_first_blocks_differ() -> None:
    blocks, other = history(2), MemoryNode(OLD)
    other.write(Put(b"other", b"v"))
    assert part(blocks, chains(other.last_block), 1) == Parted([], blocks)


def test_all_is_lost_where_the_first_blocks_differ_in_length() -> None:
    """A copy from before the first write was put back: no end of its blocks is one of theirs."""
    other = MemoryNode(OLD)
    other.write(*(Put(b"other", b"v") for _ in range(3)))
    blocks, cluster = history(2), chains(other.last_block)
    assert part(blocks, cluster, 3, whole=True) == Parted([], blocks)
    assert part(blocks, cluster, 3) is None, "it may have been cut"
    assert part(blocks[1:], cluster, 3, whole=True) is None, "so may the lost one"


def test_it_cannot_be_told_where_one_log_was_cut_above_the_place() -> None:
    """The cluster has something, and no record of where the lost log begins."""
    blocks = history(4)
    assert part(blocks[2:], chains(*blocks[:2]), 2) is None


def test_an_empty_log_has_nothing_to_lose() -> None:
    assert part([], chains(), 5) == Parted([], [])


# ---- what is made again


def test_an_increment_is_the_difference_of_its_slots_totals() -> None:
    fork = Fork(Increment(b"n", 5), Increment(b"n", -2))
    fork.won.write(Increment(b"n", 100))
    for amount in (1000, -7, 3):
        fork.lost.write(Increment(b"n", amount))
    work, new = fork.settle()
    made = carry_out(work, new)
    assert [again.operations for again in made] == [
        [Increment(b"n", 1000, PN_COUNTER)],
        [Increment(b"n", -7, PN_COUNTER)],
        [Increment(b"n", 3, PN_COUNTER)],
    ]
    assert value(new, b"n") == 5 - 2 + 100 + 996
    assert (work.unclear, work.outdone) == (0, 0)


def test_a_counter_that_only_grows_stays_one() -> None:
    fork = Fork(Increment(b"n", 5, G_COUNTER))
    fork.lost.write(Increment(b"n", 2, G_COUNTER), Increment(b"m", 1, G_COUNTER))
    work, new = fork.settle()
    carry_out(work, new)
    assert (value(new, b"n", G_COUNTER), value(new, b"m", G_COUNTER)) == (7, 1)


def test_an_increment_without_its_slots_beginning_is_not_guessed() -> None:
    fork = Fork(Increment(b"n", 5))
    fork.lost.write(Increment(b"n", 1000))
    fork.lost.write(Increment(b"m", 3))
    lost = blocks_of(fork.lost)[1:]
    work = Reissue(Parted([], lost), fork.other.memtable.read)
    assert [again.operations for again in work.requests()] == [[Increment(b"m", 3, PN_COUNTER)]]
    assert work.unclear == 1


def test_after_an_unclear_increment_the_next_is_known_again() -> None:
    fork = Fork(Increment(b"n", 5))
    fork.lost.write(Increment(b"n", 1000))
    fork.lost.write(Increment(b"n", 20))
    work = Reissue(Parted([], blocks_of(fork.lost)[1:]), fork.other.memtable.read)
    assert [again.operations for again in work.requests()] == [[Increment(b"n", 20, PN_COUNTER)]]
    assert work.unclear == 1


def test_siblings_replace_what_they_replaced_under_its_new_dot() -> None:
    fork = Fork(Put(b"k", b"one"))
    fork.won.write(Put(b"k", b"two"))
    fork.lost.write(Put(b"k", b"three"))
    fork.lost.write(Put(b"k", b"four"))  # replaces three, which has a new dot by then
    work, new = fork.settle()
    carry_out(work, new)
    siblings = new.entry(b"k")[SIBLINGS]
    assert values(siblings) == [b"four", b"two"]


def values(siblings: object) -> list[bytes]:
    assert isinstance(siblings, tuple)
    return sorted(value for _, value in siblings[0].values())


def test_a_deleted_sibling_stays_deleted() -> None:
    fork = Fork(Put(b"k", b"one"))
    fork.lost.write(Put(b"k", b"three"))
    fork.lost.write(Delete(b"k"))
    work, new = fork.settle()
    carry_out(work, new)
    assert values(new.entry(b"k").get(SIBLINGS, ({}, frozenset()))) == []


def test_a_register_write_that_was_outdone_is_not_made_again() -> None:
    fork = Fork()
    fork.lost.write(Put(b"r", b"lost", LWW_REGISTER), Put(b"q", b"lost", LWW_REGISTER))
    fork.other.write(Put(b"r", b"later", LWW_REGISTER), wall_ms=WALL_MS + 1000)
    work, new = fork.settle()
    made = carry_out(work, new)
    assert [again.operations for again in made] == [
        [Delete(b"r", 0, Context())],  # changes nothing
        [Put(b"q", b"lost", LWW_REGISTER, unless_after=((WALL_MS << 16) + 1, OLD, 2))],
    ]
    assert (work.made, work.outdone) == (1, 1)
    assert new.entry(b"r")[LWW_REGISTER][3] == b"later"


def test_a_register_written_twice_ends_as_it_was_left() -> None:
    """The first of the two, made again, has a later stamp than the second had."""
    fork = Fork()
    fork.lost.write(Put(b"r", b"first", LWW_REGISTER))
    fork.lost.write(Put(b"r", b"second", LWW_REGISTER))
    work, new = fork.settle()
    carry_out(work, new)
    assert new.entry(b"r")[LWW_REGISTER][3] == b"second"
    assert (work.made, work.outdone) == (2, 0)


def test_a_value_that_its_own_batch_replaced_is_not_seen() -> None:
    fork = Fork()
    fork.lost.write(Put(b"k", b"one"), Put(b"k", b"two"), request_id=b"one client's id.")
    work, new = fork.settle()
    carry_out(work, new)
    assert values(new.entry(b"k")[SIBLINGS]) == [b"two"]


def test_a_deleted_register_stays_deleted() -> None:
    fork = Fork(Put(b"r", b"v", LWW_REGISTER))
    fork.lost.write(Delete(b"r", LWW_REGISTER))
    work, new = fork.settle()
    carry_out(work, new)
    assert new.entry(b"r")[LWW_REGISTER][3] is None


def test_a_counters_deletion_spares_what_only_the_other_history_has() -> None:
    fork = Fork(Increment(b"n", 5))
    fork.won.write(Increment(b"n", 100))
    fork.lost.write(Delete(b"n", PN_COUNTER))
    work, new = fork.settle()
    carry_out(work, new)
    assert value(new, b"n") == 100


def test_trap_4_an_increment_deleted_in_the_lost_history_does_not_come_back() -> None:
    """Trap 4 "re-create reviving an old value": the delete takes away what was made again, too."""
    fork = Fork(Increment(b"n", 5))
    fork.won.write(Increment(b"n", 100))
    fork.lost.write(Increment(b"n", 1000))
    fork.lost.write(Delete(b"n", PN_COUNTER))
    fork.lost.write(Increment(b"n", 7))
    work, new = fork.settle()
    carry_out(work, new)
    assert value(new, b"n") == 107


def test_requests_keep_their_ids_and_the_rest_get_their_own() -> None:
    """A client that never got its reply asks again with its id, and must not count twice."""
    fork = Fork()
    fork.lost.write(Increment(b"n", 1), Put(b"k", b"v"), request_id=b"the client's id.")
    fork.lost.write(Increment(b"n", 2))
    fork.lost.write(Increment(b"n", 3))
    work, new = fork.settle()
    made = carry_out(work, new)
    ids = [again.request_id for again in made]
    assert ids[0] == b"the client's id."
    assert [len(again.operations) for again in made] == [2, 1, 1]
    assert len(set(ids)) == 3
    assert all(len(one) == 16 for one in ids)
    assert new.write(Increment(b"n", 1), Put(b"k", b"v"), request_id=b"the client's id.").repeated
    assert value(new, b"n") == 6


def test_requests_of_one_round_keep_their_order_with_ids_and_without() -> None:
    """The later ones have seen the earlier ones, and a crash counts on the order, too."""
    fork = Fork()
    named = b"the client's id."
    fork.lost.commit(
        [
            Request([Put(b"r", b"first", LWW_REGISTER)]),
            Request([Put(b"r", b"second", LWW_REGISTER)], named),
            Request([Put(b"k", b"v")]),
            Request([Delete(b"k")], b"2" + named[1:]),
        ]
    )
    work, new = fork.settle()
    made = carry_out(work, new)
    assert [again.dots[0][1] for again in made] == [1, 2, 3, 4]
    assert new.entry(b"r")[LWW_REGISTER][3] == b"second"
    assert values(new.entry(b"k").get(SIBLINGS, ({}, frozenset()))) == []


def test_trap_17_doing_it_again_after_a_crash_half_way_repeats_nothing() -> None:
    """All kinds, and the crash after each request."""
    for crash_after in range(6):
        fork = Fork(Increment(b"n", 5), Put(b"k", b"one"))
        fork.won.write(Put(b"k", b"two"))
        fork.lost.write(Increment(b"n", 1000))
        fork.lost.write(
            Put(b"r", b"v", LWW_REGISTER), Put(b"k", b"three"), request_id=b"one client's id."
        )
        fork.lost.write(Put(b"k", b"four"))
        fork.lost.write(Increment(b"n", 30))
        fork.lost.write(Put(b"r", b"w", LWW_REGISTER))
        work, new = fork.settle()
        for number, again in enumerate(work.requests()):
            if number == crash_after:
                break
            accepted = new.write(*again.operations, request_id=again.request_id, wall_ms=LATER_MS)
            work.done(again, accepted.origin, accepted.first_seq)
        again_work = Reissue(work.parted, new.memtable.read)
        carry_out(again_work, new)
        assert value(new, b"n") == 1035, crash_after
        assert new.entry(b"r")[LWW_REGISTER][3] == b"w"
        assert values(new.entry(b"k")[SIBLINGS]) == [b"four", b"two"]


def test_what_changed_nothing_is_not_made_again() -> None:
    fork = Fork()
    fork.lost.write(Delete(b"absent"), Put(b"k", b"v"), request_id=b"one client's id.")
    work, new = fork.settle()
    (again,) = carry_out(work, new)
    assert again.operations == [
        Put(b"k", b"v", SIBLINGS, Context(siblings=frozenset(), types=(SIBLINGS,)))
    ]
    assert again.dots == [(OLD, 2)]
    assert all(first < second for first, second in pairwise(again.dots))


def of_two(*, inherited: bool) -> tuple[list[list[Operation]], MemoryNode]:
    """OLD replaced and deleted what OTHER wrote, and both histories are lost."""
    other, old, new = MemoryNode(OTHER), MemoryNode(OLD), MemoryNode(NEW)
    other.write(Put(b"k", b"of the other"))
    other.write(Increment(b"n", 5))
    old.pull(other)
    old.write(Put(b"k", b"replaced"))
    old.write(Delete(b"n", PN_COUNTER))
    lost = [*(blocks_of(old, OTHER) if inherited else []), *blocks_of(old)]
    work = Reissue(Parted([], lost, {} if inherited else {OTHER: 1}), new.memtable.read)
    return [again.operations for again in carry_out(work, new)], new


def test_an_heir_makes_the_others_history_again_where_it_stood_before_its_own() -> None:
    _, new = of_two(inherited=True)
    assert values(new.entry(b"k")[SIBLINGS]) == [b"replaced"]
    assert value(new, b"n") == 0


def test_dots_of_a_history_that_is_made_again_elsewhere_are_not_named() -> None:
    """In the cluster they are those of other writes, which nobody has seen or deleted."""
    made, _ = of_two(inherited=False)
    assert made == [
        [Put(b"k", b"replaced", SIBLINGS, Context(siblings=frozenset(), types=(SIBLINGS,)))],
        [Delete(b"n", PN_COUNTER, Context(counters={PN_COUNTER: {}}, types=(PN_COUNTER,)))],
    ]
