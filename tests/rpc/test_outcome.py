"""What a client is told when the log failed under its write: that nothing is certain."""

from __future__ import annotations

import asyncio

import grpc
import grpc.aio
import pytest

from kvnode.core.accepted import Accepted
from kvnode.core.context import decode_token
from kvnode.core.errors import OutcomeUnclear, Reason, Refused
from kvnode.core.limits import Limits
from kvnode.core.operations import Increment, Put
from kvnode.core.types import LWW_REGISTER, SIBLINGS
from kvnode.rpc.handlers import unary
from kvnode.rpc.kv_codec import KvCodec
from kvnode.v1 import kv_pb2
from kvnode.v1.kv_pb2_grpc import KeyValueStub
from tests.core.memory_node import SECRET, TOKEN_BYTES_MAX, MemoryNode


async def code_of(error: Exception) -> tuple[grpc.StatusCode, bool]:
    """Status code of a call whose handler raises, and whether it carries an ErrorInfo."""

    async def fail(_: kv_pb2.PutRequest) -> kv_pb2.PutResponse:
        raise error

    server = grpc.aio.server()
    handlers = {"Put": unary(kv_pb2.PutRequest, fail)}
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("kvnode.v1.KeyValue", handlers),)
    )
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            stub = KeyValueStub(channel)  # type: ignore[no-untyped-call]
            with pytest.raises(grpc.aio.AioRpcError) as failed:
                await stub.Put(kv_pb2.PutRequest(), timeout=5)
        trailing = dict(failed.value.trailing_metadata() or ())
        return failed.value.code(), "grpc-status-details-bin" in trailing
    finally:
        await server.stop(None)


def test_a_write_whose_log_failed_is_not_called_refused() -> None:
    """A refusal would be acted on: written again elsewhere, and counted twice after a restart."""
    code, explained = asyncio.run(code_of(OutcomeUnclear("fsync failed")))
    assert (code, explained) == (grpc.StatusCode.UNKNOWN, False)
    code, explained = asyncio.run(code_of(Refused(Reason.STOPPING, "stopping")))
    assert (code, explained) == (grpc.StatusCode.UNAVAILABLE, True)


def result_of(codec: KvCodec, put: Put, accepted: Accepted, node: MemoryNode) -> kv_pb2.WriteResult:
    response = kv_pb2.WriteResponse()
    codec.add_results(response.results, [put], accepted, node.entry)
    return response.results[0]


@pytest.mark.parametrize("kind", [SIBLINGS, LWW_REGISTER])
def test_a_repeated_put_never_gets_a_context_of_another_keys_dot(kind: int) -> None:
    """It would be awaited under this key for ever where the dot has not arrived, and only there."""
    codec = KvCodec(SECRET, Limits(), lambda _: "")
    a, b, c = MemoryNode(1), MemoryNode(2), MemoryNode(3)
    request_id = b"x" * 16
    a.write(Increment(b"counter", 1), request_id=request_id)
    put = Put(b"text", b"v", kind)
    repeated = a.write(put, request_id=request_id)
    assert repeated.repeated
    token = result_of(codec, put, repeated, a).context
    seen = decode_token(b"text", token, SECRET, TOKEN_BYTES_MAX)
    b.write(Put(b"text", b"w", kind, seen))
    for node, others in ((a, (b,)), (b, (a,)), (c, (a, b))):
        for other in others:
            node.pull(other)
    assert a.vector == b.vector == c.vector
    assert a.encoded() == b.encoded() == c.encoded()


@pytest.mark.parametrize("kind", [SIBLINGS, LWW_REGISTER])
def test_a_repeated_put_gets_the_context_of_its_value_while_that_is_there(kind: int) -> None:
    codec = KvCodec(SECRET, Limits(), lambda _: "")
    node = MemoryNode(1)
    put = Put(b"text", b"v", kind)
    first = result_of(codec, put, node.write(put, request_id=b"x" * 16), node)
    again = result_of(codec, put, node.write(put, request_id=b"x" * 16), node)
    assert again == first
