"""Calls of one client on one stream: what goes there, and what its end means for them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import grpc
import grpc.aio
import pytest

from kvnode import AsyncClient, NodeUnavailable, OutcomeUnknown
from kvnode.client import failover
from kvnode.client import pipeline as module
from kvnode.client.channels import Endpoint
from kvnode.client.dialling import PLAIN
from kvnode.client.loops import AioWire
from kvnode.client.rpcs import WRITE
from kvnode.client.status import Fate, failure_of
from kvnode.client.steps import Send
from kvnode.v1 import kv_pb2

from .scripted import free_port, scripted_node
from .streams import CLOSING, TIMEOUT_S, answer_to, requests, run, serving, stopping, willing


def test_writes_and_reads_of_a_client_share_one_stream() -> None:
    async def test() -> None:
        async with serving(willing) as (node, client):
            for _ in range(3):
                await client.put(b"k", b"v")
                await client.get(b"k")
            assert (node.streams, node.calls) == (1, [])

    run(test)


def test_an_answer_finds_who_asked_whatever_the_order() -> None:
    async def backwards(raws: AsyncIterator[bytes], context: Any) -> None:
        waiting: list[kv_pb2.PipelineRequest] = []
        async for request in requests(raws):
            waiting.append(request)
            if len(waiting) == 2:
                for each in reversed(waiting):
                    await context.write(answer_to(each))

    async def test() -> None:
        async with serving(backwards) as (_, client):
            put, found = await asyncio.gather(client.put(b"k", b"v"), client.get(b"other"))
            assert put.context == b"ctx"
            assert found.key == b"other"

    run(test)


def test_a_large_request_goes_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kvnode.client.loops.REQUEST_BYTES_MAX", 1_000)

    async def test() -> None:
        async with serving(willing) as (node, client):
            await client.put(b"k", b"v" * 2_000)
            await client.put(b"k", b"v" * 500)
            assert (node.streams, node.calls) == (1, ["Write"])

    run(test)


def test_a_node_without_the_rpc_gets_calls() -> None:
    async def lacks(_raws: AsyncIterator[bytes], context: Any) -> None:
        await context.abort(grpc.StatusCode.UNIMPLEMENTED, "Method not found!")

    async def test() -> None:
        async with serving(lacks) as (node, client):
            await client.put(b"k", b"v")
            await client.put(b"k", b"v")
            assert (node.streams, node.calls) == (1, ["Write", "Write"])

    run(test)


def test_a_stream_that_breaks_loses_the_write_which_is_asked_for_again_with_its_id() -> None:
    ids: list[bytes] = []

    def id_of(request: kv_pb2.PipelineRequest) -> bytes:
        return kv_pb2.WriteRequest.FromString(request.request).request_id

    async def breaks(raws: AsyncIterator[bytes], context: Any) -> None:
        async for request in requests(raws):
            ids.append(id_of(request))
            await context.abort(grpc.StatusCode.UNAVAILABLE, "Socket closed")

    async def answers(raws: AsyncIterator[bytes], context: Any) -> None:
        async for request in requests(raws):
            ids.append(id_of(request))
            await context.write(answer_to(request))

    async def test() -> None:
        async with serving(breaks, answers) as (node, client):
            await client.put(b"k", b"v")
            assert node.streams == 2
            assert len(ids) == 2
            assert ids[0] == ids[1] != b""

    run(test)


def test_a_stream_that_ends_without_a_word_loses_what_it_has_not_answered() -> None:
    async def ends(raws: AsyncIterator[bytes], _context: Any) -> None:
        async for _ in requests(raws):
            return

    async def test() -> None:
        async with serving(ends) as (_, client):
            with pytest.raises(OutcomeUnknown):
                await client.put(b"k", b"v", timeout_s=0.5)

    run(test)


def test_a_read_whose_stream_breaks_is_made_by_a_call() -> None:
    async def breaks(raws: AsyncIterator[bytes], context: Any) -> None:
        async for _ in requests(raws):
            await context.abort(grpc.StatusCode.UNAVAILABLE, "Socket closed")

    async def test() -> None:
        async with serving(breaks) as (node, client):
            await client.get(b"k")
            assert (node.streams, node.calls) == (1, ["BatchGet"])

    run(test)


def test_an_answer_that_does_not_come_is_not_waited_for_and_the_stream_goes_on() -> None:
    async def late(raws: AsyncIterator[bytes], context: Any) -> None:
        waiting: list[kv_pb2.PipelineRequest] = []
        count = 0
        async for request in requests(raws):
            count += 1
            waiting.append(request)
            if count != 2:
                for each in waiting:
                    await context.write(answer_to(each))
                waiting.clear()

    async def test() -> None:
        async with serving(late) as (node, client):
            await client.put(b"k", b"v")
            with pytest.raises(OutcomeUnknown):
                await client.put(b"k", b"v", timeout_s=0.3)
            await client.put(b"k", b"v")
            assert node.streams == 1

    run(test)


def test_a_stream_on_which_nothing_came_back_is_cancelled_when_the_time_is_over() -> None:
    """Else the node, which may only stand still, would carry out what its caller has given up."""

    async def test() -> None:
        withdrawn = asyncio.Event()

        async def silent(raws: AsyncIterator[bytes], _context: Any) -> None:
            try:
                async for _ in requests(raws):
                    pass
            finally:
                withdrawn.set()

        async with serving(silent, willing) as (node, client):
            with pytest.raises(OutcomeUnknown):
                await client.put(b"k", b"v", timeout_s=0.3)
            await withdrawn.wait()
            await client.put(b"k", b"v")
            assert node.streams == 2

    run(test)


def test_a_node_that_says_it_stops_gets_a_half_close_when_all_is_answered() -> None:
    half_closed = asyncio.Event()

    async def stops(raws: AsyncIterator[bytes], context: Any) -> None:
        await stopping(raws, context)
        half_closed.set()

    async def test() -> None:
        async with serving(stops) as (_, client):
            await client.put(b"k", b"v")
            await half_closed.wait()

    run(test)


def test_a_node_that_says_it_stops_is_asked_nothing_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is on its way when its server stops would be lost."""
    monkeypatch.setattr(module, "STOPPING_S", 100.0)
    with scripted_node() as other:

        async def test() -> None:
            told, go_on = asyncio.Event(), asyncio.Event()

            async def stops(raws: AsyncIterator[bytes], context: Any) -> None:
                async for request in requests(raws):
                    if not told.is_set():
                        await context.write(CLOSING)
                        told.set()
                        await go_on.wait()
                    await context.write(answer_to(request))

            async with serving(stops) as (node, single):
                (address,) = single.endpoints
                async with AsyncClient([address, other.address], timeout_s=TIMEOUT_S) as client:
                    first = asyncio.create_task(client.put(b"k", b"v"))
                    await told.wait()
                    while not other.calls:  # the client may not have heard yet
                        await client.get(b"k")
                    go_on.set()
                    await first
                    for _ in range(3):
                        await client.put(b"k", b"v")
                    assert (node.streams, node.calls) == (1, [])
                    assert other.methods == ["BatchGet"] + ["Write"] * 3

        run(test)


def test_a_node_that_stopped_a_while_ago_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "STOPPING_S", 0.01)

    async def test() -> None:
        async with serving(stopping, willing) as (node, client):
            await client.put(b"k", b"v")
            while node.streams < 2:
                with suppress(NodeUnavailable):
                    await client.put(b"k", b"v")

    run(test)


def test_a_node_that_is_back_at_once_is_asked_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "STOPPING_S", 1_000.0)
    monkeypatch.setattr(failover, "FRESH_S", 0.0)  # its health is asked for before each write

    async def test() -> None:
        async with serving(stopping, willing) as (node, client):
            await client.put(b"k", b"v")
            while node.streams < 2:
                with suppress(NodeUnavailable):  # until the stream has ended
                    await client.put(b"k", b"v")

    run(test)


def test_a_read_asks_the_node_itself_once_the_stream_of_its_stop_has_ended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "STOPPING_S", 1_000.0)

    async def test() -> None:
        async with serving(stopping) as (node, client):
            await client.put(b"k", b"v")
            while not node.calls:
                with suppress(NodeUnavailable):  # until the stream has ended
                    await client.get(b"k")
            with pytest.raises(NodeUnavailable, match="stopping"):
                await client.put(b"k", b"v")
            assert node.calls == ["BatchGet"]

    run(test)


def test_a_stream_that_nobody_uses_ends_and_the_next_request_opens_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "LINGER_S", 0.05)
    ended: asyncio.Queue[None] = asyncio.Queue()

    async def tells(raws: AsyncIterator[bytes], context: Any) -> None:
        await willing(raws, context)
        ended.put_nowait(None)

    async def test() -> None:
        async with serving(tells) as (node, client):
            for streams in (1, 2):
                while node.streams < streams:  # until it has ended here too: calls
                    await client.put(b"k", b"v")
                await ended.get()
                assert node.streams == streams

    run(test)


def test_an_answer_that_is_none_is_a_lost_one() -> None:
    async def babbles(raws: AsyncIterator[bytes], context: Any) -> None:
        async for request in requests(raws):
            reply = kv_pb2.PipelineReply(number=request.number, reply=b"\xff\xff")
            await context.write(kv_pb2.PipelineReplies(replies=[reply]).SerializeToString())

    async def test() -> None:
        async with serving(babbles) as (_, client):
            with pytest.raises(OutcomeUnknown):
                await client.put(b"k", b"v", timeout_s=0.5)

    run(test)


def test_a_message_that_is_none_ends_the_stream() -> None:
    async def babbles(raws: AsyncIterator[bytes], context: Any) -> None:
        async for _ in requests(raws):
            await context.write(b"\xff\xff")
            await asyncio.Event().wait()

    async def test() -> None:
        async with serving(babbles, willing) as (node, client):
            await client.put(b"k", b"v")
            assert node.streams == 2

    run(test)


def test_a_client_that_is_closed_ends_its_stream_and_leaves_no_task() -> None:
    async def test() -> None:
        asked, gone = asyncio.Event(), asyncio.Event()

        async def silent(raws: AsyncIterator[bytes], _context: Any) -> None:
            try:
                async for _ in requests(raws):
                    asked.set()
            finally:
                gone.set()

        async with serving(silent) as (_, client):
            put = asyncio.create_task(client.put(b"k", b"v"))
            await asked.wait()
            await client.close()
            with pytest.raises((RuntimeError, OutcomeUnknown)):
                await put
            await gone.wait()
            own = {"Pipeline._read", "Pipeline._write"}
            names = {task.get_coro().__qualname__ for task in asyncio.all_tasks()}  # type: ignore[union-attr]
            assert not names & own

    run(test)


def test_a_write_that_never_left_may_be_sent_elsewhere() -> None:
    async def test() -> None:
        address = f"127.0.0.1:{free_port()}"
        wire = AioWire(address, PLAIN, retries=False)
        error = await wire.call(Send(Endpoint(address), WRITE, kv_pb2.WriteRequest(), TIMEOUT_S))
        assert isinstance(error, grpc.RpcError)
        assert failure_of(error, address).fate is Fate.UNSENT
        await wire.close()

    run(test)


def test_no_node_at_all_is_said_so() -> None:
    async def test() -> None:
        async with AsyncClient("127.0.0.1:9", timeout_s=0.5) as client:
            with pytest.raises(NodeUnavailable):
                await client.put(b"k", b"v")

    run(test)
