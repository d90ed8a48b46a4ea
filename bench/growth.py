"""Does a write get dearer with more keys, a longer history or restarts, and what does a key take?

Loading keys, batches of writes and reads over all keys there are, anonymous memory and disk, at
10 K, 100 K, 1 M and 3 M keys of 16 + 100 bytes, for kvnode and redis, and up to 1 M for etcd. Disk
is that after a checkpoint and with the log's retention (here seconds) passed; *live* leaves free
pages out. Then one counter's increments, early and late in histories, and increments and writes
over keys that are all there already, before and after restarts.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from typing import Any, Final

from bench.loads import Call, Run
from bench.room import KEY_BYTES, SEED, VALUE, Room, counting
from bench.servers import Servers, kvnodes, until
from bench.stores import EtcdStore, KvnodeStore

BATCH: Final = 100
IN_FLIGHT: Final = 8
HISTORY: Final = 6
"""Loops before the late ones, for each of those."""
ETCD_KEYS_MAX: Final = 1_000_000


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
    async with room.systems(config=config(room)) as systems:
        for servers in systems:
            with room.part(f"growth of {servers.store.name}"):
                await grow(room, servers, keys)
    async with kvnodes(room.new_directory()) as nodes:
        with room.part("growth/increment"):
            await count_long(room, nodes)
    async with kvnodes(room.new_directory()) as nodes:
        with room.part("growth/restarts"):
            await restart(room, nodes, keys[: room.pace.loaded])


async def grow(room: Room, servers: Servers[Any], keys: Sequence[bytes]) -> None:
    """From nothing to the last size."""
    store, name = servers.store, servers.store.name
    add = room.figures.add
    empty_bytes = servers.process.anonymous_bytes()
    loading_s, loaded = 0.0, 0
    for size in room.pace.sizes:
        if isinstance(store, EtcdStore) and size > ETCD_KEYS_MAX:
            break
        room.tell(f"{name}: to {size:,} of {len(keys):,} keys")
        started = time.perf_counter()
        await room.write_all(store, keys[loaded:size])
        loading_s += time.perf_counter() - started
        loaded = size
        add(f"growth/load at {size:,}", name, loading_s, "s")
        if isinstance(store, KvnodeStore):
            room.tell(f"{name}: {size:,} keys, until the log has left")
            await until(lambda: is_settled(store), "the log has left")
            await until(Unchanged(servers.process.disk_bytes, room.pace.seconds), "it is tidied")
            status = await store.client.admin.status()
            live = status.log.used_bytes + status.checkpoint.used_bytes
            add(f"growth/live per key at {size:,}", name, live / size, "bytes")
        memory = servers.process.anonymous_bytes()
        add(f"growth/memory at {size:,}", name, memory / 1e6, "MB")
        add(f"growth/memory per key at {size:,}", name, (memory - empty_bytes) / size, "bytes")
        disk = servers.process.disk_bytes() / size
        add(f"growth/disk per key at {size:,}", name, disk, "bytes")
        room.tell(f"{name}: {size:,} keys, writes and reads")
        await work(room, servers, keys[:size])


async def is_settled(store: KvnodeStore) -> bool:
    """All is in a checkpoint, and nothing that it covers is in the log."""
    status = await store.client.admin.status()
    checkpoint = status.checkpoint
    return not (checkpoint.behind_ops or checkpoint.running or status.log.oldest_ms)


class Unchanged:
    """Whether a number has stayed what it is for longer than a node takes to look after its files:
    what it does when all is quiet it does within two looks at the log's retention.
    """

    def __init__(self, number: Callable[[], int], seconds: float) -> None:
        """``seconds``: the pace that ``config`` was made with."""
        self._number = number
        self._long_s = 3 * max(0.2, 0.7 * seconds)
        self._last, self._since = -1, 0.0

    async def __call__(self) -> bool:
        """As of now."""
        number, now = self._number(), time.perf_counter()
        if number != self._last:
            self._last, self._since = number, now
        return now - self._since > self._long_s


async def work(room: Room, servers: Servers[Any], keys: Sequence[bytes]) -> None:
    """Batches over all the keys there are."""
    store, name, size = servers.store, servers.store.name, len(keys)
    some = batches_of(keys)

    async def read() -> int:
        await store.get_many(some())
        return BATCH

    for what, call in (("writes", writing_over(store, keys)), ("reads", read)):
        picture = f"{what} by keys, batches of {BATCH}"
        for _ in range(room.pace.rounds):
            run, spent_us = await loop(room, servers, call)
            room.add_points(picture, what, size, name, run)
            figure = f"curve/{picture}/{what}, CPU at {size:,}"
            room.figures.add(figure, name, spent_us, "us/operation")


def batches_of(keys: Sequence[bytes]) -> Callable[[], Sequence[bytes]]:
    """Batches of neighbours in the sequence, which is in no order, at random."""
    chance, last = random.Random(SEED), len(keys) - BATCH

    def some() -> Sequence[bytes]:
        start = chance.randint(0, last)
        return keys[start : start + BATCH]

    return some


def writing_over(store: Any, keys: Sequence[bytes]) -> Call:
    """Batches of writes to these keys."""
    some = batches_of(keys)

    async def write() -> int:
        await store.write([(key, VALUE) for key in some()])
        return BATCH

    return write


async def loop(room: Room, servers: Servers[Any], call: Call) -> tuple[Run, float]:
    """A closed loop, and the CPU of the first server for an operation (us)."""
    before_s = servers.process.cpu_s()
    run = await room.loop([call] * IN_FLIGHT)
    return run, (servers.process.cpu_s() - before_s) / run.operations_all * 1e6


async def count_long(room: Room, nodes: Servers[KvnodeStore]) -> None:
    """CPU of an increment of a counter with a long history, and of one on a new node, in turns.

    One after the other, a minute apart, they told how the machine's speed had changed.
    """
    increment = counting(nodes.store, [b"hot"] * BATCH)
    for _ in range(HISTORY * room.pace.rounds):
        room.tell("one counter")
        await loop(room, nodes, increment)
    async with kvnodes(room.new_directory()) as fresh:
        first = counting(fresh.store, [b"hot"] * BATCH)
        await loop(room, fresh, first)  # what runs for the first time
        for _ in range(room.pace.rounds):
            for when, servers, call in (("early", fresh, first), ("late", nodes, increment)):
                room.tell(f"one counter, {when}")
                _, spent_us = await loop(room, servers, call)
                room.figures.add(f"growth/increment, {when}", "kvnode", spent_us, "us/operation")


async def restart(room: Room, nodes: Servers[KvnodeStore], keys: Sequence[bytes]) -> None:
    """CPU of a write to keys that are there, and of an increment: of a node that was restarted and
    of one that was not, in turns.

    To keys that are not, a write would be dearer after restarts because there are more then.
    """
    restarts = room.pace.restarts
    async with kvnodes(room.new_directory()) as steady:
        both = ((0, steady), (restarts, nodes))
        for _, servers in both:
            await room.write_all(servers.store, keys)
        for count in range(1, restarts + 1):
            room.tell(f"restart {count} of {restarts}")
            nodes.process.stop()
            nodes.process.start()
            nodes.process.wait_ready()
            for _, servers in both:  # each has as much behind it, and a connection is there
                await room.loop([writing_over(servers.store, keys)])
        for _ in range(room.pace.rounds):
            for count, servers in both:
                calls = {
                    "write": writing_over(servers.store, keys),
                    "increment": counting(servers.store, [b"hot"] * BATCH),
                }
                for what, call in calls.items():
                    room.tell(f"{what}, after {count} restarts")
                    _, spent_us = await loop(room, servers, call)
                    name = f"growth/{what}, after {count} restarts"
                    room.figures.add(name, "kvnode", spent_us, "us/operation")
