"""Calls while a node stops, and what gRPC prints of those that end as their event loop does."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import grpc.aio
import pytest

from kvnode.core.operations import Increment
from kvnode.core.replica import Request
from kvnode.node import last_calls
from kvnode.node.last_calls import QUIET_S, callers_gone, calls_over
from kvnode.node.node import Node
from kvnode.rpc.server import Server
from tests.node.nodes import Nodes, run

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


class Asked:
    """A node that is asked all the time, until it is left alone."""

    def __init__(self, asks: int) -> None:
        self._asks = asks
        self._loop = asyncio.get_running_loop()
        self.asked_at = 0.0
        self._ask()

    def _ask(self) -> None:
        self.asked_at = self._loop.time()
        if self._asks:
            self._asks -= 1
            self._loop.call_later(QUIET_S / 20, self._ask)


def test_a_stopping_node_waits_until_nobody_has_asked_for_a_while() -> None:
    async def test() -> None:
        node = Asked(10)
        await callers_gone(node)
        assert asyncio.get_running_loop().time() >= node.asked_at + QUIET_S

    asyncio.run(test())


def test_a_stopping_node_does_not_wait_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(last_calls, "QUIET_S_MAX", 2 * QUIET_S)

    async def test() -> None:
        await asyncio.wait_for(callers_gone(Asked(1_000_000)), 100)

    asyncio.run(test())


def test_grpc_is_not_told_to_stop_while_callers_are_at_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would cancel what it has not taken up."""
    told: list[float] = []
    stop = Server.stop

    async def stop_and_tell(self: Server, grace_s: float) -> None:
        told.append(time.monotonic())
        await stop(self, grace_s)

    monkeypatch.setattr(Server, "stop", stop_and_tell)

    nodes = Nodes(tmp_path, "a")

    async def test() -> None:
        await nodes.start("a")
        node: Node = nodes["a"]
        await node.engine.submit(Request([Increment(b"k", 1)], b""), 1)
        asked = time.monotonic()
        await nodes.stop("a")
        assert told[0] >= asked + QUIET_S / 2

    run(nodes, test)
