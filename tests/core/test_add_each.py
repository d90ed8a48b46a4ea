"""Requests that come together are in a round what they are one by one."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from kvnode.core.accepted import Accepted
from kvnode.core.errors import Refused
from kvnode.core.operations import Increment, Increments, Operation, Put, Puts
from kvnode.core.replica import Request
from kvnode.core.types import LWW_REGISTER, PN_COUNTER, SIBLINGS

from .memory_node import MemoryNode

keys = st.lists(st.sampled_from([b"a", b"b", b"c"]), min_size=1, max_size=4)
ids = st.integers(0, 9).map(lambda number: b"%016d" % number)


@st.composite
def request(draw: st.DrawFn) -> Request:
    """Some that come together, or now and then a batch."""
    named = draw(keys)
    operations: Puts | Increments
    if draw(st.booleans()):
        kind = draw(st.sampled_from([SIBLINGS, SIBLINGS, LWW_REGISTER]))
        operations = Puts(named, [b"%d" % draw(st.integers(0, 9)) for _ in named], kind)
    else:
        kind = draw(st.sampled_from([0, 0, PN_COUNTER]))
        operations = Increments(named, [draw(st.sampled_from([1, 2, -1])) for _ in named], kind)
    if draw(st.integers(0, 4)) == 0:
        return Request(operations, draw(ids))
    return Request(operations, each=[draw(ids) for _ in named])


def singly(requests: Sequence[Request]) -> list[Request]:
    found: list[Request] = []
    for each in requests:
        if each.each:
            operations: Sequence[Operation] = each.operations
            pairs = zip(operations, each.each, strict=True)
            found += [Request([one], request_id) for one, request_id in pairs]
        else:
            found.append(Request(list(each.operations), each.request_id))
    return found


def told(requests: Sequence[Request], outcomes: Sequence[Accepted | Refused]) -> list[object]:
    """What became of each operation or batch."""
    found: list[object] = []
    for asked, outcome in zip(requests, outcomes, strict=True):
        if not asked.each or isinstance(outcome, Refused):
            found.append(shown(asked.operations[0], outcome))
        elif outcome.each:
            found += map(shown, asked.operations, outcome.each)
        else:
            counters = outcome.counters or [None] * len(asked.operations)
            for index, operation in enumerate(asked.operations):
                dot = outcome.first_seq + index, outcome.hlc + index
                found.append(shown(operation, Accepted(outcome.origin, *dot, [counters[index]])))
    return found


def shown(operation: Operation, outcome: Accepted | Refused) -> object:
    """Sums of puts are left out in columns."""
    if isinstance(outcome, Refused):
        return outcome.reason, outcome.message
    sums = outcome.counters[:1] if isinstance(operation, Increment) else []
    return outcome.origin, outcome.first_seq, outcome.hlc, outcome.repeated, sums


@settings(max_examples=400, deadline=None)
@given(st.lists(st.lists(request(), min_size=1, max_size=4), min_size=1, max_size=4))
def test_requests_that_come_together_are_what_they_are_one_by_one(
    rounds: list[list[Request]],
) -> None:
    """Ids that are used twice within one of them, within the round, and later."""
    mine, theirs = MemoryNode(7), MemoryNode(7)
    for requests in rounds:
        found = mine.commit(requests)
        expected = theirs.commit(singly(requests))
        assert told(requests, found.outcomes) == told(singly(requests), expected.outcomes)
        assert [block.raw for block in found.records] == [block.raw for block in expected.records]
    assert mine.encoded() == theirs.encoded()
    mine.replica.check_invariants()


def test_they_are_known_again_one_by_one_also_after_a_restart() -> None:
    """P3: each of them has an id of its own."""
    node = MemoryNode(7)
    names = [b"%016d" % number for number in range(3)]
    node.commit([Request(Puts([b"a", b"b", b"c"], [b"1", b"2", b"3"]), each=names)])
    node.restart()
    again = node.write(Put(b"b", b"2"), request_id=names[1])
    assert (again.first_seq, again.repeated) == (2, True)
