"""How do three nodes bear the field's classic loads, all of them written to?

- *tweets*: small values under new keys, never changed.
- *locations*: a register per driver, overwritten, gone a minute after the last time.
- *status*: acknowledged when more than half of the members have it on disk.
- *messages*: appended under the prefix of a conversation, whose latest are read now and then.
- *ad clicks*: one counter, counted from everywhere.

64 callers of single operations, spread over the nodes; beside them the lag of a write now and then.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from itertools import count
from typing import Final

from bench.loads import Call
from bench.report import percentile
from bench.room import SEED, Room
from bench.servers import kvnodes
from bench.service import probing
from bench.stores import KvnodeStore

CALLERS: Final = 64
TWEET: Final = b"t" * 140
DRIVERS: Final = 10_000
LOCATION: Final = b"52.520008,13.404954,271,38"
EXPIRY_S: Final = 60.0
USERS: Final = 10_000
CONVERSATIONS: Final = 500
MESSAGE: Final = b"m" * 80
READ_SHARE: Final = 0.1
"""Of the calls of *messages*."""
LATEST: Final = 50
"""Messages of one page."""

Profile = Callable[[KvnodeStore, random.Random], Call]

_numbers = count()
"""For new keys: the same in no two calls of a run."""


def tweets(store: KvnodeStore, _chance: random.Random) -> Call:
    """A new key each."""

    async def call() -> int:
        await store.client.put(b"tweet/%016d" % next(_numbers), TWEET)
        return 1

    return call


def locations(store: KvnodeStore, chance: random.Random) -> Call:
    """The last one counts, for a minute."""

    async def call() -> int:
        key = b"driver/%d" % chance.randrange(DRIVERS)
        await store.client.put(key, LOCATION, lww=True, ttl=EXPIRY_S)
        return 1

    return call


def status(store: KvnodeStore, chance: random.Random) -> Call:
    """On the disks of a quorum."""

    async def call() -> int:
        key = b"status/%d" % chance.randrange(USERS)
        await store.client.put(key, b"online", lww=True, durability="quorum")
        return 1

    return call


def messages(store: KvnodeStore, chance: random.Random) -> Call:
    """An append, or a page of a conversation."""

    async def call() -> int:
        prefix = b"chat/%d/" % chance.randrange(CONVERSATIONS)
        if chance.random() >= READ_SHARE:
            await store.client.put(prefix + b"%016d" % next(_numbers), MESSAGE)
            return 1
        read = 0
        async for _ in store.client.scan(prefix=prefix, page_size=LATEST):
            read += 1
            if read == LATEST:
                break
        return 1

    return call


def ad_clicks(store: KvnodeStore, _chance: random.Random) -> Call:
    """One counter."""

    async def call() -> int:
        await store.client.increment(b"clicks")
        return 1

    return call


PROFILES: Final[dict[str, Profile]] = {
    "tweets": tweets,
    "locations": locations,
    "status": status,
    "messages": messages,
    "ad clicks": ad_clicks,
}


async def measure(room: Room) -> None:
    """One after the other on the same nodes."""
    chance = random.Random(SEED)
    async with kvnodes(room.new_directory(), 3) as nodes:
        for _ in room.rounds():
            for name, profile in PROFILES.items():
                calls = [
                    profile(nodes.stores[number % len(nodes.stores)], chance)
                    for number in range(CALLERS)
                ]
                with room.part(f"lag of profiles/{name}"):
                    async with probing(nodes) as lags:
                        await room.take(f"profiles/{name}", nodes, calls)
                    for percent in (50, 99):
                        value = percentile(lags, percent)
                        room.figures.add(f"profiles/{name}/lag p{percent}", "kvnode", value, "ms")
                    await nodes.wait_converged()
