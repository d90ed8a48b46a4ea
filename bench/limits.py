"""What could any store here reach: fdatasync, a block appended to the log, gRPC without a store?

An append to the log is what one commit of a node does to its disk (``kvnode.storage.log``), with
blocks that are made before. The echoes are a bare grpcio server's, at as many calls in flight as
the benches of a node have.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any, Final

import grpc.aio

from bench.core import Bare
from bench.echo import ECHO, ECHO_BATCH, echo_server
from bench.loads import Call
from bench.report import percentile
from bench.room import VALUE, Room
from kvnode.core.block import Block, decode_block
from kvnode.core.operations import Operation, Put
from kvnode.core.replica import Request
from kvnode.core.types import LWW_REGISTER
from kvnode.storage.tailed_log import TailedLog
from kvnode.v1 import kv_pb2

ORIGIN: Final = 1
PAGE_BYTES: Final = 4096
PRESENT_BYTES: Final = 16 << 20
BLOCKS_PER_S: Final = 2_000
"""Made beforehand, for each second that the pace gives."""
BLOCK_OPERATIONS: Final = 200_000
"""At most, of one size, in all its blocks."""


async def measure(room: Room) -> None:
    """Disk first, then gRPC."""
    for _ in room.rounds():
        with room.part("limits/fdatasync"):
            syncs(room)
        for batch in (1, 100, 1000):
            with room.part(f"limits/log append {batch}"):
                appends(room, batch)
    with echo_server(room.new_directory()) as address:
        async with grpc.aio.insecure_channel(address) as channel:
            for _ in room.rounds():
                with room.part("limits/echo"):
                    await echoes(room, channel)


def timed(room: Room, name: str, step: Callable[[], bool], batch: int = 1) -> None:
    """Repeat ``step`` until the time is up or it returns False."""
    latencies: list[float] = []
    started = time.perf_counter()
    end = started + room.pace.seconds
    go_on = True
    while go_on and (at := time.perf_counter()) < end:
        go_on = step()
        latencies.append((time.perf_counter() - at) * 1e3)
    rate = len(latencies) * batch / (time.perf_counter() - started)
    room.figures.add(f"limits/{name}", "bare", rate, "operations/s")
    room.figures.add(f"limits/{name}/p50", "bare", percentile(latencies, 50), "ms")
    room.figures.add(f"limits/{name}/p99", "bare", percentile(latencies, 99), "ms")


def syncs(room: Room) -> None:
    """A page appended and synced, and one of a file whose pages are there already."""
    path = room.new_directory() / "written"
    file = os.open(path, os.O_CREAT | os.O_WRONLY)
    position = 0

    def step() -> bool:
        nonlocal position
        os.pwrite(file, bytes(PAGE_BYTES), position)
        os.fdatasync(file)
        position += PAGE_BYTES
        return True

    def again() -> bool:
        nonlocal position
        position %= PRESENT_BYTES
        return step()

    try:
        timed(room, "fdatasync", step)
        os.pwrite(file, bytes(PRESENT_BYTES), 0)
        os.fsync(file)
        timed(room, "fdatasync, file as long before", again)
    finally:
        os.close(file)


def appends(room: Room, batch: int) -> None:
    """Blocks of so many puts appended by the node's own log."""
    blocks = iter(made_blocks(room, batch))
    log = TailedLog(room.new_directory(), ORIGIN)

    def step() -> bool:
        block = next(blocks, None)
        if block is not None:
            log.append([block])
        return block is not None

    try:
        timed(room, f"log append {batch}", step, batch)
    finally:
        log.close()


def made_blocks(room: Room, batch: int) -> list[Block]:
    """As an origin makes them; few enough that making them takes less than measuring."""
    origin = Bare(ORIGIN)
    count = max(2, min(BLOCK_OPERATIONS // batch, int(room.pace.seconds * BLOCKS_PER_S)))
    made = []
    for _ in range(count):
        puts: list[Operation] = [Put(key, VALUE, LWW_REGISTER) for key in room.some_keys(batch)]
        made.append(decode_block(origin.round([Request(puts)])))
    return made


async def echoes(room: Room, channel: grpc.aio.Channel) -> None:
    """Unary calls of 100 bytes, and batches as the API has them."""
    unary: Any = channel.unary_unary(ECHO)
    batched: Any = channel.unary_unary(
        ECHO_BATCH,
        request_serializer=kv_pb2.WriteRequest.SerializeToString,
        response_deserializer=kv_pb2.WriteRequest.FromString,
    )

    async def single() -> int:
        await unary(VALUE)
        return 1

    def many(batch: int) -> Call:
        async def call() -> int:
            request = kv_pb2.WriteRequest()
            for key in room.some_keys(batch):
                put = request.operations.add().put
                put.key, put.value = key, VALUE
            await batched(request)
            return batch

        return call

    room.add("limits/echo 1 in flight", "grpcio", await room.loop([single]))
    room.add("limits/echo 64 in flight", "grpcio", await room.loop([single] * 64))
    room.add("limits/echo batch 100", "grpcio", await room.loop([many(100)] * 8))
    room.add("limits/echo batch 1000", "grpcio", await room.loop([many(1000)] * 4))
