"""How many writes do three nodes take when all are written to, and how many have all of them?

Batches of 100. *Converged* writes/s are writes / (load + time until all three have the same): for
redis a primary and two replicas, where only the primary takes writes; for etcd three members.
CPU per write is of a load on the first alone: its own, and the mean of the other two.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, Final

from bench.loads import Call, Run, closed_loop
from bench.room import Room
from bench.servers import Servers

NODES: Final = 3
BATCH: Final = 100
IN_FLIGHT: Final = 12
"""In all, shared among the nodes that take writes."""


async def measure(room: Room) -> None:
    """The systems in turns."""
    async with room.systems(NODES) as systems:
        for servers in systems:
            with room.part(f"three nodes/warm-up of {servers.store.name}"):
                await room.loop(calls(room, servers.writers))
                await servers.wait_converged()
        for _ in room.rounds():
            for servers in systems:
                name = servers.store.name
                with room.part(f"three nodes/converged of {name}"):
                    accepted, converged = await converge(room, servers)
                    room.add("three nodes/accepted", name, accepted)
                    room.figures.add("three nodes/converged", name, converged, "operations/s")
            for servers in systems:
                with room.part(f"three nodes/cpu of {servers.store.name}"):
                    await spend(room, servers)


def calls(room: Room, writers: Sequence[Any]) -> list[Call]:
    """A caller for each call in flight."""
    return [room.writing(writers[number % len(writers)], BATCH) for number in range(IN_FLIGHT)]


async def converge(room: Room, servers: Servers[Any]) -> tuple[Run, float]:
    """All write, and then have the same: what was accepted, and converged writes/s."""
    started = time.perf_counter()
    run = await closed_loop(calls(room, servers.writers), seconds=room.pace.seconds)
    await servers.wait_converged()
    return run, run.operations_all / (time.perf_counter() - started)


async def spend(room: Room, servers: Servers[Any]) -> None:
    """Only the first is written to: what each spends on a write."""
    before = [process.cpu_s() for process in servers.processes]
    run = await closed_loop(calls(room, servers.writers[:1]), seconds=room.pace.seconds)
    await servers.wait_converged()
    spent = [
        (process.cpu_s() - start) / run.operations_all * 1e6
        for process, start in zip(servers.processes, before, strict=True)
    ]
    name = servers.store.name
    room.figures.add("three nodes/cpu at origin", name, spent[0], "us/operation")
    room.figures.add(
        "three nodes/cpu at replica", name, sum(spent[1:]) / len(spent[1:]), "us/operation"
    )
