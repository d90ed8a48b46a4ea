"""From client operations to one block: all or nothing, dots without holes."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from kvnode.core.accepted import Accepted
from kvnode.core.context import decode_token
from kvnode.core.errors import Reason, Refused
from kvnode.core.operations import Delete, Increment, Operation, Put
from kvnode.core.replica import Request
from kvnode.core.types import G_COUNTER, LWW_REGISTER, PN_COUNTER, SIBLINGS
from kvnode.core.types.slots import INT64_MAX, INT64_MIN
from kvnode.core.types.slots import value as counter_value
from tests.core.memory_node import SECRET, TOKEN_BYTES_MAX, WALL_MS, MemoryNode


def reason(node: MemoryNode, *operations: Operation) -> Reason:
    with pytest.raises(Refused) as refusal:
        node.write(*operations)
    return refusal.value.reason


def accepted(outcome: Accepted | Refused) -> Accepted:
    assert isinstance(outcome, Accepted)
    return outcome


def values(node: MemoryNode, key: bytes) -> list[bytes]:
    held: dict[Any, Any] = node.entry(key).get(SIBLINGS, ({}, None))[0]
    return sorted(value for _, value in held.values())


def test_a_refused_request_leaves_no_trace_in_its_block() -> None:
    node, alone = MemoryNode(1), MemoryNode(1)
    good = [Request([Put(b"a", b"1")], b"1" * 16), Request([Put(b"a", b"2"), Put(b"b", b"3")])]
    bad = Request([Put(b"new", b"x"), Put(b"a", b"y"), Increment(b"a", 1)], b"2" * 16)
    outcomes = node.commit([good[0], bad, good[1]]).outcomes
    alone.commit(good)
    assert [type(outcome) for outcome in outcomes] == [Accepted, Refused, Accepted]
    assert node.last_block.raw == alone.last_block.raw
    assert node.encoded() == alone.encoded()
    assert node.replica.durable.requests.get(b"2" * 16) is None
    assert node.entry(b"new") == {}


def test_a_round_of_refusals_writes_nothing() -> None:
    node = MemoryNode(1)
    node.write(Put(b"a", b"1"))
    before = node.encoded(), dict(node.vector), node.replica.durable.hlc
    assert reason(node, Put(b"b", b"x"), Increment(b"a", 1)) is Reason.TYPE_CONFLICT
    assert before == (node.encoded(), node.vector, node.replica.durable.hlc)
    assert node.log.last_arrival == 1


def test_dots_have_no_holes() -> None:
    node = MemoryNode(1)
    firsts = []
    for size in (1, 3, 2):
        batch = [Put(b"%d" % i, b"v") for i in range(size)]
        round_ = node.commit(
            [Request(batch), Request([*batch, Increment(b"0", 1)]), Request(batch)]
        )
        firsts += [o.first_seq for o in round_.outcomes if isinstance(o, Accepted)]
    assert firsts == [1, 2, 3, 6, 9, 11]
    assert node.vector == {1: 12}


def test_an_operation_without_effect_has_a_dot_all_the_same() -> None:
    """Its receipt names it, and a retry must find it."""
    node = MemoryNode(1)
    assert node.write(Delete(b"nothing")).first_seq == 1
    assert node.vector == {1: 1}
    assert node.last_block.ops == [0]


def test_a_batch_sees_its_own_earlier_operations() -> None:
    node = MemoryNode(1)
    outcome = node.write(
        Put(b"k", b"1"), Put(b"k", b"2"), Increment(b"c", 5), Increment(b"c", -7), Delete(b"c")
    )
    assert values(node, b"k") == [b"2"]
    assert outcome.counters == [None, None, 5, -2, None]
    assert counter_value(node.entry(b"c")[PN_COUNTER]) == 0


def test_requests_of_one_block_see_each_other() -> None:
    node = MemoryNode(1)
    first, second = node.commit(
        [Request([Increment(b"c", 5)]), Request([Increment(b"c", 6)])]
    ).outcomes
    assert accepted(first).counters + accepted(second).counters == [5, 11]


def test_the_three_contexts_of_a_put() -> None:
    node, other = MemoryNode(1), MemoryNode(2)
    node.write(Put(b"k", b"read"))
    seen = node.context(b"k")
    node.write(Put(b"k", b"unread", blind=True))
    other.write(Put(b"k", b"theirs"))
    node.pull(other)
    node.write(Put(b"k", b"explicit", context=seen))
    assert values(node, b"k") == [b"explicit", b"theirs", b"unread"]
    node.write(Put(b"k", b"blind", blind=True))
    assert values(node, b"k") == [b"blind", b"explicit", b"theirs", b"unread"]
    node.write(Put(b"k", b"observed"))
    assert values(node, b"k") == [b"observed"]


def test_a_context_may_name_what_has_not_arrived_yet() -> None:
    node, other = MemoryNode(1), MemoryNode(2)
    other.write(Put(b"k", b"old"))
    node.write(Put(b"k", b"new", context=other.context(b"k")))
    node.checkpoint()
    node.restart()
    node.pull(other)
    assert values(node, b"k") == [b"new"]
    assert node.entry(b"k")[SIBLINGS][1] == frozenset(), "what has arrived is awaited no more"


def test_a_context_may_name_more_than_is_held() -> None:
    """What is held and what has not arrived yet are both replaced."""
    node, third = MemoryNode(1), MemoryNode(3)
    third.write(Put(b"k", b"held"))
    node.pull(third)
    third.write(Put(b"k", b"on its way", blind=True))
    node.write(Put(b"k", b"new", context=third.context(b"k")))
    node.pull(third)
    assert values(node, b"k") == [b"new"]


def test_a_delete_with_a_context_spares_what_was_not_seen() -> None:
    node = MemoryNode(1)
    node.write(Put(b"k", b"seen"), Increment(b"c", 5), Put(b"r", b"seen", LWW_REGISTER))
    contexts = {key: node.context(key) for key in (b"k", b"c", b"r")}
    node.write(
        Put(b"k", b"later", blind=True), Increment(b"c", 2), Put(b"r", b"later", LWW_REGISTER)
    )
    node.write(*(Delete(key, context=context) for key, context in contexts.items()))
    assert values(node, b"k") == [b"later"]
    assert counter_value(node.entry(b"c")[PN_COUNTER]) == 2
    assert node.entry(b"r")[LWW_REGISTER][3] == b"later"


def test_a_counter_deleted_ahead_of_its_totals_counts_nothing_until_they_come() -> None:
    """The baseline is ahead: the value is 0, not negative, and no increment is lost."""
    node, other = MemoryNode(1), MemoryNode(2)
    other.write(Increment(b"c", 5))
    early = other.last_block.raw
    other.write(Increment(b"c", 3))
    node.receive([early])
    node.write(Delete(b"c", context=other.context(b"c")))
    assert counter_value(node.entry(b"c")[PN_COUNTER]) == 0
    other.write(Increment(b"c", 4))
    node.pull(other)
    other.pull(node)
    assert counter_value(node.entry(b"c")[PN_COUNTER]) == 4
    assert node.encoded() == other.encoded()
    assert other.write(Increment(b"c", 1)).counters == [5]
    assert len(other.entry(b"c")[PN_COUNTER]) == 2, "after a delete an origin opens a new slot"


@pytest.mark.parametrize(
    ("there", "write"),
    [
        (Put(b"k", b"v"), Put(b"k", b"v", LWW_REGISTER)),
        (Put(b"k", b"v"), Increment(b"k", 1)),
        (Put(b"k", b"v"), Increment(b"k", 1, G_COUNTER)),
        (Put(b"k", b"v", LWW_REGISTER), Put(b"k", b"v")),
        (Increment(b"k", 1), Put(b"k", b"v")),
        (Increment(b"k", 1), Increment(b"k", 1, G_COUNTER)),
        (Increment(b"k", 1, G_COUNTER), Increment(b"k", 1, PN_COUNTER)),
    ],
)
def test_another_type_over_a_visible_value_is_refused(there: Operation, write: Operation) -> None:
    node = MemoryNode(1)
    node.write(there)
    assert reason(node, write) is Reason.TYPE_CONFLICT
    node.write(Delete(b"k"))
    node.write(write)


def test_a_key_of_two_types_is_deleted_only_by_name() -> None:
    node, other = MemoryNode(1), MemoryNode(2)
    node.write(Put(b"k", b"v"))
    other.write(Increment(b"k", 1))
    node.pull(other)
    assert reason(node, Delete(b"k")) is Reason.TYPE_CONFLICT
    node.write(Delete(b"k", PN_COUNTER))
    assert values(node, b"k") == [b"v"]
    node.write(Delete(b"k"))
    assert not values(node, b"k")


def test_an_increment_without_a_type_takes_the_counter_that_is_there() -> None:
    node = MemoryNode(1)
    node.write(Increment(b"g", 1, G_COUNTER))
    assert node.write(Increment(b"g", 2)).counters == [3]
    assert reason(node, Increment(b"g", -1)) is Reason.BAD_AMOUNT
    node.write(Increment(b"new", -1))
    assert list(node.entry(b"new")) == [PN_COUNTER]


def test_the_sibling_limit_refuses_only_what_adds_one() -> None:
    node = MemoryNode(1, siblings_max=2)
    node.write(Put(b"k", b"1"))
    seen = node.context(b"k")
    node.write(Put(b"k", b"2", blind=True))
    assert reason(node, Put(b"k", b"3", blind=True)) is Reason.TOO_MANY_SIBLINGS
    node.write(Put(b"k", b"3", context=seen))
    assert reason(node, Put(b"k", b"4", context=seen)) is Reason.TOO_MANY_SIBLINGS
    other = MemoryNode(2)
    other.write(Put(b"k", b"theirs"))
    node.pull(other)
    assert len(values(node, b"k")) == 3, "replication never refuses"
    node.write(Put(b"k", b"resolved"))
    assert values(node, b"k") == [b"resolved"]


@pytest.mark.parametrize(
    ("amounts", "more"),
    [
        ([INT64_MAX], 1),
        ([-INT64_MAX, -1], -1),
        ([INT64_MAX - 5], 6),
        ([INT64_MAX, -1], 2),
    ],
)
def test_a_sum_beyond_64_bits_is_refused(amounts: list[int], more: int) -> None:
    node = MemoryNode(1)
    for amount in amounts:
        node.write(Increment(b"c", amount))
    before = node.encoded()
    assert reason(node, Increment(b"c", more)) is Reason.COUNTER_OVERFLOW
    assert node.encoded() == before
    assert INT64_MIN <= counter_value(node.entry(b"c")[PN_COUNTER]) <= INT64_MAX


def test_a_counter_whose_totals_fill_64_bits_goes_on() -> None:
    """Only the sum is bounded for its users: a full slot is left and a new one begun."""
    node, other = MemoryNode(1), MemoryNode(2)
    for _ in range(3):
        node.write(Increment(b"c", INT64_MAX), Increment(b"c", -INT64_MAX))
    assert node.write(Increment(b"c", 5)).counters == [5]
    other.pull(node)
    assert other.encoded() == node.encoded()
    node.write(Delete(b"c", context=other.context(b"c")), Increment(b"c", 2))
    other.pull(node)
    assert counter_value(other.entry(b"c")[PN_COUNTER]) == 2
    for slot in node.entry(b"c")[PN_COUNTER].values():
        assert max(slot[:4]) <= INT64_MAX


def test_regions_together_beyond_64_bits_stay_exact() -> None:
    node, other = MemoryNode(1), MemoryNode(2)
    for each in (node, other):
        each.write(Increment(b"c", INT64_MAX))
    node.pull(other)
    assert counter_value(node.entry(b"c")[PN_COUNTER]) == 2 * INT64_MAX
    node.checkpoint()
    node.restart()
    assert counter_value(node.entry(b"c")[PN_COUNTER]) == 2 * INT64_MAX
    assert reason(node, Increment(b"c", 1)) is Reason.COUNTER_OVERFLOW
    assert node.write(Increment(b"c", -INT64_MAX)).counters == [INT64_MAX]


def test_a_request_id_counts_once_within_a_block() -> None:
    node = MemoryNode(1)
    request = Request([Increment(b"c", 5), Increment(b"d", 1)], b"i" * 16)
    first, again, other = node.commit([request, request, Request([Increment(b"c", 1)])]).outcomes
    assert not accepted(first).repeated
    assert accepted(again).repeated
    assert accepted(again).first_seq == accepted(first).first_seq == 1
    assert accepted(other).counters == [6]
    assert node.vector == {1: 3}


def test_a_request_id_counts_once_everywhere_its_block_has_arrived() -> None:
    node, other, late = MemoryNode(1), MemoryNode(2), MemoryNode(3)
    request = Request([Increment(b"c", 5)], b"i" * 16)
    node.commit([request])
    other.pull(node)
    for each in (node, other):
        for restarted in (False, True):
            if restarted:
                each.checkpoint()
                each.restart()
            (again,) = each.commit([request]).outcomes
            assert accepted(again).repeated
            assert (accepted(again).origin, accepted(again).first_seq) == (1, 1)
        assert counter_value(each.entry(b"c")[PN_COUNTER]) == 5
    (unknown,) = late.commit([request]).outcomes
    assert not accepted(unknown).repeated


def test_a_request_id_used_for_another_batch_is_refused() -> None:
    node = MemoryNode(1)
    node.write(Increment(b"c", 5), request_id=b"i" * 16)
    with pytest.raises(Refused) as refusal:
        node.write(Increment(b"c", 5), Increment(b"c", 5), request_id=b"i" * 16)
    assert refusal.value.reason is Reason.BAD_REQUEST
    assert counter_value(node.entry(b"c")[PN_COUNTER]) == 5


def test_a_refused_request_may_be_sent_again_under_its_id() -> None:
    node = MemoryNode(1)
    node.write(Put(b"k", b"v"))
    with pytest.raises(Refused):
        node.write(Increment(b"k", 1), request_id=b"i" * 16)
    node.write(Delete(b"k"))
    assert not node.write(Increment(b"k", 1), request_id=b"i" * 16).repeated


def test_registers_are_refused_while_the_clock_is_off_and_nothing_else() -> None:
    node = MemoryNode(1)
    node.write(Put(b"r", b"v", LWW_REGISTER))
    requests = [
        Request([Put(b"r", b"w", LWW_REGISTER)]),
        Request([Delete(b"r")]),
        Request([Put(b"k", b"v"), Increment(b"c", 1)]),
    ]
    outcomes = node.commit(requests, lww_refusal="this node's clock is off").outcomes
    assert [getattr(outcome, "reason", None) for outcome in outcomes] == [
        Reason.CLOCK_OFF,
        Reason.CLOCK_OFF,
        None,
    ]


def test_a_write_wins_over_what_its_client_saw_elsewhere() -> None:
    """Its own node has not received that, and its clock is an hour behind."""
    ahead, behind = MemoryNode(1), MemoryNode(2)
    ahead.write(Put(b"r", b"old", LWW_REGISTER))
    seen = decode_token(b"r", ahead.token(b"r"), SECRET, TOKEN_BYTES_MAX)
    behind.write(Put(b"r", b"new", LWW_REGISTER, seen), wall_ms=WALL_MS - 3_600_000)
    behind.pull(ahead)
    assert behind.entry(b"r")[LWW_REGISTER][3] == b"new"


def test_a_write_leaves_what_its_own_block_makes_of_the_key_elsewhere() -> None:
    """The writer spares the commonest writes the merge: it must come to the same, step by step."""
    chance = Random(3)
    nodes = [MemoryNode(1), MemoryNode(2)]
    for step in range(300):
        node, other = chance.sample(nodes, 2)
        key = b"%d" % chance.randrange(3)
        seen = chance.choice([node, other]).token(key) if chance.random() < 0.5 else None
        context = decode_token(key, seen, SECRET, TOKEN_BYTES_MAX) if seen else None
        operation: Operation
        match chance.randrange(6):
            case 0:
                operation = Put(key, b"%d" % step, blind=True)
            case 1:
                operation = Delete(key, SIBLINGS, context)
            case 2:
                operation = Increment(b"p" + key, chance.choice([-3, 5]))
            case 3:
                operation = Delete(b"p" + key)
            case 4:
                operation = Put(key, b"%d" % step, context=context, deadline=WALL_MS * 2)
            case _:
                operation = Put(key, b"%d" % step, context=context)
        node.commit([Request([operation, *[operation] * chance.randrange(2)])])
        if chance.random() < 0.3:
            other.pull(node)
        wrote = node.encoded()
        node.restart()  # merges all its log, its own blocks among it, into nothing
        assert node.encoded() == wrote, f"step {step}: {operation}"
