"""A push stream that one of its two users gives up."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import grpc.aio
import pytest

from kvnode.core.report import ORIGINS_MAX, Report
from kvnode.rpc.link import Link, LinkError, PushStream
from kvnode.rpc.replication_codec import report_to_wire
from kvnode.v1 import replication_pb2 as pb
from kvnode.v1.replication_pb2_grpc import ReplicationServicer, add_ReplicationServicer_to_server

REPORT = Report({}, 0, {}, {}, b"", b"", {}, {}, 0)
BLOCK = bytes(1 << 20)


class Silent(ReplicationServicer):
    """A peer that neither reads nor answers: what is sent to it piles up."""

    def __init__(self) -> None:
        self.called, self.over = asyncio.Event(), asyncio.Event()

    async def Push(  # noqa: N802 - gRPC's name
        self, _requests: AsyncIterator[pb.PushRequest], _context: object
    ) -> AsyncIterator[pb.PushReply]:
        self.called.set()
        await self.over.wait()
        yield pb.PushReply()


async def send_all(stream: PushStream) -> None:
    while True:
        await stream.send(REPORT, 0, [BLOCK], None)


@pytest.mark.parametrize("first", ["sender", "receiver"])
def test_who_shares_a_stream_that_another_gives_up_is_not_cancelled_itself(first: str) -> None:
    """The receiver's patience ends while the sender waits for room, or the other way round. A
    cancelled pusher stops the node.
    """

    async def talk() -> None:
        silent, server = Silent(), grpc.aio.server()
        add_ReplicationServicer_to_server(silent, server)  # type: ignore[no-untyped-call]
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        link = Link.open(f"127.0.0.1:{port}", reconnect_ms=100, keepalive_ms=10_000)
        stream = link.push()
        users = {
            "sender": asyncio.create_task(send_all(stream)),
            "receiver": asyncio.create_task(stream.receive()),
        }
        await silent.called.wait()  # from now on both wait
        users.pop(first).cancel()
        (other,) = users.values()
        await asyncio.wait((other,))
        assert not other.cancelled()
        assert isinstance(other.exception(), LinkError)
        stream.close()
        await link.channel.close()
        silent.over.set()
        await server.stop(0)

    asyncio.run(asyncio.wait_for(talk(), 60))


class Garrulous(ReplicationServicer):
    """A peer whose answer names more origins than a cluster has."""

    async def Push(  # noqa: N802 - gRPC's name
        self, requests: AsyncIterator[pb.PushRequest], _context: object
    ) -> AsyncIterator[pb.PushReply]:
        async for _ in requests:
            named = report_to_wire(Report(dict.fromkeys(range(1, ORIGINS_MAX + 2), 1), 0))
            yield pb.PushReply(report=named)


def test_an_answer_that_cannot_be_taken_is_a_link_that_is_down() -> None:
    async def talk() -> None:
        server = grpc.aio.server()
        add_ReplicationServicer_to_server(Garrulous(), server)  # type: ignore[no-untyped-call]
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        link = Link.open(f"127.0.0.1:{port}", reconnect_ms=100, keepalive_ms=10_000)
        stream = link.push()
        await stream.send(REPORT, 0, [], None)
        with pytest.raises(LinkError, match="origins") as caught:
            await stream.receive()
        assert caught.value.refused
        stream.close()
        await link.channel.close()
        await server.stop(0)

    asyncio.run(asyncio.wait_for(talk(), 60))
