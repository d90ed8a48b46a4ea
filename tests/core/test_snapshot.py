"""Joining a snapshot: as if the writes it stands for had been received one by one."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from kvnode.core.dots import Dot
from kvnode.core.entry import decode_entry, encode_entry
from kvnode.core.errors import StateError
from kvnode.core.operations import Delete, Increment, Operation, Put
from kvnode.core.snapshot import (
    ContradictionError,
    Row,
    Section,
    check_history,
    join_durable,
    join_entries,
    make_chunk,
    unpack_rows,
)
from kvnode.core.types import LWW_REGISTER, State
from tests.core.memory_node import WALL_MS, MemoryNode

KEYS = (b"p", b"q", b"r")


def rows(node: MemoryNode) -> Iterator[Row]:
    return iter(sorted(node.encoded().items()))


def joined(
    mine: MemoryNode, theirs: MemoryNode, lost: list[tuple[bytes, State, State]] | None = None
) -> dict[bytes, bytes]:
    """What ``mine`` keeps after it took a snapshot of ``theirs``."""
    told = [] if lost is None else lost
    found = mine.encoded()
    for key, entry in join_entries(
        rows(mine),
        rows(theirs),
        mine.vector,
        theirs.vector,
        lambda *loss: told.append(loss),
    ):
        found[key] = encode_entry(entry, key)
        if not entry:
            del found[key]
    return found


def operation(rng: random.Random) -> Operation:
    key = rng.choice(KEYS)
    match rng.randrange(5):
        case 0:
            return Put(b"s" + key, rng.randbytes(2), blind=rng.random() < 0.3)
        case 1:
            return Put(b"l" + key, rng.randbytes(2), LWW_REGISTER)
        case 2:
            return Increment(b"c" + key, rng.randint(-3, 9) or 1)
        case _:
            return Delete(rng.choice((b"s", b"l", b"c")) + key)


def scattered(seed: int) -> list[MemoryNode]:
    """Three nodes that wrote, pulled now and then, and collected what was stable."""
    rng = random.Random(seed)
    nodes = [MemoryNode(origin) for origin in (1, 2, 3)]
    for step in range(40):
        node, other = rng.sample(nodes, 2)
        if rng.random() < 0.7:
            node.write(operation(rng), wall_ms=WALL_MS + step)
        else:
            node.pull(other)
        if rng.random() < 0.2:
            for member in nodes:
                if member is not node:
                    node.hear(member)
            node.collect(node.stability.stable(node.vector, [n.origin for n in nodes if n != node]))
    return nodes


@pytest.mark.parametrize("seed", range(150))
def test_joining_a_snapshot_is_receiving_the_writes_it_stands_for(seed: int) -> None:
    """Whatever either side wrote, deleted or collected meanwhile; what a reader sees is equal, and
    so is every byte that has not waited for being collected.
    """
    mine, theirs, _ = scattered(seed)
    snapshot = joined(mine, theirs)
    mine.pull(theirs)
    stable = dict(mine.vector)
    probe = MemoryNode(9)
    probe.memtable.install({key: mine.entry(key) for key in mine.encoded()}, 0)
    expected = MemoryNode(8)
    expected.memtable.install({key: decode_entry(raw, key) for key, raw in snapshot.items()}, 0)
    probe.collect(stable)
    expected.collect(stable)
    assert expected.live() == probe.live()
    assert expected.encoded() == probe.encoded()


def test_joining_twice_is_joining_once() -> None:
    """What is staged is merged again after a crash that came too late to matter."""
    mine, theirs, _ = scattered(1)
    snapshot = joined(mine, theirs)
    vector = {
        origin: max(mine.vector.get(origin, 0), theirs.vector.get(origin, 0))
        for origin in mine.vector | theirs.vector
    }
    again = join_entries(
        iter(sorted(snapshot.items())), rows(theirs), vector, theirs.vector, lambda *_: None
    )
    assert not list(again)


def test_a_register_that_loses_by_the_join_is_told() -> None:
    """P4: a value that is dropped while concurrent goes to the journal, here as with a block."""
    one, other = MemoryNode(1), MemoryNode(2)
    one.write(Put(b"k", b"early", LWW_REGISTER), wall_ms=WALL_MS)
    other.write(Put(b"k", b"late", LWW_REGISTER), wall_ms=WALL_MS + 10)
    for mine, theirs in ((one, other), (other, one)):
        lost: list[tuple[bytes, State, State]] = []
        joined(mine, theirs, lost)
        assert [(key, loser[3], winner[3]) for key, loser, winner in lost] == [
            (b"k", b"early", b"late")
        ]
    other.pull(one)
    other.write(Put(b"k", b"latest", LWW_REGISTER), wall_ms=WALL_MS + 20)
    lost = []
    joined(one, other, lost)
    assert not lost, "it was seen by who overwrote it"


def test_the_later_clock_and_all_request_ids_are_taken() -> None:
    """A clock that falls back would let a later write lose against what it has seen."""
    mine, theirs = MemoryNode(1), MemoryNode(2)
    mine.write(Increment(b"c", 1), request_id=b"m" * 16)
    theirs.write(Increment(b"c", 1), request_id=b"t" * 16, wall_ms=WALL_MS + 60_000)
    after = join_durable(mine.replica.durable, theirs.replica.durable, own_origin=1)
    assert after.hlc == theirs.replica.durable.hlc > mine.replica.durable.hlc
    assert after.vector == {1: 1, 2: 1}
    assert after.requests.get(b"t" * 16) == (1, 2, 1, 1)
    assert after.requests.get(b"m" * 16) == (2, 1, 1, 1)
    assert mine.replica.durable.vector == {1: 1}, "not in place: readers use it"


def test_trap_17_a_snapshot_full_of_request_ids_pushes_none_out_that_was_accepted_here() -> None:
    """Trap 17 "retry counted twice": the client asks again at this node, right behind the merge."""
    mine, theirs = MemoryNode(1, window=4), MemoryNode(2, window=4)
    for number in range(5):
        theirs.write(Increment(b"c", 1), request_id=b"theirs %09d" % number)
        if number == 0:
            mine.pull(theirs)  # and it remembers that one, which they will have forgotten
    mine.write(Increment(b"c", 1), request_id=b"m" * 16)
    after = join_durable(mine.replica.durable, theirs.replica.durable, own_origin=1)
    assert [name for name, _ in after.requests.all()] == [
        b"theirs %09d" % 2,
        b"theirs %09d" % 3,
        b"theirs %09d" % 4,
        b"m" * 16,
    ]


def test_a_snapshot_with_more_of_ones_own_writes_is_refused() -> None:
    """Trap 1: this directory is an old copy; its next write would be somebody else's dot."""
    mine, copy, theirs = MemoryNode(1), MemoryNode(1), MemoryNode(2)
    copy.write(Increment(b"c", 1))
    theirs.pull(copy)
    with pytest.raises(ContradictionError, match="has 1 writes of this node's origin") as refusal:
        join_durable(mine.replica.durable, theirs.replica.durable, own_origin=1)
    assert refusal.value.origin == 1


def test_two_histories_of_one_origin_are_never_joined() -> None:
    """P8: a fork is named, also where the branches differ in length."""
    left, right, mine, theirs = (MemoryNode(origin) for origin in (1, 1, 2, 3))
    left.write(Put(b"k", b"left"))
    right.write(Put(b"k", b"right"))
    mine.pull(left)
    theirs.pull(right)
    with pytest.raises(ContradictionError, match="0000000000000001:1"):
        join_durable(mine.replica.durable, theirs.replica.durable, own_origin=2)
    right.write(Put(b"k", b"more"))
    theirs.pull(right)
    ends: dict[Dot, bytes] = {(1, 1): right.log.chain_at((1, 1)) or b""}
    with pytest.raises(ContradictionError, match="0000000000000001:1"):
        check_history(ends, mine.replica.durable, theirs.replica.durable, mine.log.chain_at)


def test_a_chunk_keeps_rows_and_refuses_what_is_none() -> None:
    """What cannot be read is given up as a whole; half a chunk must not count as one."""
    chunk = make_chunk(Section.ENTRIES, [b"a", b"1", b"b", b""])
    assert (chunk.first_key, chunk.last_key) == (b"a", b"b")
    assert unpack_rows(chunk.rows) == [b"a", b"1", b"b", b""]
    for broken in (b"", b"\x90", b"\x91\xc4\x01a", b"\x92\x01\x02", chunk.rows[:-1]):
        with pytest.raises(StateError):
            unpack_rows(broken)
