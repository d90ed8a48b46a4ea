"""What writes leave behind when their caller goes, and while there is no room."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, cast

from kvnode.core.limits import Limits
from kvnode.node.queues import ROOM_LOOK_S, room
from kvnode.rpc.kv_codec import KvCodec
from kvnode.rpc.kv_writing import Writing
from kvnode.v1 import kv_pb2
from tests.storage.rig import rig, run


class Closing:
    """All of a store that a stream without messages asks for."""

    def __init__(self) -> None:
        self.closing = asyncio.Event()


class Full:
    """All of a store that requests without options ask for, and its rounds never begin."""

    def __init__(self) -> None:
        self.closing = asyncio.Event()
        self.answers: list[asyncio.Future[Any]] = []

    def now_ms(self) -> int:
        """Any time."""
        return 1

    def enqueue(self, *_: object) -> asyncio.Future[Any]:
        """Its place."""
        self.answers.append(asyncio.get_running_loop().create_future())
        return self.answers[-1]


async def nothing(asked: asyncio.Event) -> AsyncIterator[kv_pb2.WriteManyRequest]:
    """A caller that keeps its stream open and is silent."""
    asked.set()
    await asyncio.Event().wait()
    yield kv_pb2.WriteManyRequest()


def test_a_caller_that_goes_leaves_no_task_behind() -> None:
    async def test() -> None:
        limits = Limits()
        store = cast("Any", Closing())
        writing = Writing(store, KvCodec(b"secret", limits, str), limits)
        before = asyncio.all_tasks()
        asked = asyncio.Event()

        async def call() -> None:
            async for _ in writing.write_stream(nothing(asked)):
                raise AssertionError("a reply to nothing")

        calling = asyncio.create_task(call())
        await asked.wait()
        calling.cancel()
        await asyncio.gather(calling, return_exceptions=True)
        assert asyncio.all_tasks() == before

    run(test)


def test_of_a_caller_that_goes_nothing_is_done_that_has_not_begun() -> None:
    async def test() -> None:
        limits = Limits()
        store = Full()
        writing = Writing(cast("Any", store), KvCodec(b"secret", limits, str), limits)
        message = kv_pb2.WriteManyRequest()
        for key in (b"a", b"b", b"c"):
            message.requests.add().operations.add().put.key = key
        calling = asyncio.create_task(writing.write_many(message, until=1e9))
        await asyncio.sleep(0)  # all are queued before it waits for the first
        store.answers[1].set_exception(ValueError("a refusal that nobody is told"))
        calling.cancel()
        await asyncio.gather(calling, return_exceptions=True)
        assert calling.cancelled()
        assert [answer.cancelled() for answer in store.answers] == [True, False, True]

    run(test)


def test_of_a_stream_that_breaks_all_is_done_that_is_queued() -> None:
    """Given up message by message, a later one could be done and an earlier one of its key not:
    asked for again under their ids, they would change places.
    """

    async def test() -> None:
        limits = Limits()
        store = Full()
        writing = Writing(cast("Any", store), KvCodec(b"secret", limits, str), limits)
        before = asyncio.all_tasks()

        async def messages() -> AsyncIterator[kv_pb2.WriteManyRequest]:
            for value in (b"first", b"second", b"third"):
                message = kv_pb2.WriteManyRequest()
                message.requests.add().operations.add().put.value = value
                message.requests[0].operations[0].put.key = b"k"
                yield message
            await asyncio.Event().wait()

        async def call() -> None:
            async for _ in writing.write_stream(messages()):
                raise AssertionError("a reply to what was never done")

        calling = asyncio.create_task(call())
        while len(store.answers) < 3:  # noqa: ASYNC110 - it has no event
            await asyncio.sleep(0)
        calling.cancel()
        await asyncio.gather(calling, return_exceptions=True)
        assert calling.cancelled()
        assert not any(answer.done() for answer in store.answers)
        while asyncio.all_tasks() != before:  # noqa: ASYNC110 - it has no event
            await asyncio.sleep(0)

    run(test)


def test_who_waits_for_a_checkpoint_does_not_spin() -> None:
    """While it is overdue, for want of room say, no round runs that would make the queue move."""

    async def test() -> None:
        node = rig()
        time = asyncio.get_running_loop().time
        began = time()
        for _ in range(4):
            await room(node.engine)
        assert time() - began > 3 * ROOM_LOOK_S
        await node.engine.close()

    run(test)
