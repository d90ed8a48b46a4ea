"""A call that has ended is let go at once, however it ended: nothing waits for a look for cycles.

Looks at everything are rare (``kvnode/cli/serve.py``); what only they can free adds up till then.
"""

from __future__ import annotations

import gc
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

from kvnode.v1 import kv_pb2 as pb
from kvnode.v1 import watch_pb2
from kvnode.v1.kv_pb2_grpc import KeyValueStub
from kvnode.v1.watch_pb2_grpc import WatchesStub
from tests.node.nodes import Nodes, run

VALUE = b"a value by which the request is known"
CALLS = 20
key_values: Callable[[grpc.aio.Channel], Any] = KeyValueStub
watches: Callable[[grpc.aio.Channel], Any] = WatchesStub


def write(key: bytes) -> pb.WriteRequest:
    request = pb.WriteRequest()
    request.puts.keys.extend([key, b"k"])
    request.puts.values.extend([VALUE, VALUE])
    return request


async def refused(channel: grpc.aio.Channel) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await key_values(channel).Write(write(b""))
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def written(channel: grpc.aio.Channel) -> None:
    assert len((await key_values(channel).Write(write(b"other"))).results) == 2


async def refused_stream(channel: grpc.aio.Channel) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        async for _ in watches(channel).Watch(watch_pb2.WatchRequest(since=VALUE)):
            pass
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


@pytest.fixture
def no_looks() -> Iterator[None]:
    """What is in cycles stays; a look afterwards tells what that was."""
    gc.disable()
    yield
    gc.set_debug(0)
    gc.garbage.clear()
    gc.enable()
    gc.collect()


@pytest.mark.usefixtures("no_looks")
@pytest.mark.parametrize("call", [refused, refused_stream, written])
def test_no_cycle_holds_a_call(
    tmp_path: Path, call: Callable[[grpc.aio.Channel], Awaitable[None]]
) -> None:
    nodes = Nodes(tmp_path, "a")

    async def test() -> None:
        await nodes.start("a")
        await nodes["a"].membership.wait_serving()
        async with grpc.aio.insecure_channel(nodes["a"].config.listen) as channel:
            await call(channel)
            gc.collect()
            for _ in range(CALLS):
                await call(channel)
            gc.set_debug(gc.DEBUG_SAVEALL)
            gc.collect()
            left = {type(each).__name__ for each in gc.garbage}
            rooms = ("kvnode.core.", "kvnode.node.", "kvnode.rpc.", "kvnode.storage.")
            ours = [each for each in gc.garbage if type(each).__module__.startswith(rooms)]
        assert "_HandlerCallDetails" in left, "gRPC's own few objects, which the look finds"
        assert not left & {"RPCState", "_ServicerContext"}
        assert ours == []

    run(nodes, test)
