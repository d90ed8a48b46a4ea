"""What do counters and siblings cost, which the peers have in part or not at all?

One hot counter by 64 callers and in batches of 100, 10,000 counters, and siblings replaced with
the context that was read. redis has counters of one server; etcd has none.
"""

from __future__ import annotations

import random
from typing import Final

from bench.loads import Call
from bench.room import SEED, VALUE, Room, counting
from bench.stores import KvnodeStore
from kvnode import Put

HOT: Final = b"hot"
COUNTERS: Final = 10_000
SIBLING_BATCH: Final = 100


async def measure(room: Room) -> None:
    """All loads, the systems in turns."""
    chance = random.Random(SEED)
    counters = [b"counter/%d" % number for number in range(COUNTERS)]
    async with room.systems(1, "redis") as systems:
        for _ in room.rounds():
            for servers in systems:
                store = servers.store
                await room.take("counters/hot, 64 callers", servers, [counting(store, [HOT])] * 64)
                batch = counting(store, [HOT] * 100)
                await room.take("counters/hot, batch 100", servers, [batch] * 8)
                chosen = [chance.choices(counters, k=100) for _ in range(8)]
                several = [counting(store, keys) for keys in chosen]
                await room.take("counters/10,000, batch 100", servers, several)
            replaced = [siblings(room, systems[0].store)] * 8
            name = "siblings/read, replaced by context, batch 100"
            await room.take(name, systems[0], replaced)


def siblings(room: Room, store: KvnodeStore) -> Call:
    """Read a batch of keys and replace exactly what was read: two calls."""
    among = max(SIBLING_BATCH, min(room.pace.loaded, COUNTERS))

    async def replace() -> int:
        states = await store.client.batch_get(room.some_keys(SIBLING_BATCH, among))
        await store.client.write(
            [Put(state.key, VALUE, context=state.context or None) for state in states]
        )
        return SIBLING_BATCH

    return replace
