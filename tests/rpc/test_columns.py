"""Requests in columns are answered as the same operations one by one, and briefly with the rest.

Two replicas behind the writing half of the service get the same requests in their two forms, valid
and not; what they answer, refuse and log must be equal.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any, cast

from hypothesis import given, settings
from hypothesis import strategies as st

from kvnode.core.dots import Vector
from kvnode.core.entry import Entry
from kvnode.core.errors import Refused
from kvnode.core.limits import Limits
from kvnode.core.replica import Request
from kvnode.core.requests import Remembered
from kvnode.core.types.slots import INT64_MAX
from kvnode.rpc.handlers import failure_of
from kvnode.rpc.kv_codec import KvCodec
from kvnode.rpc.kv_queued import Answer
from kvnode.rpc.kv_writing import Writing
from kvnode.rpc.levels_codec import Levels
from kvnode.v1 import kv_pb2 as pb
from tests.core.memory_node import SECRET, WALL_MS, MemoryNode

LIMITS = Limits(value_bytes_max=20, batch_bytes_max=300, batch_operations_max=12)
FAR = 1e9


class Alone:
    """A store of one member whose every request is a round of its own."""

    def __init__(self) -> None:
        self.node = MemoryNode(7)
        self.closing = asyncio.Event()
        self.lost = 0

    @property
    def vector(self) -> Vector:
        return self.node.vector

    @property
    def levels(self) -> Levels:
        return cast("Levels", None)  # nothing here waits for others

    def enqueue(self, request: Request, size: int) -> Answer:  # noqa: ARG002
        answer: Answer = asyncio.get_running_loop().create_future()
        outcome = self.node.commit([request]).outcomes[0]
        if isinstance(outcome, Refused):
            answer.set_exception(outcome)
        else:
            answer.set_result((outcome, self.node.vector))
        return answer

    def buffered_lost(self, operations: int) -> None:
        self.lost += operations

    async def room(self) -> None: ...

    def read(self, key: bytes) -> Entry:
        return self.node.entry(key)

    def now_ms(self) -> int:
        return WALL_MS

    def remembered(self, request_id: bytes) -> Remembered | None:
        return self.node.replica.durable.requests.get(request_id)


keys = st.sampled_from([b"a", b"a", b"b", b"c", b"c", b"", bytes(481)])
values = st.sampled_from([b"", b"1", b"22", bytes(20), bytes(21)])
amounts = st.sampled_from([1, 1, 2, -1, 0, INT64_MAX, -INT64_MAX, -INT64_MAX - 1])
types: st.SearchStrategy[Any] = st.sampled_from([0, 1, 2, 3, 3, 4, 4, 5])
ttls = st.sampled_from([None, None, None, 0, 1, 5_000, 2**64 - 1])
ids = st.sampled_from([b"", b"", b"", b"1" * 16, b"2" * 16, b"short"])
sound = st.integers(0, 3)
"""Of most batches all keys and values are within their bounds."""


@st.composite
def asked(draw: st.DrawFn) -> tuple[pb.WriteRequest, pb.WriteRequest]:
    """A request in columns, and operation by operation."""
    request_id, size = draw(ids), draw(st.sampled_from([0, 1, 2, 3, 6, 13]))
    named = [draw(keys) for _ in range(size)]
    if draw(sound):
        named = [key if len(key) == 1 else b"a" for key in named]
    columns = pb.WriteRequest(request_id=request_id)
    single = pb.WriteRequest(request_id=request_id)
    if draw(st.booleans()):
        columns.puts.SetInParent()
        columns.puts.keys.extend(named)
        columns.puts.type = draw(types)
        ttl_ms = draw(ttls) if named else None
        if ttl_ms is not None:
            columns.puts.ttl_ms = ttl_ms
        for key in named:
            put = single.operations.add().put
            put.key, put.value, put.type = key, draw(values), columns.puts.type
            if ttl_ms is not None:
                put.ttl_ms = ttl_ms
            columns.puts.values.append(put.value)
    else:
        columns.increments.SetInParent()
        columns.increments.keys.extend(named)
        columns.increments.type = draw(types)
        by_one = draw(st.booleans())
        for key in named:
            increment = single.operations.add().increment
            increment.key, increment.type = key, columns.increments.type
            increment.amount = 1 if by_one else draw(amounts)
            if not by_one:
                columns.increments.amounts.append(increment.amount)
    return columns, single


async def alone(writing: Writing, request: pb.WriteRequest) -> Any:
    try:
        return await writing.write(request, FAR)
    except Exception as error:
        return failure_of(error)


async def many(writing: Writing, requests: Sequence[pb.WriteRequest]) -> Any:
    try:
        return await writing.write_many(pb.WriteManyRequest(requests=requests), FAR)
    except Refused as refusal:
        return failure_of(refusal)


async def streamed(writing: Writing, requests: Sequence[pb.WriteRequest]) -> Any:
    async def messages() -> AsyncIterator[pb.WriteManyRequest]:
        yield pb.WriteManyRequest(requests=requests)

    try:
        return [reply async for reply in writing.write_stream(messages())]
    except Refused as refusal:
        return failure_of(refusal)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.lists(asked(), max_size=3), min_size=1, max_size=4))
def test_columns_are_answered_as_the_same_operations_one_by_one(played: list[Any]) -> None:
    async def test() -> None:
        one, other = Alone(), Alone()
        codec = KvCodec(SECRET, LIMITS, str)
        mine, theirs = Writing(one, codec, LIMITS), Writing(other, codec, LIMITS)
        for index, pairs in enumerate(played):
            columns, single = [each for each, _ in pairs], [each for _, each in pairs]
            call = (many, streamed)[index % 2]
            assert await call(mine, columns) == await call(theirs, single)
            for column, operations in pairs:
                assert await alone(mine, column) == await alone(theirs, operations)
        assert logged(one) == logged(other)
        assert one.node.encoded() == other.node.encoded()

    asyncio.run(test())


@settings(max_examples=100, deadline=None)
@given(st.lists(asked(), min_size=1, max_size=4))
def test_a_brief_answer_lacks_the_results_and_names_the_first_dot(played: list[Any]) -> None:
    async def test() -> None:
        one, other = Alone(), Alone()
        codec = KvCodec(SECRET, LIMITS, str)
        mine, theirs = Writing(one, codec, LIMITS), Writing(other, codec, LIMITS)
        for columns, single in played:
            whole = await alone(theirs, single)
            for form in (columns, single):
                form.brief = True
            if isinstance(whole, pb.WriteResponse):
                whole.first.CopyFrom(whole.results[0].dot)
                del whole.results[:]
            assert await alone(mine, columns) == whole
            if columns.request_id and isinstance(whole, pb.WriteResponse):
                again = await alone(mine, single)
                assert (again.repeated, again.first) == (True, whole.first)
        assert logged(one) == logged(other)

    asyncio.run(test())


def logged(store: Alone) -> list[bytes]:
    return [raw for _, raw in store.node.log.replay(0)]


def test_a_request_has_one_kind_of_operations_and_columns_of_one_length() -> None:
    puts = pb.Puts(keys=[b"a"], values=[b"1"])
    increments = pb.Increments(keys=[b"a"])
    operations = [pb.Operation(put=pb.Put(key=b"a"))]
    wrong = {
        "one of them": [
            pb.WriteRequest(puts=puts, increments=increments),
            pb.WriteRequest(puts=puts, operations=operations),
            pb.WriteRequest(increments=increments, operations=operations),
            pb.WriteRequest(puts=pb.Puts(), increments=pb.Increments()),
        ],
        "2 keys and 1 values": [pb.WriteRequest(puts=pb.Puts(keys=[b"a", b"b"], values=[b"1"]))],
        "1 keys and 2 amounts": [
            pb.WriteRequest(increments=pb.Increments(keys=[b"a"], amounts=[1, 2]))
        ],
        "at least one operation": [
            pb.WriteRequest(),
            pb.WriteRequest(puts=pb.Puts()),
            pb.WriteRequest(increments=pb.Increments(), brief=True),
        ],
        "at most 12 operations": [
            pb.WriteRequest(increments=pb.Increments(keys=[b"a"] * 13)),
            pb.WriteRequest(puts=pb.Puts(keys=[b"a"] * 13, values=[b"1"] * 13)),
        ],
    }

    async def test() -> None:
        store = Alone()
        writing = Writing(store, KvCodec(SECRET, LIMITS, str), LIMITS)
        for words, requests in wrong.items():
            for request in requests:
                assert words in (await alone(writing, request)).message
        assert store.vector == {}

    asyncio.run(test())


def test_a_stream_message_counts_what_its_columns_hold() -> None:
    seven = pb.WriteRequest(increments=pb.Increments(keys=[b"a"] * 7))

    async def test() -> None:
        store = Alone()
        writing = Writing(store, KvCodec(SECRET, LIMITS, str), LIMITS)
        for call in (many, streamed):
            assert "at most 12 operations" in (await call(writing, [seven, seven])).message
        assert store.vector == {}

    asyncio.run(test())


def test_a_brief_answer_from_the_queue_is_empty() -> None:
    async def test() -> None:
        store = Alone()
        writing = Writing(store, KvCodec(SECRET, LIMITS, str), LIMITS)
        request = pb.WriteRequest(puts=pb.Puts(keys=[b"a"], values=[b"1"]), brief=True)
        request.options.durability = pb.DURABILITY_BUFFERED
        assert await alone(writing, request) == pb.WriteResponse()
        assert store.vector == {7: 1}

    asyncio.run(test())
