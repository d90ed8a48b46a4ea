"""Collection: the remains of deletes, and expired values, go when these are causally stable.

What is stable changes with reports, what can be collected also with checkpoints (only those write
garbage rows). So every anti-entropy interval the collector looks whether one of the two has
changed, and then goes through the rows that are covered, in batches, the event loop free in
between. No time decides what goes; the interval only says how soon.

What has expired becomes a row like a delete's with the checkpoint that moves the horizon behind its
deadline (``storage/deadlines.py``). How far it shall go is looked up first: to the last deadline
that all clocks have passed (``clocks.py``), and no further than one checkpoint should carry.

A collection is a change of this node alone: not logged, installed in the memtable between rounds,
and undone by a crash before the next checkpoint, which is harmless. So is a round that is on its
way to disk and has read an entry before: it puts back what was collected, together with what it
adds; as the entry is then in a checkpoint again, so are its rows.

The rows of a pass are deleted by the next checkpoint. No pass begins before that, so rows are not
read twice; and when a pass has changed as much as a checkpoint should carry, it waits for one.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence

from kvnode.core.dots import Dot, Vector
from kvnode.core.entry import Entry, collect_entry, deadlines
from kvnode.core.errors import StateError
from kvnode.node.engine import Engine
from kvnode.storage.interfaces import Expiring

logger = logging.getLogger(__name__)
BATCH_ROWS = 256
"""A few milliseconds on the event loop."""
SWEEP_BATCH_ROWS = 2048
"""The same: only keys are read."""
SWEEP_ROWS = 32 * 1024
"""That one checkpoint takes from the deadlines, about: it reads an entry for each, some 40 us."""
START: Dot = (0, 0)


class Collector:
    """The collection of one engine."""

    def __init__(
        self,
        engine: Engine,
        counted: Callable[[], frozenset[int] | None],
        passed: Callable[[], int],
    ) -> None:
        """Begin.

        Args:
            counted: whose reports stability waits for, None if not known.
            passed: the time (Unix ms) that all clocks have passed, 0 if not known.
        """
        self.counted = counted
        self.passed = passed
        self.stable: Vector = {}
        """All that was found stable since start: what was stable stays so."""
        self.entries_collected = 0
        """Since start."""
        self._engine = engine
        self._looked: tuple[Vector, int] = ({}, 0)
        """What the last pass to its end was made with: stable dots, checkpoints."""
        self._passing: tuple[Vector, int] | None = None
        self._after: Dot = START
        """The last row of the pass that is under way."""
        self._expired_behind = self._expired = 0
        """Horizon, and how many rows behind it the next checkpoint is to sweep."""
        self._expired_till = Expiring(0)

    async def run(self) -> None:
        """Look again and again, until cancelled."""
        while True:
            await asyncio.sleep(self._engine.config.anti_entropy_interval_ms / 1000)
            await self.look()

    async def look(self) -> None:
        """Collect what can be, and see to it that a checkpoint comes of it."""
        engine = self._engine
        if engine.pausing is not None:
            return  # the state is being rewritten
        await self._look_for_expired()
        for origin, seq in engine.stability.stable(engine.vector, self.counted()).items():
            self.stable[origin] = max(seq, self.stable.get(origin, 0))
        now = (dict(self.stable), engine.checkpoints.made)
        waiting = engine.collected or engine.checkpoints.running
        if self._passing is None and now != self._looked and not waiting:
            self._passing = now
            self._after = START
        if self._passing is not None:
            await self._pass(*self._passing)
        engine.checkpoints.start_if_due()

    def collect(self, rows: Sequence[tuple[Dot, bytes]], stable: Vector) -> None:
        """Let go what ``stable`` covers in the entries of garbage rows."""
        engine = self._engine
        horizon = engine.replica.durable.horizon
        changed: dict[bytes, Entry] = {}
        for dot, key in rows:
            try:
                entry = engine.memtable.read(key)
            except StateError as damage:  # its row stays
                logger.warning("not collected: %s", damage)
                continue
            if any(of == dot and deadline > horizon for deadline, of in deadlines(entry)):
                continue  # swept by a checkpoint whose horizon is not taken up yet: its row stays
            left = collect_entry(entry, stable, horizon)
            if left is not entry:
                changed[key] = left
            engine.collected.append(dot)
        engine.memtable.install(changed, sum(map(len, changed)))
        self.entries_collected += len(changed)

    async def _look_for_expired(self) -> None:
        engine = self._engine
        horizon, passed = engine.replica.durable.horizon, self.passed()
        if horizon != self._expired_behind:
            self._expired_behind = horizon
            self._expired, self._expired_till = 0, Expiring(horizon)
        while self._expired < SWEEP_ROWS:
            _, rows = engine.checkpoints.state.expiring(
                passed, SWEEP_BATCH_ROWS, self._expired_till
            )
            if rows:
                self._expired += len(rows)
                self._expired_till = rows[-1][0]
                engine.checkpoints.sweep_to(self._expired_till.deadline)
            if len(rows) < SWEEP_BATCH_ROWS:
                return
            await asyncio.sleep(0)
        if not engine.checkpoints.running:
            engine.checkpoints.start()

    async def _pass(self, stable: Vector, made: int) -> None:
        engine = self._engine
        state = engine.checkpoints.state
        while (
            engine.memtable.active_keys < engine.config.checkpoint_keys and engine.pausing is None
        ):
            rows = state.garbage(stable, BATCH_ROWS, self._after)
            self.collect(rows, stable)
            if len(rows) < BATCH_ROWS:
                self._looked = (stable, made)
                self._passing = None
                return
            self._after = rows[-1][0]
            await asyncio.sleep(0)
