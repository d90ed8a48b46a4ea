"""The Replication service over a node."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Protocol, TypeVar

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


class Replication(Protocol[P]):
    """What the service needs of a node; ``P`` is how it knows a peer."""

    def hello(self) -> Hello: ...
    @property
    def closing(self) -> bool: ...
    def introduce(self, hello: Hello) -> P: ...
    def stream_opened(self, peer: P, hello: Hello) -> None: ...
    def stream_closed(self, peer: P, hello: Hello) -> None: ...
    def met(self, hello: Hello, about: Dot) -> Meeting: ...
    def learn(self, peer: P, origin: int, report: Report) -> None: ...
    async def pushed(
        self, peer: P, hello: Hello, report: Report, position: int, raws: Sequence[bytes]
    ) -> None: ...
    def report(self, peer: P, names_told: int = 0) -> Report: ...
    def lacking(self, have: Vector, bytes_max: int) -> AsyncIterator[Lacking]: ...


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

    async def push(self, requests: AsyncIterator[pb.PushRequest]) -> AsyncIterator[pb.PushReply]:
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
        node.stream_opened(peer, hello)
        try:
            await node.pushed(
                peer, hello, report_from_wire(first.report), first.position, first.blocks
            )
            told = node.report(peer)
            names = len(told.names)
            yield pb.PushReply(hello=hello_to_wire(node.hello()), report=report_to_wire(told))
            if node.closing:
                return  # by itself: gRPC prints a traceback for every call it has to cancel
            async for request in requests:
                report = report_from_wire(request.report)
                await node.pushed(peer, hello, report, request.position, request.blocks)
                told = node.report(peer, names)
                names = len(told.names) or names
                yield pb.PushReply(report=report_to_wire(told))
                if node.closing:
                    return
        finally:
            node.stream_closed(peer, hello)

    async def pull(self, request: pb.PullRequest) -> AsyncIterator[pb.PullReply]:
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
