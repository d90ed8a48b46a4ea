"""The Replication service over a node."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Protocol, TypeVar

import grpc

from kvnode.core.dots import Vector
from kvnode.core.errors import Reason, Refused
from kvnode.core.report import Hello, Lacking, Report
from kvnode.rpc.handlers import stream_both, stream_reply
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

    @property
    def hello(self) -> Hello: ...
    @property
    def closing(self) -> bool: ...
    def introduce(self, hello: Hello) -> P: ...
    def learn(self, peer: P, report: Report) -> None: ...
    async def pushed(self, peer: P, report: Report, raws: Sequence[bytes]) -> None: ...
    def report(self) -> Report: ...
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
            },
        )

    async def push(self, requests: AsyncIterator[pb.PushRequest]) -> AsyncIterator[pb.PushReply]:
        """Take a peer's blocks message by message; answer when they are synced."""
        node = self._node
        peer = None
        async for request in requests:
            hello = None
            if peer is None:
                if not request.HasField("hello"):
                    raise Refused(Reason.BAD_REQUEST, "a push stream begins with a hello")
                peer = node.introduce(hello_from_wire(request.hello))
                hello = hello_to_wire(node.hello)
            await node.pushed(peer, report_from_wire(request.report), request.blocks)
            yield pb.PushReply(hello=hello, report=report_to_wire(node.report()))
            if node.closing:
                return  # by itself: gRPC prints a traceback for every call it has to cancel

    async def pull(self, request: pb.PullRequest) -> AsyncIterator[pb.PullReply]:
        """Send what the peer lacks."""
        node = self._node
        peer = node.introduce(hello_from_wire(request.hello))
        node.learn(peer, report_from_wire(request.report))
        hello: pb.Hello | None = hello_to_wire(node.hello)
        have = vector_from_wire(request.have)
        async for lacking in node.lacking(have, request.bytes_max):
            reply = pb.PullReply(
                hello=hello,
                report=report_to_wire(node.report()),
                blocks=lacking.blocks,
                complete=lacking.complete,
            )
            if lacking.floor is not None:
                reply.below_floor = True
                reply.floor.CopyFrom(vector_to_wire(lacking.floor))
            yield reply
            hello = None
