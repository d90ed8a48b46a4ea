"""Lost writes made again while the cluster goes on writing the same keys."""

from __future__ import annotations

import pytest

from kvnode.core.accepted import Accepted
from kvnode.core.operations import Delete, Increment, Operation, Put
from kvnode.core.replica import Request
from kvnode.core.types import LWW_REGISTER, SIBLINGS
from tests.core.memory_node import WALL_MS, MemoryNode
from tests.core.test_reissue import LATER_MS, Fork, carry_out, value, values


@pytest.mark.parametrize("lost", [Put(b"r", b"lost", LWW_REGISTER), Delete(b"r", LWW_REGISTER)])
def test_a_register_write_is_outdone_too_by_what_comes_before_its_turn(lost: Operation) -> None:
    """The node serves meanwhile: its client's write is later, and nobody has seen it lose."""
    fork = Fork(Put(b"r", b"before", LWW_REGISTER))
    fork.lost.write(lost)
    work, new = fork.settle()
    (again,) = work.requests()
    new.write(Put(b"r", b"later", LWW_REGISTER), wall_ms=WALL_MS + 1000)
    new.commit([Request(again.operations, again.request_id, again=True)], wall_ms=LATER_MS)
    assert new.entry(b"r")[LWW_REGISTER][3] == b"later"


def test_a_register_write_still_wins_over_an_earlier_one_that_arrives_before_its_turn() -> None:
    fork, late = Fork(), MemoryNode(9)
    fork.lost.write(Put(b"r", b"lost", LWW_REGISTER), Put(b"r", b"again", LWW_REGISTER))
    late.write(Put(b"r", b"earlier", LWW_REGISTER), wall_ms=WALL_MS - 1000)
    work, new = fork.settle()
    for again in work.requests():
        new.pull(late)
        accepted = new.write(*again.operations, request_id=again.request_id, wall_ms=LATER_MS)
        work.done(again, accepted.origin, accepted.first_seq)
    assert new.entry(b"r")[LWW_REGISTER][3] == b"again"


def test_a_batch_that_writes_a_register_twice_ends_as_it_was_left() -> None:
    fork = Fork(Put(b"r", b"before", LWW_REGISTER))
    fork.lost.write(
        Put(b"r", b"one", LWW_REGISTER), Put(b"r", b"two", LWW_REGISTER), request_id=b"i" * 16
    )
    work, new = fork.settle()
    carry_out(work, new)
    assert new.entry(b"r")[LWW_REGISTER][3] == b"two"


def test_no_limit_refuses_what_was_acknowledged_before() -> None:
    """P4: the others have filled the key, or made another type of it; as a block it would pass."""
    fork = Fork()
    fork.lost.write(Put(b"full", b"lost"))
    fork.lost.write(Put(b"type", b"lost"), Increment(b"number", 5), request_id=b"i" * 16)
    for number in range(100):
        fork.other.write(Put(b"full", b"%d" % number, blind=True))
    fork.other.write(Increment(b"type", 1), Put(b"number", b"v"))
    work, new = fork.settle()
    for again in work.requests():
        round_ = new.commit([Request(again.operations, again.request_id, again=True)])
        (accepted,) = round_.outcomes
        assert isinstance(accepted, Accepted), accepted
        work.done(again, accepted.origin, accepted.first_seq)
    assert len(values(new.entry(b"full")[SIBLINGS])) == 101
    assert values(new.entry(b"type")[SIBLINGS]) == [b"lost"]
    assert value(new, b"number") == 5
    fork.other.pull(new)
    assert fork.other.live() == new.live()
