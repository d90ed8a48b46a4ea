"""What will be done to a cluster and when, drawn from a seed before anything runs.

Faults are on four *tracks*: links between nodes, processes with their disks, clocks, and the links
to clients. On one track they follow each other with a pause between, so that no fault has to be
undone under another of its sort; the tracks overlap freely, so that a node is killed while it is
cut off and its clock is wrong. Each track deals its kinds from a shuffled deck: none comes a second
time before all have come once, and a run that is long enough has them all.

The seed fixes the plan, not the run: real processes take the time they take.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from random import Random
from typing import Final

from tests.nemesis import shapes
from tests.nemesis.shapes import Pair, Shape

PAUSE_S: Final = (0.3, 1.2)
"""Between two faults of one track."""
LASTS_S: Final = (2.0, 4.5)
"""Long enough to be noticed (a silent peer is after 3 s), short enough for all within a minute."""
LONG: Final = 4.0
"""Times as long, for faults that outlast what the logs keep."""
LONG_SHARE: Final = 0.15
LONG_RUN_S: Final = 120.0
"""Shorter runs have no long faults."""


class Kind(StrEnum):
    """What can be done."""

    HALVES = "halves"
    ALONE = "alone"
    ONE_WAY = "one-way"
    BRIDGE = "bridge"
    RING = "ring"
    FLAPPING = "flapping"
    """A partition that comes and goes several times a second."""
    SLOW_LINK = "slow-link"
    """Every link delays."""
    NARROW_LINK = "narrow-link"
    """Every link carries few bytes a second."""
    KILL = "kill"
    """SIGKILL, and a start when the fault is over."""
    PAUSE = "pause"
    """SIGSTOP, SIGCONT."""
    RESTARTS = "restarts"
    """SIGTERM or SIGKILL and a start, again and again."""
    FULL_DISK = "full-disk"
    """Every write to a file answers ENOSPC."""
    SLOW_DISK = "slow-disk"
    """Every sync takes long."""
    CLOCK = "clock"
    """The wall clock of some nodes is wrong."""
    LOST_REPLIES = "lost-replies"
    """What some nodes say to clients is late or vanishes."""


CUTS: Final = (Kind.HALVES, Kind.ALONE, Kind.ONE_WAY, Kind.BRIDGE, Kind.RING, Kind.FLAPPING)
LINKS: Final = (*CUTS, Kind.SLOW_LINK, Kind.NARROW_LINK)
DISKS: Final = (Kind.FULL_DISK, Kind.SLOW_DISK)
PROCESSES: Final = (Kind.KILL, Kind.PAUSE, Kind.RESTARTS, *DISKS)
CLIENTS: Final = (Kind.LOST_REPLIES,)
TRACKS: Final = {
    "links": LINKS,
    "processes": PROCESSES,
    "clocks": (Kind.CLOCK,),
    "clients": CLIENTS,
}
GROUPS: Final[dict[str, tuple[Kind, ...]]] = {
    "all": tuple(Kind),
    "cut": CUTS,
    "disk": DISKS,
}
"""Names for several kinds."""

SHAPES: Final[dict[Kind, Callable[[Sequence[str], Random], Shape]]] = {
    Kind.HALVES: shapes.halves,
    Kind.ALONE: shapes.alone,
    Kind.ONE_WAY: shapes.one_way,
    Kind.BRIDGE: shapes.bridge,
    Kind.RING: shapes.ring,
    Kind.FLAPPING: shapes.halves,
}

CLOCK_STEPS_MS: Final = (-120_000, -3_000, 3_000, 120_000)
"""Within what nodes put up with (10 s), and beyond."""
DELAYS_MS: Final = (20, 100, 400)
RATES_BYTES_S: Final = (2_000, 10_000, 50_000)
SYNC_DELAYS_MS: Final = (30, 100, 300)


@dataclass(frozen=True, slots=True)
class Planned:
    """One fault to come."""

    track: str
    kind: Kind
    start_s: float
    for_s: float
    nodes: tuple[str, ...] = ()
    """Whose process, disk or clock it is."""
    directions: tuple[Pair, ...] = ()
    """The bytes that it stops."""
    silently: bool = False
    """The stopped bytes vanish; else connections are reset. One way only works silently."""
    measure: int = 0
    """Of a clock, a slow link and a slow disk ms, of a narrow link bytes/s."""


def kinds_of(words: Collection[str]) -> tuple[Kind, ...]:
    """The kinds that these words (kinds and groups) stand for; ValueError names a wrong one."""
    wanted: set[Kind] = set()
    for word in words:
        wanted.update(GROUPS[word] if word in GROUPS else (Kind(word),))
    return tuple(kind for kind in Kind if kind in wanted)


def schedule(
    kinds: Collection[Kind], names: Sequence[str], seconds: float, seed: int
) -> tuple[Planned, ...]:
    """Everything that is done within so many seconds, in order of its start."""
    plan = [
        planned
        for track, of_track in TRACKS.items()
        for planned in _track(
            track, [kind for kind in of_track if kind in kinds], names, seconds, seed
        )
    ]
    return tuple(sorted(plan, key=lambda planned: planned.start_s))


def _track(
    track: str, kinds: Sequence[Kind], names: Sequence[str], seconds: float, seed: int
) -> Iterator[Planned]:
    chance = Random(f"{seed} {track}")
    kinds = [kind for kind in kinds if kind is not Kind.RING or len(names) > len("abc")]
    deck: list[Kind] = []
    at_s = chance.uniform(*PAUSE_S)
    while kinds:
        for_s = chance.uniform(*LASTS_S)
        if seconds >= LONG_RUN_S and chance.random() < LONG_SHARE:
            for_s *= LONG
        if at_s + for_s > seconds:
            return
        deck = deck or chance.sample(kinds, len(kinds))
        yield _draw(track, deck.pop(), names, at_s, for_s, chance)
        at_s += for_s + chance.uniform(*PAUSE_S)


def _draw(
    track: str, kind: Kind, names: Sequence[str], at_s: float, for_s: float, chance: Random
) -> Planned:
    nodes: tuple[str, ...] = ()
    directions: Shape = frozenset()
    measure = 0
    match kind:
        case Kind.SLOW_LINK:
            measure = chance.choice(DELAYS_MS)
        case Kind.NARROW_LINK:
            measure = chance.choice(RATES_BYTES_S)
        case Kind.LOST_REPLIES:
            nodes = _some(names, chance, everybody=False)
        case Kind.CLOCK:
            nodes = _some(names, chance, everybody=False)
            measure = chance.choice(CLOCK_STEPS_MS)
        case Kind.SLOW_DISK:
            nodes = _some(names, chance, everybody=True)
            measure = chance.choice(SYNC_DELAYS_MS)
        case Kind.RESTARTS:
            nodes = (chance.choice(names),)
        case Kind.KILL | Kind.PAUSE | Kind.FULL_DISK:
            nodes = _some(names, chance, everybody=True)
        case _:
            directions = SHAPES[kind](names, chance)
    if kind in (Kind.SLOW_LINK, Kind.NARROW_LINK):
        directions = frozenset((a, b) for a in names for b in names if a != b)
    silently = kind is Kind.ONE_WAY or chance.random() < 0.5
    return Planned(track, kind, at_s, for_s, nodes, tuple(sorted(directions)), silently, measure)


def _some(names: Sequence[str], chance: Random, *, everybody: bool) -> tuple[str, ...]:
    """Mostly one; now and then several, and all of them if that may be."""
    most = len(names) if everybody else len(names) // 2
    count = 1 if chance.random() < 0.6 else chance.randint(1, most)
    return tuple(sorted(chance.sample(names, count)))
