"""Bugs in causal stability, collection and snapshots."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

from kvnode.core import snapshot
from kvnode.core.dots import Vector
from kvnode.core.entry import Entry
from kvnode.core.roster import Roster
from kvnode.core.snapshot import Lost, Row
from kvnode.core.stability import Stability
from kvnode.node.resync import Resync
from kvnode.storage.interfaces import Checkpoint
from tests.sim.mutants import schedules
from tests.sim.mutants.planting import Planting, mutant


@mutant(9)
def tombstones_go_after_a_while(plant: Planting) -> None:
    """What a delete leaves behind goes as soon as this node has looked, whoever lacks it."""

    def stable(self: Stability, own: Vector, counted: Iterable[int] | None) -> Vector:
        return dict(own)

    plant.method(Stability, "stable", stable)


@mutant(9, plan=schedules.far_away)
def unusable_reports_are_used(plant: Planting) -> None:
    """A report counts although its sender wrote things before it that are not here."""

    def _refresh(self: Stability, origin: int, own: Vector) -> None:
        last = self._last.get(origin)
        if last is not None:
            self.reports[origin] = last

    plant.method(Stability, "_refresh", _refresh)


@mutant(9, 24, plan=schedules.taken_in)
def newcomers_do_not_count(plant: Planting) -> None:
    """A joining member is not waited for before something is collected."""

    def counted(self: Roster, own: int, vector: Mapping[int, int]) -> frozenset[int] | None:
        found = real(self, own, vector)
        if found is None:
            return None
        return frozenset(
            one for one in found if one not in self.members or not self.members[one].joining
        )

    real = Roster.counted
    plant.method(Roster, "counted", counted)


@mutant(13, plan=schedules.left_behind)
def snapshot_vector_is_adopted_too_early(plant: Planting) -> None:
    """The vector of a snapshot is shown while its entries are still being merged."""

    async def _join(self: Resync) -> Checkpoint:
        source = self.incoming.checkpoint(self._engine.config.requests_remembered)
        durable = self._engine.replica.durable
        for origin, seq in source.durable.vector.items():
            if seq > durable.vector.get(origin, 0):
                durable.vector[origin] = seq
                durable.chains[origin] = source.durable.chains[origin]
        return await real(self)

    real = Resync._join
    plant.method(Resync, "_join", _join)


@mutant(13, plan=schedules.left_behind)
def snapshot_lacks_an_entry(plant: Planting) -> None:
    """One key of a snapshot is left out of the merge, its vector is adopted all the same."""

    def join_entries(
        mine: Iterator[Row],
        theirs: Iterator[Row],
        my_vector: Vector,
        their_vector: Vector,
        lost: Lost,
    ) -> Iterator[tuple[bytes, Entry]]:
        rows = real(mine, theirs, my_vector, their_vector, lost)
        next(rows, None)
        yield from rows

    real: Callable[..., Iterator[tuple[bytes, Entry]]] = snapshot.join_entries
    plant.function(snapshot.join_entries, join_entries)


@mutant(9, plan=schedules.left_behind)
def snapshot_absence_says_nothing(plant: Planting) -> None:
    """What a snapshot lacks although its vector covers it stays: deletes are not merged."""

    def join_entries(
        mine: Iterator[Row],
        theirs: Iterator[Row],
        my_vector: Vector,
        their_vector: Vector,
        lost: Lost,
    ) -> Iterator[tuple[bytes, Entry]]:
        return real(mine, theirs, my_vector, {}, lost)

    real: Callable[..., Iterator[tuple[bytes, Entry]]] = snapshot.join_entries
    plant.function(snapshot.join_entries, join_entries)
