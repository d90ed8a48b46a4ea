"""A node whose streams the test talks on, and whose calls are answered."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc
import grpc.aio

from kvnode import AsyncClient
from kvnode.client.channels import WELL
from kvnode.v1 import kv_pb2

from .scripted import REPLIES

Talk = Callable[[AsyncIterator[bytes], Any], Awaitable[None]]
TIMEOUT_S = 20.0


class Node:
    """Streams, which the test talks on, and calls, which are answered."""

    def __init__(self) -> None:
        self.talks: list[Talk] = []
        self.streams = 0
        self.calls: list[str] = []
        self.over = asyncio.Event()

    async def pipeline(self, raws: AsyncIterator[bytes], context: Any) -> None:
        """The next talk."""
        self.streams += 1
        await self.talks[min(self.streams, len(self.talks)) - 1](raws, context)

    def call(self, name: str, kind: Any) -> grpc.RpcMethodHandler[bytes, bytes]:
        """A call of its own."""

        async def answer(raw: bytes, _context: object) -> bytes:
            self.calls.append(name)
            return usual(name, kind.FromString(raw))

        return grpc.unary_unary_rpc_method_handler(answer)


def usual(name: str, request: Any) -> bytes:
    """Success."""
    found: Any = REPLIES[name]
    reply = found(request) if callable(found) else found
    raw: bytes = reply.SerializeToString()
    return raw


def answer_to(request: kv_pb2.PipelineRequest) -> bytes:
    """A message with one answer."""
    asked = getattr(kv_pb2, request.method + "Request").FromString(request.request)
    reply = kv_pb2.PipelineReply(number=request.number, reply=usual(request.method, asked))
    return kv_pb2.PipelineReplies(replies=[reply]).SerializeToString()


async def requests(raws: AsyncIterator[bytes]) -> AsyncIterator[kv_pb2.PipelineRequest]:
    """One by one."""
    async for raw in raws:
        for request in kv_pb2.PipelineRequests.FromString(raw).requests:
            yield request


async def willing(raws: AsyncIterator[bytes], context: Any) -> None:
    """Answers each."""
    async for request in requests(raws):
        await context.write(answer_to(request))


async def stopping(raws: AsyncIterator[bytes], context: Any) -> None:
    """Says that it stops, and answers each."""
    async for request in requests(raws):
        await context.write(CLOSING)
        await context.write(answer_to(request))


CLOSING = kv_pb2.PipelineReplies(closing=True).SerializeToString()


async def is_well(_raw: bytes, _context: object) -> bytes:
    """As its health service says."""
    return WELL


@asynccontextmanager
async def serving(*talks: Talk) -> AsyncIterator[tuple[Node, AsyncClient]]:
    """A node and a client of it."""
    node = Node()
    node.talks = list(talks)
    server = grpc.aio.server(options=[("grpc.http2.max_ping_strikes", 0)])  # as a node's
    handlers: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
        "Pipeline": grpc.stream_stream_rpc_method_handler(node.pipeline),
        "Write": node.call("Write", kv_pb2.WriteRequest),
        "BatchGet": node.call("BatchGet", kv_pb2.BatchGetRequest),
    }
    service = grpc.method_handlers_generic_handler("kvnode.v1.KeyValue", handlers)
    check: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
        "Check": grpc.unary_unary_rpc_method_handler(is_well)
    }
    health = grpc.method_handlers_generic_handler("grpc.health.v1.Health", check)
    server.add_generic_rpc_handlers((service, health))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with AsyncClient(f"127.0.0.1:{port}", timeout_s=TIMEOUT_S) as client:
            yield node, client
    finally:
        await server.stop(0)


def run(test: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(asyncio.wait_for(test(), 100))
