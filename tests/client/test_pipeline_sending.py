"""What a stream sends when, and takes back: without a node."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, cast

import grpc
import pytest

from kvnode.client import pipeline as module
from kvnode.client.pipeline import Pipeline, StreamEnded
from kvnode.client.rpcs import WRITE
from kvnode.client.status import Fate, failure_of
from kvnode.v1 import kv_pb2

from .streams import TIMEOUT_S, run


class Held:
    """gRPC's call of a stream that sends when it is let, and on which nothing comes back."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.go = asyncio.Event()
        self.cancelled = asyncio.Event()

    def stream_stream(self, _path: str) -> Callable[[], Held]:
        """The channel is the call."""
        return lambda: self

    async def write(self, raw: bytes) -> None:
        await self.go.wait()
        self.sent.append(raw)

    async def read(self) -> bytes:
        await self.cancelled.wait()
        raise asyncio.CancelledError

    def cancel(self) -> None:
        self.cancelled.set()


def numbers(raw: bytes) -> list[int]:
    return [request.number for request in kv_pb2.PipelineRequests.FromString(raw).requests]


def test_what_was_not_sent_in_time_is_taken_back_and_known_not_to_be_done() -> None:
    async def test() -> None:
        held = Held()
        pipeline = Pipeline(cast("Any", held))
        first = asyncio.create_task(pipeline.ask(WRITE, b"", TIMEOUT_S))
        while pipeline._ready or not pipeline._waiting:  # noqa: ASYNC110, SLF001 - it is being sent
            await asyncio.sleep(0)
        error = await pipeline.ask(WRITE, b"", 0.01)
        assert isinstance(error, grpc.RpcError)
        assert failure_of(error, "").fate is Fate.UNSENT
        last = asyncio.create_task(pipeline.ask(WRITE, b"", TIMEOUT_S))
        held.go.set()
        while len(held.sent) < 2:  # noqa: ASYNC110 - it has no event
            await asyncio.sleep(0)
        assert [numbers(raw) for raw in held.sent] == [[1], [3]]
        await pipeline.close()
        for each in (first, last):
            with pytest.raises(StreamEnded):
                await each

    run(test)


def test_a_message_of_many_requests_is_bounded() -> None:
    async def test() -> None:
        held = Held()
        pipeline = Pipeline(cast("Any", held))
        size = module.TOGETHER_BYTES // 4
        asking = [
            asyncio.create_task(pipeline.ask(WRITE, bytes(size), TIMEOUT_S)) for _ in range(20)
        ]
        held.go.set()
        while sum(len(numbers(raw)) for raw in held.sent) < 20:  # noqa: ASYNC110 - it has no event
            await asyncio.sleep(0)
        assert max(map(len, held.sent)) < module.TOGETHER_BYTES + 2 * size
        assert len(held.sent) >= 4
        await pipeline.close()
        await asyncio.gather(*asking, return_exceptions=True)

    run(test)


def test_a_stream_that_is_over_is_asked_nothing() -> None:
    async def test() -> None:
        pipeline = Pipeline(cast("Any", Held()))
        await pipeline.close()
        with pytest.raises(StreamEnded):
            await pipeline.ask(WRITE, b"", TIMEOUT_S)

    run(test)


def test_how_long_a_request_waited_to_be_sent_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test() -> None:
        now = asyncio.get_running_loop().time()
        monkeypatch.setattr(asyncio.get_running_loop(), "time", lambda: now)
        held = Held()
        pipeline = Pipeline(cast("Any", held))
        first = asyncio.create_task(pipeline.ask(WRITE, b"", TIMEOUT_S))
        while pipeline._ready or not pipeline._waiting:  # noqa: ASYNC110, SLF001 - it is being sent
            await asyncio.sleep(0)
        second = asyncio.create_task(pipeline.ask(WRITE, b"", TIMEOUT_S))
        while not pipeline._ready:  # noqa: ASYNC110, SLF001 - it waits
            await asyncio.sleep(0)
        now += 2.0
        held.go.set()
        while len(held.sent) < 2:  # noqa: ASYNC110 - it has no event
            await asyncio.sleep(0)
        sent = [kv_pb2.PipelineRequests.FromString(raw).requests[0] for raw in held.sent]
        assert [request.waited_ms for request in sent] == [0, 2000]
        assert sent[1].sent_ms - sent[0].sent_ms == pytest.approx(2000, abs=1)
        assert sent[0].timeout_ms - sent[1].timeout_ms == pytest.approx(2000, abs=1)
        await pipeline.close()
        await asyncio.gather(first, second, return_exceptions=True)

    run(test)
