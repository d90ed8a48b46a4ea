"""How long after a write is acknowledged at one node is it visible at another, idle and loaded?

One write at a time at the first of three, and the second is asked for it again and again; a lag
cannot be measured finer than one read takes, so that is told too. Loaded: 1,000 other writes a
second come to the first, in an open loop. redis: at a replica; etcd: serializable at a follower or
the leader, as it happens. (``python -m bench.lag`` is the same over the blocking client.)
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

from bench.loads import open_loop
from bench.report import percentile
from bench.room import VALUE, Room
from bench.servers import Servers
from bench.stores import Store

DEADLINE_S: Final = 10.0
LOAD_PER_S: Final = 1_000
LOAD_S_MAX: Final = 600.0
IN_PROGRESS_MAX: Final = 256
"""Of those; later ones wait their turn. redis-py has a connection for each."""


async def lag_ms(writer: Store, reader: Store, key: bytes) -> tuple[float, float]:
    """Of one write, from its acknowledgement until the reader has it; and of the last read."""
    await writer.put(key, VALUE)
    acknowledged = time.perf_counter()
    while True:
        asked = time.perf_counter()
        found = await reader.get(key)
        seen = time.perf_counter()
        if found is not None:
            return (seen - acknowledged) * 1e3, (seen - asked) * 1e3
        if seen - acknowledged > DEADLINE_S:
            raise TimeoutError(f"{key!r} did not arrive within {DEADLINE_S} s")


async def measure(room: Room) -> None:
    """Idle, then loaded, the systems in turns."""
    async with room.systems(3) as systems:
        for round_ in room.rounds():
            for servers in systems:
                with room.part(f"lag/idle of {servers.store.name}"):
                    await lags(room, servers, f"idle/{round_}", "lag/idle")
            for servers in systems:
                with room.part(f"lag/1 K of {servers.store.name}"):
                    async with loaded(room, servers.store):
                        await lags(room, servers, f"loaded/{round_}", "lag/1 K")


async def lags(room: Room, servers: Servers[Any], prefix: str, name: str) -> None:
    """So many of them, after some that do not count."""
    writer, reader = servers.stores[0], servers.stores[1]
    subject = writer.name
    rows = [
        await lag_ms(writer, reader, b"%s/%d" % (prefix.encode(), number))
        for number in range(room.pace.lag_writes + room.pace.lag_writes // 10)
    ][room.pace.lag_writes // 10 :]
    found = [lag for lag, _ in rows]
    reads = [read for _, read in rows]
    room.figures.add(f"{name}/p50", subject, percentile(found, 50), "ms")
    room.figures.add(f"{name}/p99", subject, percentile(found, 99), "ms")
    room.figures.add(f"{name}/read p50", subject, percentile(reads, 50), "ms")


@asynccontextmanager
async def loaded(room: Room, store: Store) -> AsyncIterator[None]:
    """1,000 writes a second meanwhile; RuntimeError if not all of them were taken."""
    stop = asyncio.Event()
    room_for = asyncio.Semaphore(IN_PROGRESS_MAX)

    async def one(_number: int) -> int:
        (key,) = room.some_keys(1)
        async with room_for:
            await store.put(key, VALUE)
        return 1

    load = asyncio.create_task(
        open_loop(
            one, calls_per_s=LOAD_PER_S, seconds=LOAD_S_MAX, refused=lambda _: False, stop=stop
        )
    )
    try:
        yield
    finally:
        stop.set()
        offered = await load
    if offered.errors:
        raise RuntimeError(f"of {offered.calls} writes beside: {dict(offered.errors)}")
