"""What is to happen in a run: a list of steps, drawn from the seed before anything begins.

A run is a pure function of its ``Plan``: so a failing one can be shrunk by leaving steps out. For
that, steps name hosts and clients, say when, and are skipped if they make no sense at the time.
Each plan enables a part of the faults only (else rare ones drown in frequent ones), and draws the
settings that decide which paths are taken: retention, checkpoints, snapshots.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator
from dataclasses import dataclass, field
from random import Random
from typing import Any

from tests.sim.asking import WAYS, asks
from tests.sim.plan import Plan, Step, Storage, Streams

SILENCES = frozenset(
    {"cut", "cut one way", "cut pair", "lose", "slow link", "pause", "kill", "stop", "disk error"}
)
"""What keeps nodes from hearing of each other."""
PROGRAMS = sorted(set(WAYS) - {""})
MEETING_MS = 5_000
"""Until a node that starts has met all that it can reach."""
SIZES = (*[2] * 4, *[3] * 11, *[4] * 4, *[5] * 2, 6, 7, 8, 9)
"""Most of what can happen, three can do to each other; what a message costs grows with them."""
OPERATIONS = 300
QUEUE_OPERATIONS = 8
"""Of a short queue: no less than the largest call has, all clients' single writes in columns."""


@dataclass(slots=True)
class Drawing:
    """A plan being drawn."""

    chance: Random
    lasts_ms: int
    founders: list[str]
    steps: list[Step] = field(default_factory=list)
    newcomers: int = 0

    def at(self, least: float = 0.0, most: float = 1.0) -> int:
        """A moment in that part of the run."""
        return int(self.chance.uniform(least, most) * self.lasts_ms)

    def ms(self, least: int, most: int) -> int:
        """A time between the two, small ones more often."""
        return int(least * (most / least) ** self.chance.random())

    def one(self) -> str:
        """One of the founders."""
        return self.chance.choice(self.founders)

    def two(self) -> tuple[str, str]:
        """Two of them."""
        one, other = self.chance.sample(self.founders, 2)
        return one, other

    def add(self, at_ms: int, kind: str, *nodes: str, **more: Any) -> None:
        """One more step."""
        self.steps.append(Step(at_ms, kind, nodes, **more))

    def flip(self) -> bool:
        """Heads or tails."""
        return self.chance.random() < 0.5

    def newcomer(self) -> str:
        """A name nobody had yet."""
        self.newcomers += 1
        return f"x{self.newcomers}"


def draw(seed: int, *, storage: str = "mixed", operations: int = OPERATIONS) -> Plan:
    """The plan of a seed."""
    chance = Random(seed)
    size = chance.choice(SIZES)
    founders = [f"n{number}" for number in range(1, size + 1)]
    drawing = Drawing(chance, chance.choice((5_000, 8_000, 13_000)), founders)
    kinds: list[Storage] = ["memory", "lmdb"]
    drawn = chance.choice(kinds)
    chosen = drawn if storage == "mixed" else kinds[storage == "lmdb"]
    settings = _settings(chance)
    if chosen == "memory":
        settings |= WHOLE_LOG
    faults = chance.sample(FAULTS, k=min(len(FAULTS), chance.choice((0, 2, 3, 4, 5, 6))))
    for fault in sorted(faults, key=lambda fault: fault.__name__):
        fault(drawing)
    if chance.random() < 0.6:
        chance.choice(CHANGES if chosen == "lmdb" else CHANGES_WITHOUT_FILES)(drawing)
    for _ in range(chance.choice((0, 1, 1, 2))):
        prefix = chance.choice((b"", b"l", b"s", b"p", b"m"))
        drawing.add(drawing.at(0, 0.5), "watch", prefix=prefix)
    drawing.steps += asks(chance, founders, drawing.lasts_ms, operations)
    steps = sorted(drawing.steps, key=lambda step: step.at_ms)
    chunk_bytes = chance.choice((150, 400, 1 << 20))
    streams = Streams(
        chance.choice((1, 2, 1_000)),
        chance.choice((0, 1, 4)),
        chance.choice((0.3, 2.0)),
        chance.choice((1.0, 60.0)),
    )
    return Plan(
        seed,
        tuple(founders),
        settings,
        chosen,
        tuple(steps),
        drawing.lasts_ms,
        chunk_bytes,
        streams,
    )


def _settings(chance: Random) -> dict[str, int]:
    small_log = chance.random() < 0.5
    return {
        "heartbeat_interval_ms": 1_000,
        "anti_entropy_interval_ms": 1_000,
        "relay_interval_ms": 2_000,
        "peer_timeout_ms": 3_000,
        "reconnect_interval_ms": 600,
        "compare_interval_ms": chance.choice((2_500, 60_000)),
        "checkpoint_interval_ms": chance.choice((500, 2_000, 60_000)),
        "checkpoint_keys": chance.choice((6, 20, 100_000)),
        "retention_interval_ms": 1_500,
        "log_retention_s": 1 if small_log else 3_600,
        "log_retention_bytes": 4_096 if small_log else 1 << 20,
        "log_bytes_max": chance.choice((4_096, 16_384)) if small_log else 1 << 30,
        "snapshot_idle_s": 5,
        "watch_wait_ms": 2_000,
        "snapshot_retry_s": 1,
        "snapshot_instead_of_log_ops": chance.choice((50, 100_000)),
        "snapshot_bytes_per_s": chance.choice((2_000, 64 << 20)),
        "leave_timeout_ms": 8_000,
        "hold_bytes_max": chance.choice((2_000, 16 << 20)),
        "push_buffer_bytes": chance.choice((2_000, 16 << 20)),
        "push_message_bytes": chance.choice((500, 1 << 20)),
        "push_messages_max": chance.choice((1, 4)),
        "pull_bytes": chance.choice((1_000, 16 << 20)),
        "journal_rows_max": chance.choice((5, 10_000)),
        "requests_remembered": chance.choice((300, 100_000)),
        "queue_operations_max": chance.choice((QUEUE_OPERATIONS, QUEUE_OPERATIONS, 50_000)),
    }


# ---- what happens to them


def cuts(drawing: Drawing) -> None:
    """Partitions of every shape, aloud and silent, one way and both, short and long."""
    for _ in range(drawing.chance.randint(1, 3)):
        size = drawing.chance.randint(1, len(drawing.founders) - 1)
        group = drawing.chance.sample(drawing.founders, size)
        kind = drawing.chance.choice(("cut", "cut one way"))
        drawing.add(
            drawing.at(), kind, *group, lasts_ms=drawing.ms(300, 8_000), flag=drawing.flip()
        )


def flapping(drawing: Drawing) -> None:
    """A link that comes and goes."""
    one, other = drawing.two()
    at_ms, pause_ms = drawing.at(0, 0.8), drawing.ms(200, 1_500)
    for turn in range(drawing.chance.randint(3, 6)):
        drawing.add(
            at_ms + 2 * turn * pause_ms, "cut pair", one, other, lasts_ms=pause_ms,
            flag=drawing.flip(),
        )  # fmt: skip


def losses(drawing: Drawing) -> None:
    """Messages that get lost."""
    for _ in range(2):
        drawing.add(
            drawing.at(), "lose", *drawing.two(), lasts_ms=drawing.ms(1_000, 10_000),
            amount=drawing.chance.choice((0.02, 0.1, 0.4)),
        )  # fmt: skip


def programs_away(drawing: Drawing) -> None:
    """Programs whose way to a node is cut, loses much, or is long."""
    for _ in range(3):
        program, node = drawing.chance.choice(PROGRAMS), drawing.one()
        match drawing.chance.randrange(4):
            case 0:
                drawing.add(
                    drawing.at(), "slow link", program, lasts_ms=drawing.ms(500, 4_000),
                    amount=drawing.chance.choice((0.05, 0.2, 1.0)),
                )  # fmt: skip
            case 1:
                ways = (program, node) if drawing.flip() else (node, program)
                drawing.add(
                    drawing.at(), "lose", *ways, lasts_ms=drawing.ms(1_000, 10_000), amount=0.1
                )
            case _:
                drawing.add(
                    drawing.at(), "cut pair", program, node, lasts_ms=drawing.ms(200, 4_000),
                    flag=drawing.flip(),
                )  # fmt: skip


def repeats(drawing: Drawing) -> None:
    """Push messages that come twice, the second time late."""
    for _ in range(2):
        drawing.add(
            drawing.at(), "repeat", *drawing.two(), lasts_ms=drawing.ms(2_000, 10_000), amount=0.3
        )


def slow_links(drawing: Drawing) -> None:
    """A host that is far away for a while."""
    drawing.add(
        drawing.at(), "slow link", drawing.one(), lasts_ms=drawing.ms(1_000, 8_000),
        amount=drawing.chance.choice((0.2, 1.0, 2.5)),
    )  # fmt: skip


def slow_disks(drawing: Drawing) -> None:
    """A disk that takes its time."""
    drawing.add(
        drawing.at(), "slow disk", drawing.one(), lasts_ms=drawing.ms(1_000, 8_000),
        amount=drawing.chance.choice((0.05, 0.4)),
    )  # fmt: skip


def kills(drawing: Drawing) -> None:
    """kill -9 at any moment, and the restart."""
    for _ in range(drawing.chance.randint(1, 5)):
        drawing.add(drawing.at(), "kill", drawing.one(), lasts_ms=drawing.ms(50, 6_000))


def stops(drawing: Drawing) -> None:
    """Clean restarts."""
    drawing.add(drawing.at(), "stop", drawing.one(), lasts_ms=drawing.ms(50, 4_000))


def pauses(drawing: Drawing) -> None:
    """SIGSTOP and SIGCONT."""
    drawing.add(drawing.at(), "pause", drawing.one(), lasts_ms=drawing.ms(200, 7_000))


def clocks(drawing: Drawing) -> None:
    """Wall clocks that are off, jump, go back, and run too fast or too slow."""
    for _ in range(drawing.chance.randint(1, 4)):
        step = drawing.chance.choice((-60_000, -3_000, -200, 200, 3_000, 60_000))
        drawing.add(drawing.at(), "clock step", drawing.one(), amount=step)
    drawing.add(
        drawing.at(), "clock drift", drawing.one(), amount=drawing.chance.uniform(-0.2, 0.2)
    )


def full_disks(drawing: Drawing) -> None:
    """No room for a while."""
    drawing.add(drawing.at(), "disk full", drawing.one(), lasts_ms=drawing.ms(200, 4_000))


def broken_disks(drawing: Drawing) -> None:
    """One append whose outcome the disk does not confirm."""
    drawing.add(drawing.at(), "disk error", drawing.one(), lasts_ms=1_000)


def flipped_bits(drawing: Drawing) -> None:
    """Bits that flip on their way, past TCP's checksum."""
    for _ in range(2):
        drawing.add(drawing.at(), "flip a bit", *drawing.two())


def checkpoints(drawing: Drawing) -> None:
    """At moments nothing else would choose."""
    for _ in range(4):
        drawing.add(drawing.at(), "checkpoint", drawing.one())


def joins(drawing: Drawing) -> None:
    """A new member; sometimes over links that lose much, so that a snapshot comes in pieces."""
    name, at_ms = drawing.newcomer(), drawing.at(0.1, 0.7)
    drawing.add(at_ms, "join", name, drawing.one())
    if drawing.flip():
        for founder in drawing.founders:
            drawing.add(at_ms + 20, "lose", founder, name, lasts_ms=5_000, amount=0.35)


def replacements(drawing: Drawing) -> None:
    """A lost disk, and a new node in the old one's place."""
    if len(drawing.founders) > 2:
        drawing.add(drawing.at(0.2, 0.7), "wipe", *drawing.two(), lasts_ms=drawing.ms(200, 3_000))


def forgets(drawing: Drawing) -> None:
    """A member, running or not, that is given up; sometimes two at once."""
    for _ in range(drawing.chance.choice((1, 1, 2))):
        if len(drawing.founders) > 2:
            drawing.add(drawing.at(0.2, 0.8), "forget", *drawing.two(), flag=drawing.flip())


def leaves(drawing: Drawing) -> None:
    """A member that goes by itself."""
    drawing.add(drawing.at(0.2, 0.8), "leave", drawing.one())


def restores(drawing: Drawing) -> None:
    """An old copy of a directory put back, seen by the file system or below it.

    In the second case nothing keeps its node from meeting the others then: what is read on a branch
    that loses names dots that mean something else on the other, and the checkers cannot tell the
    two apart. (``directed.forked`` plays it, with reads that can be judged.)
    """
    host = drawing.one()
    at_ms = drawing.at(0.1, 0.5)
    later_ms = at_ms + drawing.ms(800, drawing.lasts_ms // 2)
    below = drawing.flip()
    if below:
        _leave_out(drawing, SILENCES, later_ms, later_ms + MEETING_MS)
    drawing.add(at_ms, "copy", host)
    drawing.add(later_ms, "restore", host, lasts_ms=drawing.ms(50, 1_000), flag=below)


def clones(drawing: Drawing) -> None:
    """A copy of a directory that is started while its original runs.

    Of whom nothing is heard counts as gone, and by design a copy takes its place for good: nothing
    keeps the original from being heard.
    """
    host = drawing.one()
    at_ms = drawing.at(0.1, 0.5)
    later_ms, lasts_ms = at_ms + drawing.ms(300, 4_000), drawing.ms(2_000, 8_000)
    _leave_out(drawing, SILENCES, later_ms, later_ms + lasts_ms)
    drawing.add(at_ms, "copy", host)
    drawing.add(later_ms, "clone", host, lasts_ms=lasts_ms)


def _leave_out(drawing: Drawing, kinds: Container[str], from_ms: int, until_ms: int) -> None:
    drawing.steps = [
        step
        for step in drawing.steps
        if step.kind not in kinds or step.at_ms > until_ms or step.at_ms + step.lasts_ms < from_ms
    ]


FAULTS: list[Callable[[Drawing], None]] = [
    cuts, flapping, losses, programs_away, repeats, slow_links, slow_disks, kills, stops, pauses,
    clocks, full_disks, broken_disks, flipped_bits, checkpoints,
]  # fmt: skip
CHANGES: list[Callable[[Drawing], None]] = [
    joins, joins, replacements, forgets, leaves, restores, restores, clones,
]  # fmt: skip
CHANGES_WITHOUT_FILES = [each for each in CHANGES if each not in (restores, clones)]
WHOLE_LOG = {
    "log_retention_s": 3_600,
    "log_retention_bytes": 1 << 30,
    "log_bytes_max": 1 << 30,
    "snapshot_instead_of_log_ops": 100_000,
}


def kinds() -> Iterator[str]:
    """Every kind of step a plan can have."""
    drawing = Drawing(Random(0), 10_000, ["n1", "n2", "n3"])
    for each in (*FAULTS, *CHANGES):
        each(drawing)
    drawing.add(0, "cut")
    drawing.add(0, "cut one way")
    yield from sorted({step.kind for step in drawing.steps})
