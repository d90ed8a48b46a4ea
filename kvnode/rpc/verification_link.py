"""The calling side of Verification between nodes."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

import grpc

from kvnode.core.report import Hello
from kvnode.rpc.link import Link, LinkError, link_error
from kvnode.rpc.replication_codec import hello_to_wire
from kvnode.v1 import verify_pb2 as pb
from kvnode.v1.verify_pb2_grpc import VerificationStub


class VerificationLink:
    """Questions to one peer; every one raises LinkError if it is not answered in time."""

    def __init__(self, link: Link | None, hello: Hello) -> None:
        """``link``: None if it is not known where the peer is reached."""
        self.bytes_moved = 0
        """Of all requests and replies so far."""
        self._link = link
        self._hello = hello_to_wire(hello)

    async def compare(self, request: pb.CompareRequest, timeout_s: float) -> pb.CompareReply:
        """Digests of the peer's last checkpoint."""
        reply: pb.CompareReply = await self._ask("Compare", request, timeout_s)
        return reply

    async def fetch(self, request: pb.FetchRequest, timeout_s: float) -> pb.FetchReply:
        """What the peer keeps now."""
        reply: pb.FetchReply = await self._ask("Fetch", request, timeout_s)
        return reply

    async def heal(self, request: pb.HealRequest, timeout_s: float) -> pb.HealReply:
        """Replace a key's state at the peer."""
        reply: pb.HealReply = await self._ask("Heal", request, timeout_s)
        return reply

    async def check(self, timeout_s: float) -> AsyncGenerator[pb.CheckReply]:
        """Let the peer read all it has stored."""
        call = self._call("Check")(pb.CheckRequest(hello=self._hello), timeout=timeout_s)
        try:
            async for reply in call:
                yield reply
        except grpc.RpcError as error:
            raise link_error(error) from error
        finally:
            call.cancel()

    def _call(self, name: str) -> Any:
        if self._link is None:
            raise LinkError("its address is not known here")
        stub = VerificationStub(self._link.channel)  # type: ignore[no-untyped-call]
        return getattr(stub, name)

    async def _ask(self, name: str, request: Any, timeout_s: float) -> Any:
        call = self._call(name)
        request.hello.CopyFrom(self._hello)
        try:
            reply = await call(request, timeout=timeout_s)
        except grpc.RpcError as error:
            if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
                raise LinkError(f"no answer within {timeout_s:g} s") from error
            raise link_error(error) from error
        self.bytes_moved += request.ByteSize() + reply.ByteSize()
        return reply
