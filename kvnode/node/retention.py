"""What may leave the log, and when: the policy behind the log's floor.

The oldest blocks go, as long as each of them

(a) is covered by the checkpoint on disk: replay must find everything behind that;
(b) is not above a pin: a snapshot being sent stands for what is below, and the log for the rest;
(c) is not needed: every counted member has acknowledged it, and it is older than
    ``log_retention_s`` or the log is larger than ``log_retention_bytes`` (what is kept beyond
    need lets a member restored from an old copy catch up without a snapshot).

One rule overrules (c), never (a) and (b): a log larger than ``log_bytes_max`` goes down to that
whoever lacks it. A dead member would fill the disk of all others, and then nobody could write. It
is said aloud which members now need a snapshot, and the status says before when it will come to
that (``falls_off_ms``).

A block's age is its origin's wall clock against this node's. A clock ahead keeps blocks longer,
until the log is larger than ``log_retention_bytes``; one behind drops acknowledged ones sooner.

Appending and cutting is the business of one thread. Work comes in batches of RETAIN_BLOCKS, so
that a commit waits for one batch at most.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from kvnode.core.dots import Vector, covers
from kvnode.node.engine import Engine
from kvnode.storage.interfaces import DiskFullError, Head, Log, StorageError, WriteFailed

logger = logging.getLogger(__name__)
RETAIN_BLOCKS = 256
"""Looked at and removed per batch."""
RATE_MEMORY_S = 60.0
"""How far back the write rate looks: what was longer ago has less than a third of the weight."""


class Cut(NamedTuple):
    """How far the log may be cut."""

    arrival: int
    """Up to here; 0 if nothing may go."""
    overruled: bool
    """Whether somebody lacks one of these blocks."""


@dataclass(frozen=True, slots=True)
class Limits:
    """The rules' figures at one moment; see the module."""

    upto: int
    """(a) and (b): the last arrival that may go."""
    acknowledged: Vector | None
    """What every counted member has; None: somebody was never met, so nothing is known."""
    old_ms: int
    """Blocks written before are old."""
    keep_bytes: int
    bytes_max: int


def cuttable(heads: Sequence[Head], log_bytes: int, limits: Limits) -> Cut:
    """The longest prefix of the log's oldest blocks that the rules let go."""
    arrival, overruled = 0, False
    for head in heads:
        origin, seq = head.end
        needed = limits.acknowledged is None or limits.acknowledged.get(origin, 0) < seq
        spent = head.wall_ms < limits.old_ms or log_bytes > limits.keep_bytes
        too_large = log_bytes > limits.bytes_max
        if head.arrival > limits.upto or not (too_large or (spent and not needed)):
            break
        arrival = head.arrival
        overruled = overruled or needed
        log_bytes -= head.bytes
    return Cut(arrival, overruled)


class WriteRate:
    """Bytes appended per second, lately: an exponentially weighted mean."""

    def __init__(self, total: int, now_s: float) -> None:
        self.bytes_per_s = 0.0
        self._total, self._at_s = total, now_s
        self._weight = 0.0

    def measure(self, total: int, now_s: float) -> None:
        """``total`` bytes were appended by now."""
        seconds = now_s - self._at_s
        if seconds <= 0:
            return
        fresh = 1 - math.exp(-seconds / RATE_MEMORY_S)
        self._weight += (1 - self._weight) * fresh  # a young mean must not lean towards 0
        rate = (total - self._total) / seconds
        self.bytes_per_s += (rate - self.bytes_per_s) * fresh / self._weight
        self._total, self._at_s = total, now_s


class Retention:
    """Keeps the log of one engine within its limits."""

    def __init__(
        self,
        engine: Engine,
        *,
        acknowledged: Callable[[], Vector | None],
        stable: Callable[[], Vector],
        members: Callable[[], Mapping[str, Vector | None]],
    ) -> None:
        """Take the rules from the engine's configuration.

        Args:
            acknowledged: see ``Limits``.
            stable: below it no block can depend on anything any more.
            members: name -> last report, None if it was not heard since the start.
        """
        self.pins: dict[str, int] = {}
        """Who needs the blocks above which arrival. Not overruled: remove them in time."""
        self.rate = WriteRate(engine.counts.logged_bytes, engine.ambient.monotonic())
        self._engine = engine
        self._acknowledged = acknowledged
        self._stable = stable
        self._members = members
        self._told: set[str] = set()
        self._overruled = False
        """Whether the cap has cut what a member lacks, and nobody was told yet."""

    async def run(self) -> None:
        """Look after the log until cancelled."""
        while True:
            await asyncio.sleep(self._engine.config.retention_interval_ms / 1000)
            self.rate.measure(self._engine.counts.logged_bytes, self._engine.ambient.monotonic())
            try:
                await self.sweep()
                self._engine.checkpoints.tidy()
            except DiskFullError as error:
                logger.error("the log cannot be cut: %s: make room", error)
            except WriteFailed:
                raise
            except StorageError as error:
                logger.error("the log cannot be cut: %s", error)

    async def sweep(self) -> None:
        """Cut and prune what may go now, a batch at a time; nor is it kept for pushing."""
        engine, acknowledged = self._engine, self._acknowledged()
        if acknowledged is not None:
            engine.push_buffer.drop(acknowledged.get(engine.replica.origin, 0))
        while await self._engine.in_log(self._cutting(self._limits())):
            self._warn()
        self._warn()
        stable = self._stable()
        while await self._engine.in_log(lambda log: log.prune(stable)):
            pass

    def falls_off_ms(self, vector: Vector) -> int:
        """When who has this vector would need a snapshot, at the present write rate.

        That is when the cap cuts the oldest block it lacks. 0: never. What it lacks stands for
        everything from that block on, which is right for a member that is away.
        """
        size, rate = self._engine.log.behind(vector).bytes, self.rate.bytes_per_s
        if not size or rate < 1:
            return 0
        return max(1, round((self._engine.config.log_bytes_max - size) / rate * 1000))

    def needs_snapshot(self, vector: Vector) -> bool:
        """Whether the log no longer has all that this vector lacks."""
        return not covers(vector, self._engine.log.floor)

    def _limits(self) -> Limits:
        config = self._engine.config
        return Limits(
            upto=min([self._engine.checkpoints.covered, *self.pins.values()]),
            acknowledged=self._acknowledged(),
            old_ms=self._engine.ambient.wall_ms() - config.log_retention_s * 1000,
            keep_bytes=config.log_retention_bytes,
            bytes_max=config.log_bytes_max,
        )

    def _cutting(self, limits: Limits) -> Callable[[Log], bool]:
        """A batch's work in the log's thread; says whether there may be more."""

        def work(log: Log) -> bool:
            heads = log.heads(log.first_arrival - 1, RETAIN_BLOCKS)
            cut = cuttable(heads, log.usage().records_bytes, limits)
            if not cut.arrival:
                return False
            self._overruled = self._overruled or cut.overruled
            log.cut(cut.arrival)
            return cut.arrival == heads[-1].arrival and len(heads) == RETAIN_BLOCKS

        return work

    def _warn(self) -> None:
        """Name the members that the cap has left without the blocks they lack."""
        lost = {
            name
            for name, vector in self._members().items()
            if vector is None or self.needs_snapshot(vector)
        }
        if self._overruled and lost - self._told:
            logger.warning(
                "the log reached log_bytes_max (%d) and was cut although members lack blocks of "
                "it: these now need a snapshot: %s",
                self._engine.config.log_bytes_max,
                ", ".join(sorted(lost)),
            )
            self._told |= lost
        self._told &= lost
        self._overruled = False
