"""Puts and increments of several callers in columns: what each is told."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from google.rpc.status_pb2 import Status
from grpc import StatusCode

from kvnode import (
    AsyncClient,
    DataType,
    FailedPrecondition,
    InvalidArgument,
    OutcomeUnknown,
    Receipt,
)
from kvnode.client.values import Dot
from kvnode.testing import LocalNodes
from kvnode.v1 import kv_pb2, types_pb2
from tests.client.scripted import (
    DOT,
    SESSION,
    Answer,
    ScriptedNode,
    fail,
    hang,
    operations_in,
    outcomes,
    refuse,
    reply,
    succeed,
    writes_in,
)
from tests.client.test_alike import Call, add, alone, first_of, put, together
from tests.client.test_lanes import DONE, OUTCOME, status

ALIKE = kv_pb2.WriteManyResponse.Alike


def numbered(request: kv_pb2.WriteManyRequest, _context: object) -> kv_pb2.WriteManyResponse:
    """Everything is done; contexts are keys, sums ten times the amounts."""
    answer = kv_pb2.WriteManyResponse()
    seq = DOT.seq
    for each in request.requests:
        (operation,) = operations_in(each)
        result = answer.outcomes.add().response.results.add()
        result.dot.origin, result.dot.seq = DOT.origin, seq
        if operation.HasField("put"):
            result.context = operation.put.key
        seq += 1
    for group in request.alike:
        amounts = group.increments.amounts or [1] * len(group.increments.keys)
        answer.alike.append(
            ALIKE(
                first=types_pb2.Dot(origin=DOT.origin, seq=seq),
                contexts=group.puts.keys,
                sums=[10 * amount for amount in amounts],
                session=SESSION,
            )
        )
        seq += len(group.request_ids)
    return answer


def test_everyone_gets_his_own_answer_though_kinds_are_mixed(node: ScriptedNode) -> None:
    node.script = [numbered]
    found = together(
        put("a"),
        add("b", 3),
        put("c", context=b"x"),
        put("d"),
        add("e"),
        put("f", lww=True),
        at=(node.address,),
    )
    told = [(each.dot.seq - DOT.seq, each.context, each.counter) for each in found]
    assert told == [
        (1, b"a", None),
        (3, b"", 30),
        (0, b"c", None),
        (2, b"d", None),
        (4, b"", 10),
        (5, b"f", None),
    ]


@pytest.mark.parametrize("call", [put("k"), add("k")])
def test_receipts_are_those_of_requests(node: ScriptedNode, call: Call) -> None:
    def told(request: Any, _context: object) -> kv_pb2.WriteResponse:
        """As the usual reply, at the level "fsync"."""
        (operation,) = request.operations
        result = kv_pb2.WriteResult(dot=DOT)
        if operation.HasField("put"):
            result.context = b"ctx"
        else:
            result.counter.value = 5
        return kv_pb2.WriteResponse(results=[result], session=SESSION)

    node.script = [succeed, told]
    first, second = together(call, call, at=(node.address,))
    other = alone(call, node.address)
    assert first == other
    assert repr(first) == repr(other)
    assert type(first.dot) is Dot
    assert second.dot == (DOT.origin, DOT.seq + 1)
    assert first.session == second.session == {DOT.origin: DOT.seq}
    assert first.session is not second.session
    assert node.methods == ["WriteMany", "Write"]


def test_outcomes_of_a_group_are_those_of_its_callers(
    node: ScriptedNode, other: ScriptedNode
) -> None:
    """Known already, refused, not here, not known: each with kinds mixed in one call."""
    known = kv_pb2.WriteResponse(
        results=[kv_pb2.WriteResult(dot=DOT, context=b"was")], session=SESSION, repeated=True
    )
    node.script = [
        outcomes(
            OUTCOME(response=known),
            OUTCOME(error=status(StatusCode.FAILED_PRECONDITION, "TYPE_CONFLICT")),
            OUTCOME(error=status(StatusCode.UNAVAILABLE, "STOPPING")),
            OUTCOME(error=Status(code=2, message="the log failed")),
            DONE,
            OUTCOME(error=status(StatusCode.INVALID_ARGUMENT, "BAD_AMOUNT")),
        ),
        fail(StatusCode.UNIMPLEMENTED),
    ]
    calls = (put("a"), add("e"), put("b"), put("c"), add("f"), put("d"))
    a, e, b, c, f, d = together(*calls, at=(node.address, other.address))
    assert (a.repeated, a.context, a.endpoint) == (True, b"was", node.address)
    assert isinstance(b, FailedPrecondition)
    assert c.endpoint == other.address
    assert isinstance(d, OutcomeUnknown)
    assert (e.endpoint, e.repeated) == (node.address, False)
    assert isinstance(f, InvalidArgument)
    ids = dict(zip([each.put.key for each in node.operations], node.request_ids, strict=True))
    assert d.request_id == ids[b"d"]
    assert [each.put.key for each in other.operations] == [b"c"]
    assert other.request_ids == [ids[b"c"]]


KNOWN = OUTCOME(
    response=kv_pb2.WriteResponse(results=[kv_pb2.WriteResult(dot=DOT)], session=SESSION)
)


@pytest.mark.parametrize("first", [succeed, outcomes(*[KNOWN] * 4)])
def test_what_an_answer_shows_is_known_of_its_node(node: ScriptedNode, first: Answer) -> None:
    """So sessions that have seen no more need not wait apart."""
    node.script = [first]

    async def work() -> None:
        async with AsyncClient(node.address) as db:
            sessions = [db.session(), db.session()]
            await asyncio.gather(*(each.put(key, "v") for each in sessions for key in "ab"))
            await asyncio.gather(*(each.put("k", "v") for each in sessions))

    asyncio.run(work())
    assert [(len(call.requests), len(call.alike)) for _, call in node.calls] == [(0, 1), (2, 0)]


CONTEXTS = ALIKE(first=DOT, contexts=[b"c", b"c"], session=SESSION)
SUMS = ALIKE(first=DOT, sums=[5, 5], session=SESSION)


@pytest.mark.parametrize(
    ("alike", "told"),
    [
        ([], 0),
        ([CONTEXTS], 0),
        ([CONTEXTS, SUMS, SUMS], 0),
        ([SUMS, CONTEXTS], 0),
        ([ALIKE(first=DOT, contexts=[b"c"], session=SESSION), SUMS], 0),
        ([CONTEXTS, ALIKE(first=DOT, sums=[5, 5, 5], session=SESSION)], 0),
        ([CONTEXTS, ALIKE(outcomes=[DONE])], 0),
        ([CONTEXTS, ALIKE()], 0),
        ([CONTEXTS, SUMS], 1),
        ([], 4),
    ],
)
def test_an_answer_that_does_not_fit_is_none(
    node: ScriptedNode, other: ScriptedNode, alike: list[Any], told: int
) -> None:
    """Nobody knows what became of whom: all are asked for again, there, under their ids."""
    node.script = [reply(kv_pb2.WriteManyResponse(outcomes=[DONE] * told, alike=alike)), numbered]
    calls = (put("a"), add("b"), put("c"), add("d"))
    found = together(*calls, at=(node.address, other.address))
    assert [each.context or each.counter for each in found] == [b"a", 10, b"c", 10]
    assert node.calls[0] == node.calls[1]
    assert len(node.calls) == 2
    assert other.calls == []


def test_a_group_without_an_answer_is_of_unknown_outcome(node: ScriptedNode) -> None:
    node.script = [hang]
    calls = [put("a"), add("b"), put("c"), add("d")]
    found = together(*calls, at=(node.address,), timeout_s=0.4)
    assert all(isinstance(each, OutcomeUnknown) for each in found)
    writes = ["put of key 'a'", "increment of key 'b'", "put of key 'c'", "increment of key 'd'"]
    assert [each.write for each in found] == writes
    ids = dict(zip(keys_of(node), node.request_ids, strict=True))
    assert [each.request_id for each in found] == [ids[key] for key in (b"a", b"b", b"c", b"d")]


def keys_of(node: ScriptedNode) -> list[bytes]:
    """Of the writes that came."""
    return [each.put.key or each.increment.key for each in node.operations]


def test_a_lost_reply_is_asked_for_again_there_under_the_same_ids(
    node: ScriptedNode, other: ScriptedNode
) -> None:
    """Of three one has lost it for good, in the second call two are left."""
    lost = OUTCOME(error=Status(code=2, message="the log failed"))
    node.script = [outcomes(lost, DONE, lost), outcomes(lost, DONE), succeed]
    found = together(put("a"), put("b"), put("c"), at=(node.address, other.address))
    assert [each.endpoint for each in found] == [node.address] * 3
    assert keys_of(node) == [b"a", b"b", b"c", b"a", b"c", b"a"]
    assert node.request_ids[3:] == [node.request_ids[0], node.request_ids[2], node.request_ids[0]]
    assert node.methods == ["WriteMany", "WriteMany", "Write"]
    assert other.calls == []


def test_what_one_node_does_not_take_goes_on_under_the_same_ids(
    node: ScriptedNode, other: ScriptedNode
) -> None:
    node.script = [refuse(StatusCode.UNAVAILABLE, "STOPPING")]
    found = together(put("a"), add("b"), put("c"), at=(node.address, other.address))
    assert [each.endpoint for each in found] == [other.address] * 3
    assert node.calls == other.calls


def test_a_group_that_is_refused_as_a_call_is_taken_apart(node: ScriptedNode) -> None:
    node.script = [refuse(StatusCode.INVALID_ARGUMENT, "BATCH_TOO_LARGE"), succeed, numbered]
    calls = [put("a"), add("b"), put("c"), add("d")]
    assert all(each.dot for each in together(*calls, at=(node.address,)))
    assert list(map(call_keys, node.calls)) == [b"acbd", b"ab", b"cd"]
    assert sorted(node.request_ids[:4]) == sorted(node.request_ids[4:])


def call_keys(call: tuple[str, Any]) -> bytes:
    """Of one call."""
    writes = [first_of(each) for each in writes_in(call[1])]
    return b"".join(each.put.key or each.increment.key for each in writes)


def test_a_node_and_a_client_mean_the_same_by_columns() -> None:
    """Values, sums, contexts and dots; and under ids that it knows nothing is done again."""
    ids = [bytes([number]) * 16 for number in range(8)]

    async def write(db: AsyncClient) -> list[Receipt]:
        return await asyncio.gather(
            db.put("a", "1", request_id=ids[0]),
            db.increment("sum", 5, request_id=ids[1]),
            db.put("register", "2", lww=True, request_id=ids[2]),
            db.put("b", "3", request_id=ids[3]),
            db.increment("sum", -2, request_id=ids[4]),
            db.increment("grown", 4, type=DataType.G_COUNTER, request_id=ids[5]),
            db.put("short", "4", ttl=3600, request_id=ids[6]),
            db.put("a", "5", request_id=ids[7]),
        )

    async def work(at: str) -> None:
        async with AsyncClient(at) as db:
            first = await write(db)
            assert [each.counter for each in first] == [None, 5, None, None, 3, 4, None, None]
            assert [bool(each.context) for each in first] == [
                each.counter is None for each in first
            ]
            assert len({each.dot for each in first}) == len(ids)
            assert all(each.session[each.dot.origin] >= each.dot.seq for each in first)
            found = await db.batch_get(["a", "b", "register", "sum", "grown", "short"])
            values = [each.one().value for each in found]
            assert values == [b"5", b"3", b"2", 3, 4, b"4"]
            assert found[-1].siblings[0].expires_ms
            await db.put("a", "6", context=first[-1].context)
            assert (await db.get("a")).one().value == b"6"
            again = await write(db)
            assert all(each.repeated for each in again)
            assert [each.dot for each in again] == [each.dot for each in first]
            assert (await db.get("sum")).one().value == 3

    with LocalNodes(1) as nodes:
        asyncio.run(work(nodes.endpoints["n1"]))
