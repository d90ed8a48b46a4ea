"""The client for asyncio: the same policy, carried out by another driver."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from grpc import StatusCode

from kvnode import (
    AsyncBatch,
    AsyncClient,
    DataDamaged,
    KeyNotFound,
    NodeUnavailable,
    OutcomeUnknown,
    Value,
)
from kvnode.v1 import kv_pb2, types_pb2
from tests.client.scripted import (
    Answer,
    ScriptedNode,
    fail,
    free_port,
    hang,
    refuse,
    reply,
    succeed,
)

LOST = fail(StatusCode.UNAVAILABLE, "Socket closed")
STOPPING = refuse(StatusCode.UNAVAILABLE, "STOPPING", "the node is stopping")
Work = Callable[[AsyncClient], Awaitable[None]]


def with_client(work: Work, *endpoints: str, timeout_s: float = 5.0) -> None:
    """Run a test on a loop."""

    async def main() -> None:
        async with AsyncClient(endpoints, timeout_s=timeout_s) as client:
            await work(client)

    asyncio.run(main())


def test_calls_are_what_a_client_sends(node: ScriptedNode) -> None:
    async def work(client: AsyncClient) -> None:
        assert (await client.put("k", "v")).endpoint == node.address
        assert (await client.counter("likes").add(2)).counter == 5
        found = await client.get("k")
        assert isinstance(found, Value)
        assert found.text == "v"
        assert [each async for each in client.scan(prefix="a")] == []
        assert (await client.admin.status()).name == "EWR"

    with_client(work, node.address)
    assert node.methods == ["Write", "Write", "BatchGet", "Scan", "Status"]


@pytest.mark.parametrize("answer", [LOST, fail(StatusCode.INTERNAL), fail(StatusCode.UNKNOWN)])
def test_a_write_whose_reply_was_lost_is_asked_again_there(
    node: ScriptedNode, other: ScriptedNode, answer: Answer
) -> None:
    async def work(client: AsyncClient) -> None:
        assert (await client.increment("k")).endpoint == node.address

    node.script = [answer, answer, succeed]
    with_client(work, node.address, other.address)
    assert len(node.calls) == 3
    assert len(set(node.request_ids)) == 1
    assert other.calls == []


def test_a_write_without_any_reply_is_of_unknown_outcome(
    node: ScriptedNode, other: ScriptedNode
) -> None:
    async def work(client: AsyncClient) -> None:
        with pytest.raises(OutcomeUnknown, match="increment of key 'k'") as raised:
            await client.increment("k")
        assert raised.value.endpoint == node.address

    node.script = [LOST] * 1000
    with_client(work, node.address, other.address, timeout_s=0.6)
    assert other.calls == []


@pytest.mark.parametrize("answer", [STOPPING, refuse(StatusCode.DATA_LOSS, "STATE_DAMAGED")])
def test_what_this_node_cannot_take_goes_on(
    node: ScriptedNode, other: ScriptedNode, answer: Answer
) -> None:
    async def work(client: AsyncClient) -> None:
        assert (await client.increment("k")).endpoint == other.address
        assert await client.get("k")

    node.script = [answer]
    with_client(work, node.address, other.address)
    assert (node.methods, other.methods) == (["Write"], ["Write", "BatchGet"])


def test_errors_are_those_of_the_client_for_threads(node: ScriptedNode) -> None:
    async def work(client: AsyncClient) -> None:
        with pytest.raises(KeyNotFound) as absent:
            await client.get("k")
        assert absent.value.context == b"\x0a"
        with pytest.raises(DataDamaged):
            await client.get("k")
        assert await client.get("k", default=None) is None

    missing = refuse(StatusCode.NOT_FOUND, "KEY_NOT_FOUND", context="0a")
    absent = reply(kv_pb2.BatchGetResponse(states=[types_pb2.KeyState(key=b"k")]))
    node.script = [missing, refuse(StatusCode.DATA_LOSS, "STATE_DAMAGED"), absent]
    with_client(work, node.address)


def test_nobody_there_is_a_certain_failure() -> None:
    dead = f"127.0.0.1:{free_port()}"

    async def work(client: AsyncClient) -> None:
        for call in (client.get, client.increment):
            with pytest.raises(NodeUnavailable, match="connection refused"):
                await call("k")

    with_client(work, dead, timeout_s=1)


def test_closing_ends_what_is_on_its_way(node: ScriptedNode) -> None:
    node.script = [hang, hang]

    async def main() -> None:
        client = AsyncClient(node.address, timeout_s=30)
        write = asyncio.create_task(client.put("k", "v"))
        assert await asyncio.to_thread(node.arrived.acquire, timeout=60)
        read = asyncio.create_task(client.get("k"))
        assert await asyncio.to_thread(node.arrived.acquire, timeout=60)
        await client.close()
        with pytest.raises(OutcomeUnknown):
            await write
        with pytest.raises(RuntimeError, match="closed"):
            await read
        with pytest.raises(RuntimeError, match="closed"):
            await client.get("k")

    asyncio.run(main())


def test_closing_ends_a_call_at_every_step_of_its_way(node: ScriptedNode) -> None:
    """Also where its task was made and has not begun: cancelled, that never runs."""

    async def main(steps: int) -> None:
        client = AsyncClient(node.address, timeout_s=30)
        write = asyncio.create_task(client.put("k", "v"))
        for _ in range(steps):
            await asyncio.sleep(0)
        await client.close()
        async with asyncio.timeout(5):
            with pytest.raises((OutcomeUnknown, RuntimeError)):
                await write

    for steps in range(6):
        node.script = [hang]
        asyncio.run(main(steps))


def test_a_client_belongs_to_one_loop(node: ScriptedNode) -> None:
    client = AsyncClient(node.address)

    async def use() -> None:
        await client.put("k", "v")

    with asyncio.Runner() as its_own:
        its_own.run(use())
        with pytest.raises(RuntimeError, match="belongs to the event loop"):
            asyncio.run(use())
        its_own.run(client.close())


def test_a_batch_is_written_at_the_end_of_its_block(node: ScriptedNode) -> None:
    async def drop(batch: AsyncBatch) -> None:
        async with batch:
            batch.put("a", "1")
            raise LookupError

    async def work(client: AsyncClient) -> None:
        async with client.batch() as batch:
            batch.put("a", "1")
            batch.increment("b", 2)
            batch.delete("c")
            assert node.calls == []
        assert batch.result is not None
        assert [each.counter for each in batch.result.receipts] == [None, 5, None]
        with pytest.raises(LookupError):
            await drop(client.batch())

    with_client(work, node.address)
    assert node.methods == ["Write"]
    assert len(node.operations) == 3


def test_another_loop_is_refused_at_every_call(node: ScriptedNode) -> None:
    client = AsyncClient(node.address)

    async def use() -> None:
        await client.put("k", "v")

    async def scan() -> None:
        assert [each async for each in client.scan()] == []

    async def outcome() -> None:
        await client.outcome(b"x" * 16)

    async def bulk() -> None:
        async with client.bulk() as writer:
            await writer.put("k", "v")

    with asyncio.Runner() as its_own:
        its_own.run(use())
        for call in (use, scan, outcome, bulk):
            with pytest.raises(RuntimeError, match="loop that used it first"):
                asyncio.run(call())
        its_own.run(client.close())
    assert node.methods == ["Write"]
