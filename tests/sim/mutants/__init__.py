"""Planted bugs: variants of production code that the simulator and its checkers must catch."""

from tests.sim.mutants import (
    blocks,
    clocks,
    collection,
    members,
    promises,
    recovery,
    streams,
    values,
)
from tests.sim.mutants.planting import MUTANTS, CannotPlantError, Mutant, Planting, planted

__all__ = [
    "MUTANTS",
    "CannotPlantError",
    "Mutant",
    "Planting",
    "blocks",
    "clocks",
    "collection",
    "members",
    "planted",
    "promises",
    "recovery",
    "streams",
    "values",
]
