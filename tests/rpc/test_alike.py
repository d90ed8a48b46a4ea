"""Requests of one operation each in columns become what they become one by one.

Two replicas behind the writing half of the service get the same requests in their two forms, valid
and not; what they answer, refuse and log must be equal.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
from google.rpc.error_details_pb2 import ErrorInfo
from hypothesis import given, settings
from hypothesis import strategies as st

from kvnode.core.block import decode_block
from kvnode.core.errors import Reason, Refused
from kvnode.core.replica import Request
from kvnode.core.types.slots import INT64_MAX
from kvnode.rpc.handlers import failure_of
from kvnode.rpc.kv_codec import KvCodec
from kvnode.rpc.kv_queued import Answer
from kvnode.rpc.kv_writing import Writing
from kvnode.v1 import kv_pb2 as pb
from tests.core.memory_node import SECRET
from tests.storage.faulty import until

from .test_columns import FAR, LIMITS, Alone, logged

ID = [b"%016d" % number for number in range(8)]
keys = st.sampled_from([b"a", b"a", b"b", b"c", b"d", b"e"])
spoiled_keys = st.sampled_from([b"a", b"b", b"", bytes(481)])
values = st.sampled_from([b"", b"1", b"22", b"22", bytes(21)])
amounts = st.sampled_from([1, 1, 2, -1, 3, INT64_MAX, -INT64_MAX, 0])
types: st.SearchStrategy[Any] = st.sampled_from([0, 0, 1, 2, 3, 4])
ttls = st.sampled_from([None, None, None, 5_000])


@st.composite
def group(draw: st.DrawFn) -> tuple[pb.AlikeRequests, list[pb.WriteRequest]]:
    """Some requests in columns, and one by one."""
    size = draw(st.integers(1, 4))
    named = draw(
        st.lists(draw(st.sampled_from([keys, keys, spoiled_keys])), min_size=size, max_size=size)
    )
    ids = draw(
        st.one_of(st.permutations(ID).map(lambda all_: all_[:size]), st.just([ID[0]] * size))
    )
    alike = pb.AlikeRequests(request_ids=ids)
    singles = [pb.WriteRequest(request_id=each) for each in ids]
    if draw(st.booleans()):
        alike.puts.type = draw(types)
        ttl_ms = draw(ttls)
        if ttl_ms is not None:
            alike.puts.ttl_ms = ttl_ms
        for key, single in zip(named, singles, strict=True):
            put = single.operations.add().put
            put.key, put.value, put.type = key, draw(values), alike.puts.type
            if ttl_ms is not None:
                put.ttl_ms = ttl_ms
            alike.puts.keys.append(key)
            alike.puts.values.append(put.value)
    else:
        alike.increments.type = draw(types)
        for key, single in zip(named, singles, strict=True):
            increment = single.operations.add().increment
            increment.key, increment.type = key, alike.increments.type
            increment.amount = draw(amounts)
            alike.increments.keys.append(key)
            alike.increments.amounts.append(increment.amount)
    return alike, singles


def writing_over(store: Alone) -> Writing:
    return Writing(store, KvCodec(SECRET, LIMITS, str), LIMITS)


def one_by_one(alike: pb.WriteManyResponse.Alike) -> list[pb.WriteManyResponse.Outcome]:
    """Its answer as if each had been asked for by itself."""
    if not alike.HasField("first"):
        return list(alike.outcomes)
    assert not alike.outcomes
    outcomes = []
    for index in range(max(len(alike.contexts), len(alike.sums))):
        response = pb.WriteResponse(session=alike.session)
        result = response.results.add()
        result.dot.origin = alike.first.origin
        result.dot.seq = alike.first.seq + index
        if alike.contexts:
            result.context = alike.contexts[index]
        else:
            result.counter.value = alike.sums[index]
        outcomes.append(pb.WriteManyResponse.Outcome(response=response))
    return outcomes


def without_sessions(
    outcomes: Sequence[pb.WriteManyResponse.Outcome],
) -> list[pb.WriteManyResponse.Outcome]:
    """Together they are a round, so all are told what the node had after the last of them."""
    for outcome in outcomes:
        if outcome.HasField("response"):
            outcome.response.ClearField("session")
    return list(outcomes)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.lists(group(), min_size=1, max_size=3), min_size=1, max_size=4))
def test_alike_requests_become_what_they_become_one_by_one(played: list[Any]) -> None:
    """Repeated, refused and taken ones, and what they leave."""

    async def test() -> None:
        one, other = Alone(), Alone()
        mine, theirs = writing_over(one), writing_over(other)
        for groups in played:
            columns = pb.WriteManyRequest(alike=[alike for alike, _ in groups])
            singles = pb.WriteManyRequest(requests=[each for _, each_ in groups for each in each_])
            if sum(len(each.request_ids) for each in columns.alike) > LIMITS.batch_operations_max:
                with pytest.raises(Refused, match="at most 12"):
                    await mine.write_many(columns, FAR)
                continue
            told = await mine.write_many(columns, FAR)
            assert not told.outcomes
            told_singly = (await theirs.write_many(singles, FAR)).outcomes
            found = [outcome for alike in told.alike for outcome in one_by_one(alike)]
            assert without_sessions(found) == without_sessions(told_singly)
        assert one.node.encoded() == other.node.encoded()
        assert operations(one) == operations(other)
        for request_id in ID:
            assert one.remembered(request_id) == other.remembered(request_id)

    asyncio.run(test())


def operations(store: Alone) -> list[Any]:
    """What was logged, in whatever blocks."""
    found = []
    for raw in logged(store):
        block = decode_block(raw)
        found += [
            (block.first_seq + index, block.hlc + index, op) for index, op in enumerate(block.ops)
        ]
    return found


def reasons(outcomes: Sequence[pb.WriteManyResponse.Outcome]) -> list[str]:
    """Why each was refused; empty for those that were not."""
    found = []
    for outcome in outcomes:
        info = ErrorInfo()
        if outcome.HasField("error"):
            assert outcome.error.details[0].Unpack(info)
        found.append(info.reason)
    return found


def puts(*pairs: tuple[bytes, bytes], first: int = 0) -> pb.AlikeRequests:
    alike = pb.AlikeRequests(request_ids=ID[first : first + len(pairs)])
    for key, value in pairs:
        alike.puts.keys.append(key)
        alike.puts.values.append(value)
    return alike


def test_what_all_are_told_is_told_to_each() -> None:
    """A full queue refuses them together, and whoever asked has to hear it."""

    class Full(Alone):
        def enqueue(self, request: Request, size: int) -> Answer:  # noqa: ARG002
            raise Refused(Reason.QUEUE_FULL, "try again")

    class Failing(Alone):
        def enqueue(self, request: Request, size: int) -> Answer:  # noqa: ARG002
            answer: Answer = asyncio.get_running_loop().create_future()
            answer.set_exception(Refused(Reason.STOPPING, "the node stops"))
            return answer

    async def test() -> None:
        for store, reason in ((Full(), Reason.QUEUE_FULL), (Failing(), Reason.STOPPING)):
            request = pb.WriteManyRequest(alike=[puts((b"a", b"1"), (b"b", b"2"))])
            (alike,) = (await writing_over(store).write_many(request, FAR)).alike
            assert reasons(alike.outcomes) == [reason, reason]

    asyncio.run(test())


def test_they_share_a_place_in_the_queue_and_all_the_columns_of_an_answer() -> None:
    """Else nothing is won."""
    asked: list[int] = []

    class Counted(Alone):
        def enqueue(self, request: Request, size: int) -> Answer:
            asked.append(len(request.operations))
            return super().enqueue(request, size)

    async def test() -> None:
        request = pb.WriteManyRequest(
            alike=[puts((b"a", b"1"), (b"b", b"2")), puts((b"a", b"3"), first=2)]
        )
        first, second = (await writing_over(Counted()).write_many(request, FAR)).alike
        assert asked == [2, 1]
        assert (first.first.seq, len(first.contexts), len(first.outcomes)) == (1, 2, 0)
        assert (second.first.seq, len(second.contexts)) == (3, 1)

    asyncio.run(test())


def test_who_goes_gives_up_all_that_has_not_begun() -> None:
    answers: list[Answer] = []

    class Waiting(Alone):
        def enqueue(self, request: Request, size: int) -> Answer:  # noqa: ARG002
            answers.append(asyncio.get_running_loop().create_future())
            return answers[-1]

    async def test() -> None:
        request = pb.WriteManyRequest(
            requests=[pb.WriteRequest(puts=pb.Puts(keys=[b"z"], values=[b""]))],
            alike=[puts((b"a", b"1")), puts((b"b", b"2"), (b"c", b"3"), first=1)],
        )
        call = asyncio.create_task(writing_over(Waiting()).write_many(request, FAR))
        await until(lambda: len(answers) == 3)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert [answer.cancelled() for answer in answers] == [True, True, True]

    asyncio.run(asyncio.wait_for(test(), 60))


def test_columns_that_do_not_fit_are_refused_before_anything_is_done() -> None:
    taken = pb.WriteRequest(puts=pb.Puts(keys=[b"a"], values=[b"1"]))
    wrong = {
        "2 alike requests and 1 request ids": pb.AlikeRequests(
            puts=pb.Puts(keys=[b"a", b"b"], values=[b"", b""]), request_ids=ID[:1]
        ),
        "0 alike requests and 0 request ids": pb.AlikeRequests(),
        "2 keys and 1 values": pb.AlikeRequests(
            puts=pb.Puts(keys=[b"a", b"b"], values=[b""]), request_ids=ID[:2]
        ),
        "1 keys and 2 amounts": pb.AlikeRequests(
            increments=pb.Increments(keys=[b"a"], amounts=[1, 1]), request_ids=ID[:1]
        ),
        "16 bytes": pb.AlikeRequests(
            puts=pb.Puts(keys=[b"a", b"b"], values=[b"", b""]), request_ids=[ID[0], b"short"]
        ),
        "at most 12 operations": pb.AlikeRequests(
            increments=pb.Increments(keys=[b"a"] * 12), request_ids=ID[:1] * 12
        ),
    }

    async def test() -> None:
        store = Alone()
        writing = writing_over(store)
        for words, alike in wrong.items():
            request = pb.WriteManyRequest(requests=[taken], alike=[alike])
            with pytest.raises(Refused, match=words):
                await writing.write_many(request, FAR)
        assert store.vector == {}

    asyncio.run(test())


def test_a_stream_takes_none() -> None:
    async def messages() -> AsyncIterator[pb.WriteManyRequest]:
        yield pb.WriteManyRequest(alike=[puts((b"a", b"1"))])

    async def test() -> str:
        try:
            return str([reply async for reply in writing_over(Alone()).write_stream(messages())])
        except Refused as refusal:
            return str(failure_of(refusal).message)

    assert asyncio.run(test()) == "a stream takes no alike requests"
