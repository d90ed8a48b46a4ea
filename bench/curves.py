"""How do throughput and latency go with the size of batches, with concurrency, with more nodes?

kvnode alone, as pictures (``--svg DIRECTORY``); the same over the number of keys is in *growth*.
"""

from __future__ import annotations

from typing import Final

from bench.loads import Run
from bench.room import Room
from bench.servers import kvnodes
from bench.three_nodes import converge

BATCHES: Final = (1, 3, 10, 30, 100, 300, 1000)
BATCHES_IN_FLIGHT: Final = 8
CALLERS: Final = (1, 4, 16, 64, 256)


async def measure(room: Room) -> None:
    """One node for batches and callers, then clusters."""
    async with kvnodes(room.new_directory()) as nodes:
        for _ in range(room.pace.rounds):
            for batch in BATCHES:
                calls = [room.writing(nodes.store, batch)] * BATCHES_IN_FLIGHT
                add(room, "batch size", batch, await room.loop(calls))
            for callers in CALLERS:
                calls = [room.writing(nodes.store, 1)] * callers
                add(room, "callers of single puts", callers, await room.loop(calls))
    for count in room.pace.nodes:
        async with kvnodes(room.new_directory(), count) as nodes:
            for _ in range(room.pace.rounds):
                accepted, converged = await converge(room, nodes)
                name = "curve/nodes, batches of 100, all writing"
                room.figures.add(
                    f"{name}/accepted at {count}", "kvnode", accepted.operations_per_s, "writes/s"
                )
                room.figures.add(f"{name}/converged at {count}", "kvnode", converged, "writes/s")


def add(room: Room, picture: str, number: int, run: Run) -> None:
    """A point of the curve of throughput, and one each of two latencies."""
    name = f"curve/{picture}/"
    room.figures.add(f"{name}writes at {number}", "kvnode", run.operations_per_s, "writes/s")
    for percent in (50, 99):
        value = run.percentile_ms(percent)
        room.figures.add(f"{name}p{percent} at {number}", "kvnode", value, "ms")
