"""Played streams do what gRPC's do, as far as kvnode's streams build on it."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from random import Random
from typing import Any

import grpc
import grpc.aio
import pytest

from kvnode.client.pipeline import PATH
from kvnode.client.status import Fate, failure_of
from tests.sim.channel import EOF, PlayedChannel
from tests.sim.loop import Process, VirtualLoop, run
from tests.sim.network import Network

Talk = Callable[[AsyncIterator[bytes], Any], Awaitable[None]]


class Listening:
    """A host with one stream, or none."""

    def __init__(self, talk: Talk | None) -> None:
        self.name = "n1"
        self.process = Process("n1")
        self._talk = talk

    def answering(self) -> tuple[Process, Sequence[grpc.GenericRpcHandler]] | None:
        """See ``exchange.Host``."""
        if self._talk is None:
            return None
        service, method = PATH[1:].split("/")
        handler: Any = grpc.stream_stream_rpc_method_handler(self._talk)
        return self.process, [grpc.method_handlers_generic_handler(service, {method: handler})]


def played(
    talk: Talk | None,
    test: Callable[[Any, Network], Awaitable[None]],
    *,
    window: int = 0,
    seed: int = 1,
) -> None:
    """With a call of the stream, which has not begun."""

    async def main(loop: VirtualLoop) -> None:
        network = Network(loop, Random(seed), Counter())
        channel = PlayedChannel(network, "app1", Listening(talk), window)
        await test(channel.stream_stream(PATH)(), network)

    run(main)


async def drained(call: Any) -> None:
    """Read to its end."""
    while await call.read() is not EOF:
        pass


async def echo(raws: AsyncIterator[bytes], context: Any) -> None:
    async for raw in raws:
        await context.write(raw)


def test_a_half_closed_stream_is_answered_and_ends() -> None:
    async def test(call: Any, _network: Network) -> None:
        await call.write(b"a")
        await call.write(b"b")
        await call.done_writing()
        assert [await call.read() for _ in range(3)] == [b"a", b"b", EOF]

    played(echo, test)


def test_a_stream_on_which_nothing_was_sent_ends_when_it_is_half_closed() -> None:
    async def test(call: Any, _network: Network) -> None:
        await call.done_writing()
        assert await call.read() is EOF

    played(echo, test)


def test_who_does_not_read_holds_who_sends() -> None:
    go = asyncio.Event()

    async def slow(raws: AsyncIterator[bytes], context: Any) -> None:
        await go.wait()
        await echo(raws, context)

    async def test(call: Any, _network: Network) -> None:
        await call.write(b"a")
        await call.write(b"b")
        third = asyncio.ensure_future(call.write(b"c"))
        await asyncio.sleep(5)
        assert not third.done()
        go.set()
        await third
        await call.done_writing()
        assert [await call.read() for _ in range(4)] == [b"a", b"b", b"c", EOF]

    played(slow, test, window=2)


def test_a_call_that_nobody_listens_to_is_known_not_to_be_sent() -> None:
    async def test(call: Any, _network: Network) -> None:
        await call.write(b"a")
        with pytest.raises(grpc.aio.AioRpcError) as ended:
            await call.read()
        assert failure_of(ended.value, "n1:1").fate is Fate.UNSENT

    played(None, test)


def test_an_answer_to_a_broken_connection_fails() -> None:
    failed: list[Exception] = []

    async def late(raws: AsyncIterator[bytes], context: Any) -> None:
        async for raw in raws:
            try:
                while True:
                    await context.write(raw)
                    await asyncio.sleep(0.01)
            except grpc.aio.BaseError as error:
                failed.append(error)
                raise

    async def test(call: Any, network: Network) -> None:
        await call.write(b"a")
        assert await call.read() == b"a"
        network.cut("n1", "app1", silent=False)
        with pytest.raises(grpc.aio.AioRpcError) as ended:
            await drained(call)
        assert failure_of(ended.value, "n1:1").fate is Fate.LOST
        await asyncio.sleep(1)

    for seed in range(8):
        played(late, test, seed=seed)
    assert 0 < len(failed) < 8, "else the handler hears of it first"
