"""The Snapshots service over a node."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Protocol

import grpc

from kvnode.core.errors import Reason, Refused
from kvnode.core.report import Hello
from kvnode.core.snapshot import START, Position, Section
from kvnode.rpc.handlers import stream_reply
from kvnode.rpc.replication_codec import hello_from_wire
from kvnode.rpc.snapshot_codec import Fetched, to_wire
from kvnode.v1 import snapshot_pb2 as pb

SERVICE = "kvnode.v1.Snapshots"


class Snapshots(Protocol):
    """What the service needs of a node."""

    def fetch(
        self, hello: Hello, snapshot: bytes, position: Position, bytes_max: int
    ) -> AsyncGenerator[Fetched]: ...


class SnapshotService:
    """Translates and calls the node."""

    def __init__(self, node: Snapshots) -> None:
        self._node = node

    def handler(self) -> grpc.GenericRpcHandler:
        """For ``grpc.aio.Server.add_generic_rpc_handlers``."""
        return grpc.method_handlers_generic_handler(
            SERVICE, {"Fetch": stream_reply(pb.SnapshotRequest, self.fetch)}
        )

    async def fetch(self, request: pb.SnapshotRequest) -> AsyncGenerator[pb.SnapshotChunk, None]:
        """Send the chunks behind a position."""
        position = START
        if request.snapshot and request.section:
            try:
                position = Position(Section(request.section), request.after)
            except ValueError as error:
                raise Refused(
                    Reason.BAD_REQUEST, f"a snapshot has no section {request.section}"
                ) from error
        hello = hello_from_wire(request.hello)
        parts = self._node.fetch(hello, request.snapshot, position, request.bytes_max)
        async with aclosing(parts):
            async for fetched in parts:
                if fetched.offer is None or fetched.chunk is None:
                    yield pb.SnapshotChunk()  # a sign of life while the copy is made
                    continue
                for message in to_wire(fetched.offer, fetched.chunk, last=fetched.last):
                    yield message
