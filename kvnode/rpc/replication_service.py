"""The Replication service over a node."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from typing import Any, Generic, Protocol, TypeVar

import grpc

from kvnode.core.dots import Dot, Vector
from kvnode.core.errors import Reason, Refused
from kvnode.core.report import Hello, Lacking, Meeting, Report
from kvnode.rpc.handlers import stream_both, stream_reply, unary
from kvnode.rpc.replication_codec import (
    hello_from_wire,
    hello_to_wire,
    report_from_wire,
    report_to_wire,
    vector_from_wire,
    vector_to_wire,
)
from kvnode.v1 import replication_pb2 as pb

SERVICE = "kvnode.v1.Replication"
P = TypeVar("P")
B = TypeVar("B")

AHEAD_MESSAGES_MAX = 4
"""Of a push stream, read before those before them are answered; a peer sends few more."""
AHEAD_BYTES_MAX = 2 << 20
"""A larger message is answered before another one is read: syncing it takes long enough alone."""


class Intake(Protocol[B]):
    """What the service needs for one push stream; ``B`` is a message that is begun."""

    def begin(self, report: Report, position: int, raws: Sequence[bytes]) -> B: ...
    async def finish(self, begun: B) -> None: ...
    def close(self) -> None: ...


class Replication(Protocol[P]):
    """What the service needs of a node; ``P`` is how it knows a peer."""

    def hello(self) -> Hello: ...
    @property
    def closing(self) -> bool: ...
    def introduce(self, hello: Hello) -> P: ...
    def intake(self, peer: P, hello: Hello) -> Intake[Any]: ...
    def met(self, hello: Hello, about: Dot) -> Meeting: ...
    def learn(self, peer: P, origin: int, report: Report) -> None: ...
    def report(self, peer: P, names_told: int = 0) -> Report: ...
    def lacking(self, have: Vector, bytes_max: int) -> AsyncIterator[Lacking]: ...


class Ahead(Generic[B]):
    """Reads a push stream and begins its messages while those before them are finished."""

    def __init__(self, intake: Intake[B], requests: AsyncIterator[pb.PushRequest]) -> None:
        self._intake = intake
        self._requests = requests
        self._begun: asyncio.Queue[B | Exception | None] = asyncio.Queue(AHEAD_MESSAGES_MAX)
        """None is the end, an exception why there is no more."""
        self._reader: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Read from now on."""
        self._reader = asyncio.create_task(self._read(), name="read pushes")

    async def next(self) -> B | None:
        """The next message, None behind the last one; raises what is wrong with it."""
        message = await self._begun.get()
        if isinstance(message, Exception):
            raise message
        return message

    def finished(self) -> None:
        """The last one is finished."""
        self._begun.task_done()

    def stop(self) -> None:
        """Begin no more messages."""
        if self._reader is not None:
            self._reader.cancel()

    async def stopped(self) -> None:
        """Return when the stream is not being read any more."""
        if self._reader is not None:
            await asyncio.gather(self._reader, return_exceptions=True)

    async def _read(self) -> None:
        try:
            async for request in self._requests:
                await self._begun.put(begun(self._intake, request))
                if request.ByteSize() > AHEAD_BYTES_MAX:
                    await self._begun.join()
        except Exception as error:  # handed on to who serves the stream
            await self._begun.put(error)
        else:
            await self._begun.put(None)


def begun(intake: Intake[B], request: pb.PushRequest) -> B:
    """The message, its blocks queued."""
    return intake.begin(report_from_wire(request.report), request.position, request.blocks)


class ReplicationService:
    """Translates and calls the node."""

    def __init__(self, node: Replication[P]) -> None:
        self._node = node

    def handler(self) -> grpc.GenericRpcHandler:
        """For ``grpc.aio.Server.add_generic_rpc_handlers``."""
        return grpc.method_handlers_generic_handler(
            SERVICE,
            {
                "Push": stream_both(pb.PushRequest, self.push),
                "Pull": stream_reply(pb.PullRequest, self.pull),
                "Meet": unary(pb.MeetRequest, self.meet),
            },
        )

    async def push(
        self, requests: AsyncIterator[pb.PushRequest]
    ) -> AsyncGenerator[pb.PushReply, None]:
        """Take a peer's blocks message by message; answer when they are synced."""
        node = self._node
        first = await anext(requests, None)
        if first is None:
            return
        if not first.HasField("hello"):
            raise Refused(Reason.BAD_REQUEST, "a push stream begins with a hello")
        hello = hello_from_wire(first.hello)
        try:
            peer = node.introduce(hello)
        except Refused as refusal:  # by whom: who dialled may have meant another node
            refusal.facts["node"] = node.hello().name
            raise
        intake = node.intake(peer, hello)
        ahead = Ahead(intake, requests)
        try:
            await intake.finish(begun(intake, first))
            told = node.report(peer)
            names = len(told.names)
            yield pb.PushReply(hello=hello_to_wire(node.hello()), report=report_to_wire(told))
            if node.closing:
                return  # by itself: gRPC prints a traceback for every call it has to cancel
            ahead.start()
            while (message := await ahead.next()) is not None:
                await intake.finish(message)
                ahead.finished()
                told = node.report(peer, names)
                names = len(told.names) or names
                yield pb.PushReply(report=report_to_wire(told))
                if node.closing:
                    return
        finally:
            # Before anything is awaited: the end of a peer that is killed is both the end of its
            # messages and a cancellation, which may come while this one is on its way out. A stream
            # that stayed open would make of the peer that comes back a second one.
            ahead.stop()
            intake.close()
            await ahead.stopped()

    async def pull(self, request: pb.PullRequest) -> AsyncGenerator[pb.PullReply, None]:
        """Send what the peer lacks."""
        node = self._node
        peer = node.introduce(hello_from_wire(request.hello))
        node.learn(peer, request.hello.origin, report_from_wire(request.report))
        hello: pb.Hello | None = hello_to_wire(node.hello())
        have = vector_from_wire(request.have)
        async for lacking in node.lacking(have, request.bytes_max):
            reply = pb.PullReply(
                hello=hello,
                report=report_to_wire(node.report(peer)),
                blocks=lacking.blocks,
                complete=lacking.complete,
            )
            if lacking.floor is not None:
                reply.below_floor = True
                reply.floor.CopyFrom(vector_to_wire(lacking.floor))
            yield reply
            hello = None

    async def meet(self, request: pb.MeetRequest) -> pb.MeetReply:
        """Say who this is and what it knows about an origin."""
        about = (request.about.origin, request.about.seq)
        meeting = self._node.met(hello_from_wire(request.hello), about)
        return pb.MeetReply(
            hello=hello_to_wire(meeting.hello),
            running=meeting.running,
            seq=meeting.seq,
            chain=meeting.chain,
            chain_at=meeting.chain_at,
            vector=vector_to_wire(meeting.vector),
        )
