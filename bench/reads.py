"""How fast does one node answer reads, alone, among writes, and as scans?

Local reads of keys that are there; for etcd serializable ones, which its asked member answers
alone. Batches read values and nothing else in all systems (kvnode's ``get_many``, pipelines of
redis's GET); a single read of kvnode gets the key's whole state. Mixed: single calls, 64 in flight,
each a read or a write by chance.
"""

from __future__ import annotations

import random
from typing import Final

from bench.loads import Call
from bench.room import SEED, Room
from bench.stores import KvnodeStore, Store

MIXED: Final = {"90/10": 0.9, "50/50": 0.5}
"""Name -> share of reads."""
SCANNED: Final = 1_000
"""Keys of one scan."""


async def measure(room: Room) -> None:
    """All loads, the systems in turns."""
    async with room.systems() as systems:
        for servers in systems:
            await room.load(servers.store)
        for _ in room.rounds():
            for servers in systems:
                batches = [room.reading(servers.store, 100)] * 8
                await room.take("reads/batch 100", servers, batches)
                singles = [room.reading(servers.store, 1)] * 64
                await room.take("reads/single, 64 in flight", servers, singles)
            for title, share in MIXED.items():
                for servers in systems:
                    calls = [mixed(room, servers.store, share)] * 64
                    await room.take(f"reads/mixed {title}", servers, calls)
            scans = [scanning(room, systems[0].store)] * 2
            await room.take(f"reads/scan of {SCANNED}", systems[0], scans, "keys/s")


def mixed(room: Room, store: Store, share: float) -> Call:
    """A read with that probability, else a write."""
    chance = random.Random(SEED)
    read, write = room.reading(store, 1), room.writing(store, 1)

    async def call() -> int:
        return await (read() if chance.random() < share else write())

    return call


def scanning(room: Room, store: KvnodeStore) -> Call:
    """From a random key on."""

    async def scan() -> int:
        (start,) = room.some_keys(1, room.pace.loaded)
        found = 0
        async for _ in store.client.scan(start=start, page_size=SCANNED):
            found += 1
            if found == SCANNED:
                break
        return found

    return scan
