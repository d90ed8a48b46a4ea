"""How do throughput and latency go with the size of batches, with concurrency, with more nodes?

kvnode alone, as pictures (``--svg DIRECTORY``); the same over the number of keys is in *growth*.
"""

from __future__ import annotations

from typing import Final

from bench.room import Room
from bench.servers import kvnodes
from bench.three_nodes import converge

BATCHES: Final = (1, 3, 10, 30, 100, 300, 1000)
BATCHES_IN_FLIGHT: Final = 8
CALLERS: Final = (1, 4, 16, 64, 256)
NODES: Final = "nodes, batches of 100, all writing"


async def measure(room: Room) -> None:
    """One node for batches and callers, then clusters."""
    async with kvnodes(room.new_directory()) as nodes:
        for _ in room.rounds():
            for batch in BATCHES:
                with room.part(f"curve/batch size at {batch}"):
                    calls = [room.writing(nodes.store, batch)] * BATCHES_IN_FLIGHT
                    room.add_points("batch size", "writes", batch, "kvnode", await room.loop(calls))
            for callers in CALLERS:
                with room.part(f"curve/callers of single puts at {callers}"):
                    run = await room.loop([room.writing(nodes.store, 1)] * callers)
                    room.add_points("callers of single puts", "writes", callers, "kvnode", run)
    for count in room.pace.nodes:
        room.tell(f"{count} nodes")
        with room.part(f"curve/nodes at {count}"):
            async with kvnodes(room.new_directory(), count) as nodes:
                for _ in room.rounds():
                    run, converged = await converge(room, nodes)
                    room.add_points(NODES, "accepted", count, "kvnode", run)
                    name = f"curve/{NODES}/converged at {count}"
                    room.figures.add(name, "kvnode", converged, "operations/s")
