"""The machine a simulated node runs on: its clocks, its chance, its threads and its disk's moods.

A worker's job is one event at a drawn moment, and its answer another one behind it. A crash may
fall before the first (the job never happened: what was not synced is lost), or between the two
(it is on disk and nobody was told).
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from random import Random
from typing import TypeVar

from kvnode.node.ambient import Ambient
from kvnode.node.worker import Done, Job, Worker
from kvnode.storage.interfaces import DiskFullError, StorageError
from kvnode.storage.soundness import Found, Looker

T = TypeVar("T")

EPOCH_MS = 1_700_000_000_000
BOOTED_S = 100_000.0
"""What the monotonic clock says at the start: some rules mean "never" by 0."""


class Machine:
    """What stays when a process on it dies. Times are virtual seconds."""

    def __init__(self, now_s: Callable[[], float]) -> None:
        self.now_s = now_s
        self.offset_ms = 0.0
        self.drift = 0.0
        """Milliseconds per millisecond that the wall clock gains."""
        self.job_s = (0.0005, 0.004)
        """Least and most a job of a worker takes; a slow disk has larger ones."""
        self.full = False
        self.broken = False
        """The next append fails with an input/output error."""
        self.refused = 0
        """Jobs that found the disk full."""

    def wall_ms(self) -> float:
        """Its wall clock."""
        return EPOCH_MS + self.now_s() * 1000 * (1 + self.drift) + self.offset_ms

    def set_drift(self, drift: float) -> None:
        """Change the pace without a step."""
        before = self.wall_ms()
        self.drift = drift
        self.offset_ms += before - self.wall_ms()


class PlayedAmbient(Ambient):
    """One process's view of its machine."""

    def __init__(self, machine: Machine, chance: Random) -> None:
        self.machine = machine
        self.chance: Random = chance

    def wall_ms(self) -> int:
        """See ``Ambient``."""
        return int(self.machine.wall_ms())

    def monotonic(self) -> float:
        """See ``Ambient``."""
        return BOOTED_S + self.machine.now_s()

    def worker(self, name: str) -> Worker:
        """See ``Ambient``."""
        return PlayedWorker(name, self.machine, self.chance)

    def looker(self) -> Looker:
        """See ``Ambient``."""
        return Blind()

    async def in_thread(self, job: Callable[[], T]) -> T:
        """See ``Ambient``."""
        await asyncio.sleep(self.chance.uniform(*self.machine.job_s))
        return job()


class Blind(Looker):
    """Finds nothing: what the simulation does harms no file, and a process would cost the most."""

    def look(self, folders: Sequence[Path], *, beside: bool = False) -> Found:  # noqa: ARG002
        """See ``Looker``."""
        return Found()


class PlayedWorker(Worker):
    """See the module."""

    def __init__(self, name: str, machine: Machine, chance: Random) -> None:
        self._name = name
        self._machine = machine
        self._chance = chance
        self._jobs: deque[tuple[Job, Done, bool]] = deque()
        """Third: whether it needs room on the disk."""
        self._busy = False
        self._closed = False
        self._writes = name in ("kvnode-log", "kvnode-checkpoint")

    def run(self, job: Job, done: Done, *, alone: bool = False) -> None:  # noqa: ARG002
        """See ``Worker``; a job is never quick here, so that a crash may fall into each."""
        assert not self._closed, f"a job for {self._name}, which has ended"
        self._jobs.append((job, done, self._writes))
        if not self._busy:
            self._begin()

    async def result(self, job: Callable[[], T]) -> T:
        """See ``Worker``."""
        staging = isinstance(job, partial) and getattr(job.func, "__name__", "") in ("add", "begin")
        if not staging:
            return await super().result(job)
        if self._machine.full:
            self._machine.refused += 1
            raise DiskFullError(f"no room for {self._name}")
        return await super().result(job)

    def close(self) -> None:
        """See ``Worker``: its caller waits, so what is left happens now."""
        self._closed = True
        loop = asyncio.get_running_loop()
        while self._jobs:
            job, done, writes = self._jobs.popleft()
            loop.call_soon(done, self._perform(job, writes=writes))

    def _begin(self) -> None:
        self._busy = True
        loop = asyncio.get_running_loop()
        loop.call_later(self._chance.uniform(*self._machine.job_s), self._work)

    def _work(self) -> None:
        if not self._jobs:
            self._busy = False  # closed meanwhile
            return
        job, done, writes = self._jobs.popleft()
        error = self._perform(job, writes=writes)
        loop = asyncio.get_running_loop()
        loop.call_later(self._chance.uniform(0, self._machine.job_s[0]), done, error)
        if self._jobs:
            self._begin()
        else:
            self._busy = False

    def _perform(self, job: Job, *, writes: bool) -> BaseException | None:
        machine = self._machine
        if machine.full and writes:
            machine.refused += 1
            return DiskFullError(f"no room for {self._name}")
        try:
            job()
        except BaseException as caught:  # handed to `done`, which decides
            return caught
        if machine.broken and self._name == "kvnode-log":
            machine.broken = False
            return StorageError("input/output error")
        return None
