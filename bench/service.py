"""Do three nodes keep the field's service levels, and what do they do at twice what they can bear?

*Service*: 10,000 writes/s offered to three nodes in an open loop, in batches of 100 and then as
single puts that the client gathers: write p99, replication lag p99 of writes beside them, requests
in progress at the 99th percentile, success.

*Overload*: what one node takes in a closed loop is measured, then twice that offered, both on a
stream as kvnode's asyncio client has one. Every request has to be taken or refused in so many
words; those taken have to wait no longer than a full queue does, memory has to be flat, and the
node itself again within seconds. The requests are serialised beforehand: their client must not be
what is overloaded.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Final

import grpc
import grpc.aio

from bench.lags import lag_ms
from bench.loads import Offered, open_loop
from bench.processes import ServerProcess
from bench.report import percentile
from bench.room import VALUE, Room
from bench.servers import Servers, kvnodes
from bench.stores import KvnodeStore
from kvnode import Put, ResourceExhausted
from kvnode.client.channels import Method
from kvnode.client.operations import write_request
from kvnode.client.pipeline import Pipeline
from kvnode.config import Config
from kvnode.v1 import kv_pb2

WRITES_PER_S: Final = 10_000
BATCH: Final = 100
IN_FLIGHT: Final = 32
"""When it is measured what a node can bear: as many as take it there."""
PROBE_S: Final = 0.05
"""Between two writes whose lag is measured."""
WRITE: Final[Method[Any, Any]] = Method("/kvnode.v1.KeyValue/Write", None, None)
CALL_TIMEOUT_S: Final = 10.0
OVERLOAD: Final = 2.0
REQUESTS: Final = 500
"""Made beforehand, sent in turns."""
WARMUP_SHARE: Final = 1 / 12
"""Of the time that is measured, before it: the nodes have just started."""
QUICK_AGAIN_MS: Final = 50.0
"""A put that takes no longer: the node is itself again."""
RECOVERY_DEADLINE_S: Final = 60.0
MB: Final = 1e6


async def measure(room: Room) -> None:
    """Service levels, single puts last, and overload."""
    whole_s = room.pace.service_s
    async with kvnodes(room.new_directory(), 3) as nodes:
        for name, batch, seconds in (
            ("service", BATCH, whole_s),
            ("service, single puts", 1, whole_s / 3),
        ):
            room.tell(f"{name}: {WRITES_PER_S:,} writes/s for {seconds:.0f} s")
            with room.part(name):
                await service(room, nodes, name, batch, seconds)
                await nodes.wait_converged()
    async with kvnodes(room.new_directory()) as nodes:
        room.tell(f"overload for {whole_s / 3:.0f} s")
        with room.part("overload"):
            await overload(room, nodes, whole_s / 3)


async def service(
    room: Room, nodes: Servers[KvnodeStore], name: str, batch: int, seconds: float
) -> None:
    """10,000 writes/s to all of them in turns."""
    for store in nodes.stores:  # a connection to each, and what runs for the first time
        await room.loop([room.writing(store, batch)])
    calls = [room.writing(store, batch) for store in nodes.stores]
    offer = partial(
        open_loop,
        lambda number: calls[number % len(calls)](),
        calls_per_s=WRITES_PER_S / batch,
        refused=lambda error: isinstance(error, ResourceExhausted),
    )
    await offer(seconds=seconds * WARMUP_SHARE)
    async with probing(nodes) as lags:
        offered = await offer(seconds=seconds)
    add, kvnode = room.figures.add, "kvnode"
    rate = offered.operations / (offered.seconds + offered.drained_s)
    add(f"{name}/taken", kvnode, rate, "operations/s")
    latencies(room, f"{name}/write", offered)
    add(f"{name}/lag/p50", kvnode, percentile(lags, 50), "ms")
    add(f"{name}/lag/p99", kvnode, percentile(lags, 99), "ms")
    add(f"{name}/depth/p99", kvnode, percentile(offered.depths, 99), "requests")
    add(f"{name}/success", kvnode, offered.taken_share * 100, "%")


def latencies(room: Room, name: str, offered: Offered) -> None:
    """Of those that were taken; nothing if none was."""
    for percent in (50, 99):
        if offered.latencies_ms:
            value = percentile(offered.latencies_ms, percent)
            room.figures.add(f"{name}/p{percent}", "kvnode", value, "ms")


@asynccontextmanager
async def probing(nodes: Servers[KvnodeStore]) -> AsyncIterator[list[float]]:
    """The list fills with lags meanwhile."""
    lags: list[float] = []
    stop = asyncio.Event()

    async def probe() -> None:
        while not stop.is_set() or not lags:
            lag, _ = await lag_ms(nodes.stores[0], nodes.stores[1], b"probe/" + os.urandom(8))
            lags.append(lag)
            await asyncio.sleep(PROBE_S)

    task = asyncio.create_task(probe())
    try:
        yield lags
    finally:
        stop.set()
        await task


async def overload(room: Room, nodes: Servers[KvnodeStore], seconds: float) -> None:
    """Twice what the node can bear."""
    store, process = nodes.store, nodes.process
    requests = [serialised(room) for _ in range(REQUESTS)]
    (endpoint,) = store.client.endpoints
    async with grpc.aio.insecure_channel(endpoint) as channel, watching(process) as sizes:
        pipeline = Pipeline(channel)

        async def call(number: int) -> int:
            # Concatenated messages are merged: the request with an id of its own.
            own = kv_pb2.WriteRequest(request_id=os.urandom(16)).SerializeToString()
            request = requests[number % REQUESTS] + own
            answer = await pipeline.ask(WRITE, request, CALL_TIMEOUT_S)
            if isinstance(answer, grpc.RpcError):
                raise answer
            return BATCH

        calls = [partial(call, number) for number in range(IN_FLIGHT)]
        borne = (await room.loop(calls)).operations_per_s
        before = len(sizes) - 1
        offered = await open_loop(
            call,
            calls_per_s=OVERLOAD * borne / BATCH,
            seconds=seconds,
            refused=is_refusal,
        )
        sizes.append(process.anonymous_bytes())
        middle = (before + len(sizes)) // 2
        quick_s = await quick_again(store)
        await pipeline.close()
    add, kvnode = room.figures.add, "kvnode"
    not_taken = offered.calls - len(offered.latencies_ms)
    add("overload/borne", kvnode, borne, "operations/s")
    add("overload/offered", kvnode, offered.calls * BATCH / offered.seconds, "operations/s")
    rate = offered.operations / (offered.seconds + offered.drained_s)
    add("overload/taken", kvnode, rate, "operations/s")
    latencies(room, "overload/taken", offered)
    add("overload/refused", kvnode, offered.refused / offered.calls * 100, "%")
    if not_taken:
        told = offered.refused / not_taken * 100
        add("overload/told", kvnode, told, "% of what was not taken")
    for name, count in offered.errors.items():
        add(f"overload/{name}", kvnode, count, "calls")
    add("overload/full queue", kvnode, Config().queue_operations_max / borne * 1e3, "ms")
    add("overload/memory before", kvnode, sizes[before] / MB, "MB")
    add("overload/memory, first half", kvnode, max(sizes[before:middle]) / MB, "MB")
    add("overload/memory, second half", kvnode, max(sizes[middle:]) / MB, "MB")
    add("overload/memory after", kvnode, process.anonymous_bytes() / MB, "MB")
    add("overload/recovery", kvnode, offered.drained_s + quick_s, "s")


def serialised(room: Room) -> bytes:
    """A batch as its client would send it, without a request id."""
    puts = [Put(key, VALUE, lww=True) for key in room.some_keys(BATCH)]
    return write_request(puts, b"").SerializeToString()


def is_refusal(error: Exception) -> bool:
    """The node said that it is too much."""
    return (
        isinstance(error, grpc.aio.AioRpcError)
        and error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    )


async def quick_again(store: KvnodeStore) -> float:
    """Seconds until a put is acknowledged as quickly as it should be."""
    started = time.perf_counter()
    while True:
        asked = time.perf_counter()
        try:
            await store.put(b"after", VALUE)
            if (time.perf_counter() - asked) * 1e3 <= QUICK_AGAIN_MS:
                return time.perf_counter() - started
        except ResourceExhausted:
            pass
        if asked - started > RECOVERY_DEADLINE_S:
            raise TimeoutError(f"a put still takes more than {QUICK_AGAIN_MS:g} ms")


@asynccontextmanager
async def watching(process: ServerProcess) -> AsyncIterator[list[int]]:
    """The list fills with the process's anonymous memory."""
    sizes = [process.anonymous_bytes()]

    async def look() -> None:
        while True:
            await asyncio.sleep(PROBE_S)
            sizes.append(process.anonymous_bytes())

    task = asyncio.create_task(look())
    try:
        yield sizes
    finally:
        task.cancel()
