"""What gRPC prints of calls that end as their event loop does, and that a wait keeps it from."""

from __future__ import annotations

import asyncio

import grpc.aio
import pytest

from kvnode.node.last_calls import calls_over

METHOD = "/test.Service/Call"


async def stop_with_a_call(steps: int) -> None:
    """A server stops while a call runs, whose handler takes so many steps to end."""
    running = asyncio.Event()

    async def handle(_request: bytes, _context: object) -> bytes:
        running.set()
        try:
            await asyncio.Event().wait()
        finally:
            for _ in range(steps):
                await asyncio.sleep(0)
        raise AssertionError("unreachable")

    server = grpc.aio.server()
    handlers: dict[str, grpc.RpcMethodHandler[bytes, bytes]] = {
        METHOD.rpartition("/")[2]: grpc.unary_unary_rpc_method_handler(handle)
    }
    service = METHOD.split("/")[1]
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    channel = grpc.aio.insecure_channel(f"127.0.0.1:{port}")
    stub: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(METHOD)
    call = stub(b"")
    await running.wait()
    await server.stop(0)
    await calls_over()
    assert call.done()


@pytest.mark.parametrize("steps", range(4))
def test_a_call_that_ends_with_its_loop_is_not_told_of(
    steps: int, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    asyncio.run(stop_with_a_call(steps))
    assert capfd.readouterr() == ("", "")
    assert not caplog.records
