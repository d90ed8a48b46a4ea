"""How long and how much every question measures: in full, at a first look, and in tests."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Pace:
    """How long and how much."""

    seconds: float
    """Of one closed loop."""
    warmup_s: float
    rounds: int
    """Repetitions of all loops of a question."""
    keys: int
    """Written to at random."""
    loaded: int
    """Keys there are before reads."""
    lag_writes: int
    """Whose arrival at another node is timed."""
    missed: int
    """Writes to catch up with."""
    service_s: float
    """Of an open loop."""
    sizes: tuple[int, ...]
    """Numbers of keys to grow to."""
    nodes: tuple[int, ...]
    """Sizes of clusters to compare."""
    restarts: int
    started: int
    """Keys of a node whose start is timed."""
    entries: int
    """Blocks in its log, when it is their number that is asked for."""


FULL: Final = Pace(
    seconds=3.0,
    warmup_s=1.0,
    rounds=3,
    keys=1_000_000,
    loaded=200_000,
    lag_writes=500,
    missed=100_000,
    service_s=60.0,
    sizes=(10_000, 100_000, 1_000_000, 3_000_000),
    nodes=(1, 2, 3, 5),
    restarts=5,
    started=1_000_000,
    entries=1_000_000,
)
QUICK: Final = Pace(
    seconds=0.6,
    warmup_s=0.2,
    rounds=1,
    keys=1_000_000,
    loaded=20_000,
    lag_writes=60,
    missed=20_000,
    service_s=4.0,
    sizes=(10_000, 50_000),
    nodes=(1, 2, 3, 5),
    restarts=2,
    started=50_000,
    entries=20_000,
)
TINY: Final = Pace(
    seconds=0.02,
    warmup_s=0.0,
    rounds=1,
    keys=4_000,
    loaded=1_000,
    lag_writes=3,
    missed=200,
    service_s=0.15,
    sizes=(1_000,),
    nodes=(1, 2),
    restarts=1,
    started=1_000,
    entries=200,
)
"""For tests: that it runs, not how fast."""
