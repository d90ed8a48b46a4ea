"""Bugs in what a call may ask for: a session, other members' disks, an end of what it stores."""

from __future__ import annotations

from kvnode.core.dots import Vector
from kvnode.core.entry import Entry, collect_entry, deadlines
from kvnode.core.watch import Cursor
from kvnode.node.collector import Collector
from kvnode.node.levels import Levels
from kvnode.rpc.watch_service import WatchService
from kvnode.v1 import watch_pb2 as pb
from tests.sim.mutants import schedules
from tests.sim.mutants.planting import Planting, mutant


@mutant()
def session_token_is_ignored(plant: Planting) -> None:
    """A node answers at once, also when it lacks what the session has seen."""

    async def covered(self: Levels, after: Vector, until: float) -> None:
        return

    plant.method(Levels, "covered", covered)


@mutant(plan=schedules.quorum_then_lost)
def quorum_without_the_others(plant: Planting) -> None:
    """Every member counts as one that has a write on disk, reported or not."""

    def _others(self: Levels, origin: int) -> dict[int, int]:
        return {member: self._engine.vector.get(origin, 0) for member in real(self, origin)}

    real = Levels._others
    plant.method(Levels, "_others", _others)


@mutant()
def watch_goes_on_from_now(plant: Planting) -> None:
    """A watch that is taken up again goes on from what the node has by then."""

    def _cursor(self: WatchService, request: pb.WatchRequest) -> Cursor:
        cursor = real(self, request)
        if request.since:
            vector = self._store.vector
            origins = vector.keys() | cursor.shown.keys()
            cursor.shown = {o: max(vector.get(o, 0), cursor.shown.get(o, 0)) for o in origins}
            cursor.saw(cursor.shown)
        return cursor

    real = WatchService._cursor
    plant.method(WatchService, "_cursor", _cursor)


@mutant(11, plan=schedules.expiring_apart)
def expiry_is_a_silent_local_delete(plant: Planting) -> None:
    """What has expired is let go at once, whoever has not seen it."""

    async def look(self: Collector) -> None:
        engine, expired = self._engine, dict[bytes, Entry]()
        now, everything = engine.ambient.wall_ms(), dict(engine.vector)

        def accept(key: bytes, entry: Entry) -> bool:
            left = collect_entry(entry, everything, now) if deadlines(entry) else entry
            if left is not entry:
                expired[key] = left
            return True

        engine.memtable.scan(b"", b"", accept)
        engine.memtable.install(expired, sum(map(len, expired)))
        await real(self)

    real = Collector.look
    plant.method(Collector, "look", look)
