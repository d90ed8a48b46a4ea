"""A push stream is read ahead of what is answered, and not far."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing
from typing import cast

import pytest

from kvnode.core.errors import Reason, Refused
from kvnode.core.report import Hello, Report
from kvnode.rpc.replication_codec import hello_to_wire
from kvnode.rpc.replication_service import (
    AHEAD_BYTES_MAX,
    AHEAD_MESSAGES_MAX,
    Ahead,
    Replication,
    ReplicationService,
)
from kvnode.v1 import replication_pb2 as pb
from tests.node.acquaintance import hello_of

TURNS = 50
"""Of the loop: after these, whatever would be read has been."""


class PlayedIntake:
    """Begins messages; the one that says so is refused."""

    def __init__(self) -> None:
        self.begun: list[int] = []
        self.closed = False

    def begin(self, _report: Report, position: int, raws: Sequence[bytes]) -> int:
        if b"refuse" in raws:
            raise Refused(Reason.STOPPING, "the node is stopping")
        self.begun.append(position)
        return position

    async def finish(self, begun: int) -> None:
        """Nothing is waited for."""

    def close(self) -> None:
        """Nothing may come behind this."""
        self.closed = True


class PlayedNode:
    """Serves one push stream."""

    closing = False

    def __init__(self) -> None:
        self.served = PlayedIntake()

    def hello(self) -> Hello:
        return hello_of("a", 0xA)

    def introduce(self, hello: Hello) -> str:
        return hello.name

    def intake(self, _peer: str, _hello: Hello) -> PlayedIntake:
        return self.served

    def report(self, _peer: str, _names_told: int = 0) -> Report:
        return Report({}, 0)


async def stream(requests: Sequence[pb.PushRequest]) -> AsyncIterator[pb.PushRequest]:
    for request in requests:
        yield request


def message(number: int, *blocks: bytes) -> pb.PushRequest:
    return pb.PushRequest(position=number, blocks=blocks)


def read_ahead(
    requests: Sequence[pb.PushRequest],
    check: Callable[[Ahead[int], PlayedIntake], Awaitable[None]],
) -> None:
    async def run() -> None:
        intake = PlayedIntake()
        ahead = Ahead(intake, stream(requests))
        ahead.start()
        await settled()
        await check(ahead, intake)
        ahead.stop()
        await ahead.stopped()

    asyncio.run(asyncio.wait_for(run(), 60))


async def settled() -> None:
    for _ in range(TURNS):
        await asyncio.sleep(0)


def test_messages_are_begun_before_those_before_them_are_finished_but_only_so_many() -> None:
    """P9: a peer that does not wait for answers must not fill the memory."""

    async def check(ahead: Ahead[int], intake: PlayedIntake) -> None:
        most = AHEAD_MESSAGES_MAX + 1
        assert intake.begun == list(range(most))
        for number in range(20):
            assert await ahead.next() == number
            ahead.finished()
            await settled()
            assert intake.begun == list(range(min(20, most + number + 1)))
        assert await ahead.next() is None

    read_ahead([message(number) for number in range(20)], check)


def test_a_large_message_is_finished_before_another_is_read() -> None:
    """The bound above is one of messages, and a message may have many MiB."""

    async def check(ahead: Ahead[int], intake: PlayedIntake) -> None:
        assert intake.begun == [0]
        assert await ahead.next() == 0
        await settled()
        assert intake.begun == [0]
        ahead.finished()
        await settled()
        assert intake.begun == [0, 1]

    read_ahead([message(0, bytes(AHEAD_BYTES_MAX)), message(1)], check)


def test_what_is_wrong_with_a_message_is_told_behind_those_before_it() -> None:
    """Their blocks are on disk, which their sender should hear."""

    async def check(ahead: Ahead[int], _intake: PlayedIntake) -> None:
        assert [await ahead.next(), await ahead.next()] == [0, 1]
        with pytest.raises(Refused):
            await ahead.next()

    read_ahead([message(0), message(1), message(2, b"refuse"), message(3)], check)


def test_a_stream_is_closed_at_whichever_moment_its_call_is_cancelled() -> None:
    """A killed peer's stream that stayed open made a second one of the peer when it came back: the
    cancellation came while the stream was ending by itself.
    """
    first = pb.PushRequest(hello=hello_to_wire(hello_of("b", 0xB)))

    async def cancelled_after(turns: int) -> bool:
        node = PlayedNode()
        replies = ReplicationService(cast("Replication[str]", node)).push(
            stream([first, message(1), message(2)])
        )

        async def serve() -> None:
            async with aclosing(replies):
                async for _reply in replies:
                    await asyncio.sleep(0)

        call = asyncio.create_task(serve())
        for _ in range(turns):
            await asyncio.sleep(0)
        over = call.done()
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
        assert node.served.closed, f"not when cancelled after {turns} turns of the loop"
        return over

    async def at_every_moment() -> int:
        turns = 1
        while not await cancelled_after(turns):
            turns += 1
        return turns

    assert asyncio.run(asyncio.wait_for(at_every_moment(), 60)) > 5
