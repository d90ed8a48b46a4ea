"""How fast does one node take writes, in batches and one by one, beside redis and etcd?

fsync before every acknowledgement everywhere, 16-byte random keys over 1 M, values of 100 bytes.
Batches are a call with that many puts; for redis a pipeline, for etcd a transaction.
"""

from __future__ import annotations

from typing import Final

from bench.room import Room

LOADS: Final = {
    "batch 10": (10, 8),
    "batch 100": (100, 8),
    "batch 1000": (1000, 4),
    "single, 64 in flight": (1, 64),
    "single, 1 in flight": (1, 1),
}
"""Name -> (operations of a call, calls in flight)."""


async def measure(room: Room) -> None:
    """All loads, the systems in turns."""
    async with room.systems() as systems:
        for _ in room.rounds():
            for name, (batch, in_flight) in LOADS.items():
                for servers in systems:
                    calls = [room.writing(servers.store, batch)] * in_flight
                    await room.take(f"one node/{name}", servers, calls)
