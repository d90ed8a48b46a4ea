"""Does a write get dearer with more keys, a longer history or restarts, and what does a key take?

Loading keys, batches of writes and reads over all keys there are, anonymous memory and disk, at
10 K, 100 K, 1 M and 3 M keys of 16 + 100 bytes, for kvnode and redis. Disk is that after a
checkpoint and with the log's retention (here seconds) passed; *live* leaves free pages out.
Then one counter's increments, early and late in its history, and writes before and after restarts.
"""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from typing import Any, Final

from bench.room import KEY_BYTES, SEED, VALUE, Room, counting
from bench.servers import Servers, kvnodes, until
from bench.stores import KvnodeStore

BATCH: Final = 100
IN_FLIGHT: Final = 8
HISTORY_BATCHES: Final = 4
"""Loops between the first and the last look at the counter."""


def config(room: Room) -> str:
    """Checkpoints and the log's end soon after a load, but no more often in it than by default."""
    seconds = room.pace.seconds
    return (
        f"checkpoint_interval_ms = {max(200, round(2_000 * seconds))}\n"
        f"retention_interval_ms = {max(200, round(700 * seconds))}\n"
        f"log_retention_s = {max(1, round(2 * seconds))}\n"
    )


async def measure(room: Room) -> None:
    """Size after size, then histories and restarts."""
    made = random.Random(SEED)
    keys = [made.randbytes(KEY_BYTES) for _ in range(room.pace.sizes[-1])]
    async with room.systems(1, "redis", config=config(room)) as systems:
        for servers in systems:
            await grow(room, servers, keys)
    async with kvnodes(room.new_directory()) as nodes:
        await count_long(room, nodes)
        await restart(room, nodes)


async def grow(room: Room, servers: Servers[Any], keys: Sequence[bytes]) -> None:
    """From nothing to the last size."""
    store, name = servers.store, servers.store.name
    add = room.figures.add
    empty_bytes = servers.process.anonymous_bytes()
    loading_s, loaded = 0.0, 0
    for size in room.pace.sizes:
        started = time.perf_counter()
        await room.write_all(store, keys[loaded:size])
        loading_s += time.perf_counter() - started
        loaded = size
        add(f"growth/load at {size:,}", name, loading_s, "s")
        if isinstance(store, KvnodeStore):
            await until(lambda: is_settled(store), "the log has left")
            status = await store.client.admin.status()
            live = status.log.used_bytes + status.checkpoint.used_bytes
            add(f"growth/live per key at {size:,}", name, live / size, "bytes")
        memory = servers.process.anonymous_bytes()
        add(f"growth/memory at {size:,}", name, memory / 1e6, "MB")
        add(f"growth/memory per key at {size:,}", name, (memory - empty_bytes) / size, "bytes")
        disk = servers.process.disk_bytes() / size
        add(f"growth/disk per key at {size:,}", name, disk, "bytes")
        await work(room, servers, keys[:size])


async def is_settled(store: KvnodeStore) -> bool:
    """All is in a checkpoint, and nothing that it covers is in the log."""
    status = await store.client.admin.status()
    checkpoint = status.checkpoint
    return not (checkpoint.behind_ops or checkpoint.running or status.log.oldest_ms)


async def work(room: Room, servers: Servers[Any], keys: Sequence[bytes]) -> None:
    """Batches over all the keys there are."""
    chance = random.Random(SEED)
    store, name, size = servers.store, servers.store.name, len(keys)

    def some() -> Sequence[bytes]:
        start = chance.randrange(size - BATCH + 1)
        return keys[start : start + BATCH]

    async def write() -> int:
        await store.write([(key, VALUE) for key in some()])
        return BATCH

    async def read() -> int:
        await store.get_many(some())
        return BATCH

    for what, call in (("writes", write), ("reads", read)):
        for _ in range(room.pace.rounds):
            before_s = servers.process.cpu_s()
            run = await room.loop([call] * IN_FLIGHT)
            spent = (servers.process.cpu_s() - before_s) / run.operations_all * 1e6
            picture = f"curve/keys, batches of {BATCH}/{what}"
            room.figures.add(f"{picture} at {size:,}", name, run.operations_per_s, "operations/s")
            room.figures.add(f"{picture}, CPU at {size:,}", name, spent, "us/operation")


async def count_long(room: Room, nodes: Servers[KvnodeStore]) -> None:
    """CPU of an increment, early and late."""
    for part in range(HISTORY_BATCHES + 1):
        before_s = nodes.process.cpu_s()
        run = await room.loop([counting(nodes.store, [b"hot"] * BATCH)] * IN_FLIGHT)
        spent = (nodes.process.cpu_s() - before_s) / run.operations_all * 1e6
        if part in (0, HISTORY_BATCHES):
            when = "late" if part else "early"
            room.figures.add(f"growth/increment, {when}", "kvnode", spent, "us/operation")


async def restart(room: Room, nodes: Servers[KvnodeStore]) -> None:
    """CPU of a write, before and after restarts."""
    for part in range(room.pace.restarts + 1):
        if part:
            nodes.process.stop()
            nodes.process.start()
            nodes.process.wait_ready()
        await room.loop([room.writing(nodes.store, BATCH)])  # a connection is there
        before_s = nodes.process.cpu_s()
        run = await room.loop([room.writing(nodes.store, BATCH)] * IN_FLIGHT)
        spent = (nodes.process.cpu_s() - before_s) / run.operations_all * 1e6
        if part in (0, room.pace.restarts):
            when = f"after {part} restarts"
            room.figures.add(f"growth/write {when}", "kvnode", spent, "us/operation")
