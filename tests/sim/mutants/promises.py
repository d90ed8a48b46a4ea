"""Bugs in what a call may ask for: a session, other members' disks, an end of what it stores."""

from __future__ import annotations

from kvnode.core.dots import Vector
from kvnode.core.entry import Entry, collect_entry, deadlines
from kvnode.node.collector import Collector
from kvnode.node.levels import Levels
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
