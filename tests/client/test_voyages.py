"""A bulk writer's stream: several chunks on their way, and what becomes of them when it breaks."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import pytest
from grpc import ServicerContext, StatusCode

from kvnode import (
    AsyncClient,
    BulkError,
    BulkLimits,
    Client,
    DataType,
    OutcomeUnknown,
    Progress,
    Put,
)
from kvnode.client.bulk import Bulk
from kvnode.client.calls import Calls
from kvnode.client.channels import Endpoint
from kvnode.client.failover import Failover
from kvnode.client.gathering import Gathering, gathering
from kvnode.client.operations import Increment, key_of
from kvnode.client.settings import settings_of
from kvnode.client.voyages import LINGER_S, VOYAGE_S, Voyage
from kvnode.v1 import kv_pb2
from tests.client.scripted import (
    Answer,
    ScriptedNode,
    fail,
    hang,
    operations_in,
    refuse,
    reply,
    succeed,
    write_many_reply,
    write_reply,
    writes_in,
)
from tests.client.test_bulk import Clock
from tests.client.test_lanes import DONE, OUTCOME, status

LIMITS = BulkLimits(operations_max=5, bytes_max=1000, interval_s=60, window_chunks=3)
KEYS = [b"k%d" % number for number in range(20)]
STOPPING_CALL = refuse(StatusCode.UNAVAILABLE, "STOPPING")

Write = Callable[..., Progress]


def with_threads(
    *nodes: ScriptedNode, timeout_s: float = 5.0, keys: list[bytes] = KEYS
) -> Progress:
    """Increments of the keys through a ``Client``."""
    with (
        Client([node.address for node in nodes], timeout_s=timeout_s) as client,
        client.bulk(limits=LIMITS) as bulk,
    ):
        for key in keys:
            bulk.increment(key)
    return bulk.progress


def on_a_loop(
    *nodes: ScriptedNode, timeout_s: float = 5.0, keys: Sequence[bytes] = KEYS
) -> Progress:
    """The same through an ``AsyncClient``."""

    async def work() -> Progress:
        addresses = [node.address for node in nodes]
        async with AsyncClient(addresses, timeout_s=timeout_s) as client:
            async with client.bulk(limits=LIMITS) as bulk:
                for key in keys:
                    await bulk.increment(key)
            return bulk.progress

    return asyncio.run(work())


both_clients = pytest.mark.parametrize("write", [with_threads, on_a_loop])


def asked(node: ScriptedNode) -> list[bytes]:
    """The keys of all increments that came, in order."""
    return [each.increment.key for each in node.operations]


def refuse_keys(
    *keys: bytes,
    code: StatusCode = StatusCode.FAILED_PRECONDITION,
    reason: str = "COUNTER_OVERFLOW",
) -> Answer:
    """A refusal of each write in which one of the keys is, success for all others."""
    refused = OUTCOME(error=status(code, reason))

    def is_mine(request: kv_pb2.WriteRequest) -> bool:
        return not {key_of(each) for each in operations_in(request)}.isdisjoint(keys)

    def step(asked: Any, context: ServicerContext) -> Any:
        if isinstance(asked, kv_pb2.WriteRequest):
            return refuse(code, reason)(asked, context) if is_mine(asked) else write_reply(asked)
        answer = write_many_reply(asked)
        for outcome, each in zip(answer.outcomes, asked.requests, strict=True):
            if is_mine(each):
                outcome.CopyFrom(refused)
        return answer

    return step


def puts_with_threads(*nodes: ScriptedNode, keys: Sequence[bytes], timeout_s: float = 5.0) -> Bulk:
    """Puts of the keys, each of its number; not raising."""
    with Client([node.address for node in nodes], timeout_s=timeout_s) as client:
        bulk = client.bulk(limits=LIMITS)
        with suppress(BulkError), bulk:
            for number, key in enumerate(keys):
                bulk.put(key, str(number), lww=True)
    return bulk


@both_clients
@pytest.mark.parametrize(
    "broken",
    [
        fail(StatusCode.UNAVAILABLE, "Socket closed"),
        fail(StatusCode.INTERNAL),
        refuse(StatusCode.RESOURCE_EXHAUSTED, "QUEUE_FULL"),
    ],
)
def test_what_may_have_been_done_is_asked_again_there_in_order(
    write: Write, node: ScriptedNode, other: ScriptedNode, broken: Answer
) -> None:
    """The second chunk's answer is lost; those behind it had not been answered either."""
    node.script = [succeed, broken]
    assert write(node, other) == Progress(taken=20, acknowledged=20)
    assert other.calls == []
    assert len(set(node.request_ids)) == 4, "asked again under another id"
    assert asked(node)[:10] == KEYS[:10]
    assert asked(node)[10:] == KEYS[5:], "not all of the second chunk was asked for again"


@both_clients
def test_what_was_not_taken_goes_to_the_next_node(
    write: Write, node: ScriptedNode, other: ScriptedNode
) -> None:
    """Unless a chunk was being sent on the loop as the stream ended: gRPC then says INTERNAL
    instead of what the node said. That is no certainty, so the same node is asked again.
    """
    node.script = [succeed, *[STOPPING_CALL] * 9]
    assert write(node, other) == Progress(taken=20, acknowledged=20)
    if write is on_a_loop and not other.calls:
        assert asked(node)[-15:] == KEYS[5:]
    else:
        assert asked(other) == KEYS[5:]


@both_clients
def test_a_chunk_that_another_node_may_take_goes_there(
    write: Write, node: ScriptedNode, other: ScriptedNode
) -> None:
    node.script = [refuse_keys(KEYS[6], code=StatusCode.UNAVAILABLE, reason="STOPPING")] * 20
    assert write(node, other) == Progress(taken=20, acknowledged=20)
    assert set(KEYS[5:10]) <= set(asked(other))
    assert not set(asked(other)) & set(KEYS[:5]), "what was done was done again"


@both_clients
@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (StatusCode.FAILED_PRECONDITION, "COUNTER_OVERFLOW"),
        (StatusCode.INVALID_ARGUMENT, "BAD_VALUE"),
        (StatusCode.RESOURCE_EXHAUSTED, "TOO_MANY_SIBLINGS"),
        (StatusCode.DATA_LOSS, "STATE_DAMAGED"),
    ],
)
def test_only_what_is_wrong_fails(
    write: Write, node: ScriptedNode, code: StatusCode, reason: str
) -> None:
    """The chunk it is in is refused as a whole, and done all the same but for that."""
    node.script = [refuse_keys(KEYS[6], KEYS[8], code=code, reason=reason)] * 30
    with pytest.raises(BulkError) as raised:
        write(node)
    assert [each.number for each in raised.value.failures] == [6, 8]
    assert [each.operation for each in raised.value.failures] == [
        Increment(KEYS[6]),
        Increment(KEYS[8]),
    ]
    assert raised.value.progress == Progress(taken=20, acknowledged=18, failed=2)
    done = Counter(key_of(each) for each in done_by(node, {KEYS[6], KEYS[8]}))
    assert done == dict.fromkeys({*KEYS} - {KEYS[6], KEYS[8]}, 1), "lost or doubled"


def done_by(node: ScriptedNode, wrong: set[bytes]) -> list[kv_pb2.Operation]:
    """What a node did that refuses whatever has one of these keys in it; each request once."""
    done: dict[bytes, list[kv_pb2.Operation]] = {}
    for method, request in node.calls:
        for each in writes_in(request) if method in ("Write", "WriteMany") else []:
            operations = operations_in(each)
            if wrong.isdisjoint(map(key_of, operations)):
                assert done.setdefault(each.request_id, operations) == operations
    return [operation for operations in done.values() for operation in operations]


def test_a_refused_chunk_is_not_overtaken_by_a_later_one_of_its_keys(node: ScriptedNode) -> None:
    """The second chunk is sent when the first has been taken apart and is settled."""
    keys = [b"wrong", b"k", b"a", b"b", b"c", b"k", b"d", b"e", b"f", b"g"]
    node.script = [refuse_keys(b"wrong")] * 30
    bulk = puts_with_threads(node, keys=keys)
    assert bulk.progress == Progress(taken=10, acknowledged=9, failed=1)
    values = [each.put.value for each in done_by(node, {b"wrong"}) if each.put.key == b"k"]
    assert values == [b"1", b"5"]


def test_failover_and_lost_replies_in_the_middle_neither_lose_nor_double(
    node: ScriptedNode, other: ScriptedNode
) -> None:
    """The second chunk's answer is lost, then it is refused for one of its operations; those
    behind it meet a node that stops for a while.
    """
    keys = [*KEYS[:8], b"wrong", *KEYS[8:18]]
    wrong = refuse_keys(b"wrong", code=StatusCode.INVALID_ARGUMENT, reason="BAD_VALUE")
    lost = fail(StatusCode.INTERNAL)
    node.script = [succeed, lost, wrong, wrong, *[STOPPING_CALL] * 2, *[wrong] * 30]
    other.script = [wrong] * 30
    bulk = puts_with_threads(node, other, keys=keys)
    (failure,) = bulk.failures
    assert failure.operation == Put(b"wrong", "8", lww=True)
    assert bulk.progress == Progress(taken=19, acknowledged=18, failed=1)
    per_id: dict[bytes, set[tuple[bytes, ...]]] = {}
    for each in (node, other):
        for method, request in each.calls:
            for one in writes_in(request) if method in ("Write", "WriteMany") else []:
                per_id.setdefault(one.request_id, set()).add(tuple(map(key_of, operations_in(one))))
    assert all(len(asked) == 1 for asked in per_id.values()), "an id was used for something else"


def test_a_chunk_waits_for_one_with_a_key_in_common() -> None:
    waiting, voyage = at_sea()
    for number in range(15):
        waiting.put("k" if number in (0, 5) else str(number), "v", lww=True, ttl=None)
    first = voyage.send()
    assert not voyage.may_send(), "the first chunk could be overtaken"
    assert voyage.wait_s() > 1, "the writer would wait in circles"
    voyage.answered(write_many_reply(first))
    assert voyage.may_send()
    voyage.send()
    assert voyage.may_send(), "nothing in common"


def test_increments_of_several_types_wait_for_each_other() -> None:
    """A counter of which type the second finds depends on whether the first is done."""
    waiting, voyage = at_sea()
    for kind in (DataType.G_COUNTER, None, None):
        for _ in range(5):
            waiting.increment("k", 1, kind)
    voyage.send()
    assert not voyage.may_send()


def test_an_answer_of_the_wrong_length_says_nothing(node: ScriptedNode) -> None:
    node.script = [reply(kv_pb2.WriteManyResponse(outcomes=[DONE, DONE]))]
    assert with_threads(node) == Progress(taken=20, acknowledged=20)
    assert len(set(node.request_ids)) == 4
    assert asked(node).count(KEYS[0]) == 2


@both_clients
def test_a_node_that_hangs_leaves_outcomes_unknown(
    write: Write, node: ScriptedNode, other: ScriptedNode
) -> None:
    node.script = [succeed, hang, hang]
    with pytest.raises(BulkError) as raised:
        write(node, other, timeout_s=1.5, keys=KEYS[:10])
    assert raised.value.progress == Progress(taken=10, acknowledged=5, failed=5)
    assert {type(each.error) for each in raised.value.failures} == {OutcomeUnknown}
    assert other.calls == []


def at_sea() -> tuple[Gathering, Voyage]:
    """A stream that has just begun, at a time that stands still."""
    failover = Failover(["h:1"], Clock())
    calls = Calls(failover, settings_of(5, "fsync", None, session=False))
    waiting = gathering(calls, LIMITS, None, None)
    return waiting, Voyage(waiting, Endpoint("h:1"))


def later(waiting: Gathering, seconds: float) -> None:
    """Let time pass."""
    clock = waiting.calls.failover.now
    assert isinstance(clock, Clock)
    clock.now += seconds


def test_a_chunk_leaves_while_others_are_on_their_way() -> None:
    waiting, voyage = at_sea()
    sent = []
    for _ in range(15):
        waiting.increment("k", 1, None)
    assert waiting.full
    while voyage.may_send():
        sent.append(voyage.send())
    assert [len(operations_in(message.requests[0])) for message in sent] == [5, 5, 5]
    assert [message.wait_ms for message in sent] == [4900] * 3
    assert waiting.full, "what is on its way holds the caller too"
    voyage.answered(write_many_reply(sent[0]))
    assert not waiting.full
    assert waiting.progress == Progress(taken=15, acknowledged=5)
    for _ in range(5):
        waiting.increment("k", 1, None)
    assert voyage.may_send()
    later(waiting, 5)
    assert not voyage.is_overdue()
    later(waiting, 1)
    assert voyage.is_overdue()


def test_bytes_on_their_way_hold_the_caller_until_they_are_answered() -> None:
    waiting, voyage = at_sea()
    sent = []
    for number in range(LIMITS.window_chunks):
        assert not waiting.full
        waiting.put(f"k{number}", b"x" * LIMITS.bytes_max, lww=True, ttl=None)
        sent.append(voyage.send())
    assert waiting.full
    voyage.answered(write_many_reply(sent[0]))
    assert not waiting.full


def test_a_stream_ends_when_it_is_idle_or_old() -> None:
    waiting, voyage = at_sea()
    assert not voyage.is_over()
    later(waiting, LINGER_S)
    assert voyage.is_over()
    waiting.increment("k", 1, None)
    waiting.flush()
    message = voyage.send()
    assert not voyage.is_over()
    voyage.answered(write_many_reply(message))
    assert not voyage.is_over()
    later(waiting, VOYAGE_S)
    waiting.increment("k", 1, None)
    assert not voyage.may_send()
    assert voyage.is_over()
