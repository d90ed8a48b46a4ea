"""Bugs in the hybrid clock and in what carries it over restarts and snapshots."""

from __future__ import annotations

from dataclasses import replace

from kvnode.core import hlc as clock
from kvnode.core import snapshot
from kvnode.core.hlc import LOGICAL_BITS
from kvnode.core.replica import Durable
from kvnode.storage import checkpoint as checkpoints
from kvnode.storage.interfaces import Checkpoint
from tests.sim.mutants import schedules
from tests.sim.mutants.planting import Planting, mutant


@mutant(8, plan=schedules.clocks_apart)
def clock_is_the_wall_clock(plant: Planting) -> None:
    """A write bears the wall clock's time, whatever its writer has received."""

    def tick(hlc: int, wall_ms: int) -> int:
        return wall_ms << LOGICAL_BITS

    plant.function(clock.tick, tick)


@mutant(8, plan=schedules.clocks_set_back_over_a_restart)
def checkpoint_without_the_clock(plant: Planting) -> None:
    """The hybrid clock is left out of the checkpoint."""

    def encode_meta(checkpoint: Checkpoint) -> bytes:
        durable = replace(checkpoint.durable, hlc=0)
        return real(replace(checkpoint, durable=durable))

    real = checkpoints.encode_meta
    plant.function(checkpoints.encode_meta, encode_meta)


@mutant(8, plan=schedules.clocks_set_back_before_a_join)
def snapshot_without_the_clock(plant: Planting) -> None:
    """The hybrid clock of a snapshot is not taken over with its values."""

    def join_durable(mine: Durable, theirs: Durable, *, own_origin: int) -> Durable:
        return replace(real(mine, theirs, own_origin=own_origin), hlc=mine.hlc)

    real = snapshot.join_durable
    plant.function(snapshot.join_durable, join_durable)
