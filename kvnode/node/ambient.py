"""Time, chance, threads and processes: what a node takes from a machine besides disk and network.

A node asks one object for them, ``Engine.ambient``, and nothing else under ``kvnode/node`` imports
a clock, a source of randomness, a thread or a process (a test sees to it). So a test can run the
very classes that ``kvnode serve`` runs under a clock, a generator and a scheduler of its own, and
get the same run from the same seed. Sleeps and timeouts are not here: those are the event loop's,
which the test brings too. The core takes time as arguments and knows nothing of this.
"""

from __future__ import annotations

import asyncio
import random
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Protocol, TypeVar

from kvnode.node.worker import ThreadWorker, Worker
from kvnode.storage.soundness import Looker

T = TypeVar("T")


class Chance(Protocol):
    """What is drawn at random; as ``random.Random`` has it."""

    def getrandbits(self, bits: int, /) -> int:
        """A number of so many bits."""
        ...

    def randbytes(self, size: int, /) -> bytes:
        """So many bytes."""
        ...

    def uniform(self, least: float, most: float, /) -> float:
        """A number between the two."""
        ...


class Ambient(ABC):
    """What surrounds one node. All methods are called on its event loop."""

    chance: Chance

    @abstractmethod
    def wall_ms(self) -> int:
        """Unix time by this machine's clock, which may be wrong and may be set back."""

    @abstractmethod
    def monotonic(self) -> float:
        """Seconds since some moment; always above 0 and never going back."""

    @abstractmethod
    def worker(self, name: str) -> Worker:
        """A thread of its own for one job after the other."""

    @abstractmethod
    async def in_thread(self, job: Callable[[], T]) -> T:
        """What a job returns or raises that takes long and belongs to no worker."""

    def looker(self) -> Looker:
        """What looks at stored data, in a process of its own."""
        return Looker()

    def draw_id(self) -> int:
        """A random number above 0, of 63 bits."""
        return self.chance.getrandbits(63) + 1


class Machine(Ambient):
    """The real one."""

    def __init__(self) -> None:
        self.chance = random.SystemRandom()

    def wall_ms(self) -> int:
        """See ``Ambient``."""
        return time.time_ns() // 1_000_000

    def monotonic(self) -> float:
        """See ``Ambient``."""
        return time.monotonic()

    def worker(self, name: str) -> Worker:
        """See ``Ambient``."""
        return ThreadWorker(name)

    async def in_thread(self, job: Callable[[], T]) -> T:
        """See ``Ambient``."""
        return await asyncio.to_thread(job)


MACHINE = Machine()
