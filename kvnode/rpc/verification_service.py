"""The Verification service over a node: for operators, and for peers after their hello."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Protocol

import grpc

from kvnode.core.block import KEY_BYTES_MAX
from kvnode.core.errors import Reason, Refused
from kvnode.core.report import Hello
from kvnode.rpc.handlers import stream_reply, unary
from kvnode.rpc.replication_codec import hello_from_wire
from kvnode.v1 import verify_pb2 as pb

SERVICE = "kvnode.v1.Verification"
ASKED_MAX = 256
"""Ranges or keys of one question."""


class Verified(Protocol):
    """What the service needs of a node."""

    def introduce(self, hello: Hello) -> object: ...
    def verify(self, request: pb.VerifyRequest) -> AsyncGenerator[pb.VerifyReply]: ...
    def repair(self, request: pb.RepairRequest) -> AsyncGenerator[pb.RepairReply]: ...
    async def compare(self, request: pb.CompareRequest) -> pb.CompareReply: ...
    async def fetch(self, request: pb.FetchRequest) -> pb.FetchReply: ...
    async def heal(self, request: pb.HealRequest) -> pb.HealReply: ...
    def check(self) -> AsyncGenerator[pb.CheckReply]: ...


class VerificationService:
    """Checks who asks, and calls the node."""

    def __init__(self, node: Verified) -> None:
        self._node = node

    def handler(self) -> grpc.GenericRpcHandler:
        """For ``grpc.aio.Server.add_generic_rpc_handlers``."""
        return grpc.method_handlers_generic_handler(
            SERVICE,
            {
                "Verify": stream_reply(pb.VerifyRequest, self.verify),
                "Repair": stream_reply(pb.RepairRequest, self.repair),
                "Compare": unary(pb.CompareRequest, self.compare),
                "Fetch": unary(pb.FetchRequest, self.fetch),
                "Heal": unary(pb.HealRequest, self.heal),
                "Check": stream_reply(pb.CheckRequest, self.check),
            },
        )

    def verify(self, request: pb.VerifyRequest) -> AsyncGenerator[pb.VerifyReply]:
        """Compare with every member."""
        _check_bound(request.prefix)
        return self._node.verify(request)

    def repair(self, request: pb.RepairRequest) -> AsyncGenerator[pb.RepairReply]:
        """Heal keys, or everything."""
        for key in request.keys:
            _check_key(key)
        if request.all == bool(request.keys):
            raise Refused(Reason.BAD_REQUEST, "name keys, or ask for all")
        return self._node.repair(request)

    async def compare(self, request: pb.CompareRequest) -> pb.CompareReply:
        """Digests for a peer."""
        self._node.introduce(hello_from_wire(request.hello))
        _check_size(len(request.ranges))
        for asked in request.ranges:
            _check_bound(asked.start)
            _check_bound(asked.end)
        return await self._node.compare(request)

    async def fetch(self, request: pb.FetchRequest) -> pb.FetchReply:
        """Entries for a peer."""
        self._node.introduce(hello_from_wire(request.hello))
        _check_size(len(request.keys))
        for key in request.keys:
            _check_key(key)
        return await self._node.fetch(request)

    async def heal(self, request: pb.HealRequest) -> pb.HealReply:
        """A peer's repair of a key."""
        self._node.introduce(hello_from_wire(request.hello))
        _check_key(request.key)
        return await self._node.heal(request)

    def check(self, request: pb.CheckRequest) -> AsyncGenerator[pb.CheckReply]:
        """Read everything, for a peer."""
        self._node.introduce(hello_from_wire(request.hello))
        return self._node.check()


def _check_size(asked: int) -> None:
    if asked > ASKED_MAX:
        raise Refused(Reason.BAD_REQUEST, f"{asked} asked for at once, the limit is {ASKED_MAX}")


def _check_key(key: bytes) -> None:
    if not 0 < len(key) <= KEY_BYTES_MAX:
        raise Refused(Reason.BAD_KEY, f"a key has 1 to {KEY_BYTES_MAX} bytes, not {len(key)}")


def _check_bound(bound: bytes) -> None:
    if len(bound) > KEY_BYTES_MAX + 1:  # behind the longest key
        raise Refused(Reason.BAD_KEY, f"a bound of {len(bound)} bytes is longer than any key")
