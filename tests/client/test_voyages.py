"""A bulk writer's stream: several chunks on their way, and what becomes of them when it breaks."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from grpc import ServicerContext, StatusCode

from kvnode import AsyncClient, BulkError, BulkLimits, Client, OutcomeUnknown, Progress
from kvnode.client.calls import Calls
from kvnode.client.channels import Endpoint
from kvnode.client.failover import Failover
from kvnode.client.gathering import Gathering, gathering
from kvnode.client.operations import Increment
from kvnode.client.settings import settings_of
from kvnode.client.voyages import LINGER_S, VOYAGE_S, Voyage
from kvnode.v1 import kv_pb2
from tests.client.scripted import (
    Answer,
    ScriptedNode,
    fail,
    hang,
    refuse,
    reply,
    succeed,
    write_many_reply,
    write_reply,
)
from tests.client.test_bulk import Clock
from tests.client.test_lanes import DONE, OUTCOME, status

LIMITS = BulkLimits(operations_max=5, interval_s=60, window_chunks=3)
KEYS = [b"k%d" % number for number in range(20)]
STOPPING_CALL = refuse(StatusCode.UNAVAILABLE, "STOPPING")
STOPPING = OUTCOME(error=status(StatusCode.UNAVAILABLE, "STOPPING"))

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


def refuse_key(key: bytes) -> Answer:
    """STOPPING for the operations of one key, success for all others."""

    def step(asked: Any, context: ServicerContext) -> Any:
        if isinstance(asked, kv_pb2.WriteRequest):
            mine = asked.operations[0].increment.key == key
            return STOPPING_CALL(asked, context) if mine else write_reply(asked)
        answer = write_many_reply(asked)
        for outcome, each in zip(answer.outcomes, asked.requests, strict=True):
            if each.operations[0].increment.key == key:
                outcome.CopyFrom(STOPPING)
        return answer

    return step


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
    assert len(set(node.request_ids)) == 20, "asked again under another id"
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
def test_an_operation_that_another_node_may_take_goes_there(
    write: Write, node: ScriptedNode, other: ScriptedNode
) -> None:
    node.script = [refuse_key(KEYS[6])] * 20
    assert write(node, other) == Progress(taken=20, acknowledged=20)
    assert KEYS[6] in asked(other)
    assert not set(asked(other)) & {*KEYS[:6], *KEYS[7:10]}, "what was done was done again"


def test_an_operation_is_not_done_elsewhere_behind_a_later_one_of_its_key() -> None:
    """The chunk behind it is done already when its refusal comes."""
    waiting, voyage = at_sea()
    for key in ("k", "a", "b", "c", "d", "k", "e", "f", "g", "h"):
        waiting.take(Increment(key))
    voyage.send()
    voyage.send()
    voyage.answered(kv_pb2.WriteManyResponse(outcomes=[STOPPING, DONE, DONE, DONE, DONE]))
    assert not voyage.may_send()
    voyage.answered(kv_pb2.WriteManyResponse(outcomes=[DONE] * 5))
    assert voyage.is_over()
    assert list(voyage.settle(None)) == [], "somebody was asked"
    for chunk in voyage.unfinished():
        waiting.landed(chunk)
    (failure,) = waiting.failures
    assert failure.number == 0
    assert waiting.progress == Progress(taken=10, acknowledged=9, failed=1)


def test_an_answer_of_the_wrong_length_says_nothing(node: ScriptedNode) -> None:
    node.script = [reply(kv_pb2.WriteManyResponse(outcomes=[DONE]))]
    assert with_threads(node) == Progress(taken=20, acknowledged=20)
    assert len(set(node.request_ids)) == 20
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
        waiting.take(Increment("k"))
    assert waiting.full
    while voyage.may_send():
        sent.append(voyage.send())
    assert [len(message.requests) for message in sent] == [5, 5, 5]
    assert [message.wait_ms for message in sent] == [4900] * 3
    assert waiting.full, "what is on its way holds the caller too"
    voyage.answered(write_many_reply(sent[0]))
    assert not waiting.full
    assert waiting.progress == Progress(taken=15, acknowledged=5)
    for _ in range(5):
        waiting.take(Increment("k"))
    assert voyage.may_send()
    later(waiting, 5)
    assert not voyage.is_overdue()
    later(waiting, 1)
    assert voyage.is_overdue()


def test_a_stream_ends_when_it_is_idle_or_old() -> None:
    waiting, voyage = at_sea()
    assert not voyage.is_over()
    later(waiting, LINGER_S)
    assert voyage.is_over()
    waiting.take(Increment("k"))
    waiting.flush()
    message = voyage.send()
    assert not voyage.is_over()
    voyage.answered(write_many_reply(message))
    assert not voyage.is_over()
    later(waiting, VOYAGE_S)
    waiting.take(Increment("k"))
    assert not voyage.may_send()
    assert voyage.is_over()
