"""What every question is given: how long to measure, where, and what to do with what it finds.

Rounds of one question take turns between the systems, because the machine's speed varies more
between minutes than most differences are: a ratio is one of medians over the same minutes.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from bench.figures import Figures
from bench.loads import Call, Run, closed_loop
from bench.servers import Servers, absence, etcds, kvnodes, redises
from bench.stores import Counting, Pair, Store

KEY_BYTES: Final = 16
VALUE_BYTES: Final = 100
VALUE: Final = bytes(range(VALUE_BYTES))
SEED: Final = 1
LOAD_BATCH: Final = 1_000
LOAD_IN_FLIGHT: Final = 4


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
    sizes=(500, 1_000),
    nodes=(1, 2),
    restarts=1,
)
"""For tests: that it runs, not how fast."""


@dataclass(slots=True)
class Room:
    """One run of some questions."""

    pace: Pace
    directory: Path
    figures: Figures = field(default_factory=Figures)
    _keys: list[bytes] = field(default_factory=list)
    _random: random.Random = field(default_factory=lambda: random.Random(SEED))
    _directories: int = 0

    @property
    def keys(self) -> list[bytes]:
        """Random ones, the same in every run; made when first needed."""
        if not self._keys:
            made = random.Random(SEED)
            self._keys = [made.randbytes(KEY_BYTES) for _ in range(self.pace.keys)]
        return self._keys

    def some_keys(self, count: int, among: int = 0) -> list[bytes]:
        """Different ones of the first ``among`` (0: of all): a slice, which costs nothing."""
        keys = self.keys
        start = self._random.randrange((among or len(keys)) - count + 1)
        return keys[start : start + count]

    def some_pairs(self, count: int, among: int = 0) -> list[Pair]:
        """The same with values."""
        return [(key, VALUE) for key in self.some_keys(count, among)]

    def new_directory(self) -> Path:
        """Empty, and removed with the room."""
        self._directories += 1
        path = self.directory / str(self._directories)
        path.mkdir(parents=True)
        return path

    @asynccontextmanager
    async def systems(
        self, count: int = 1, *names: str, config: str = ""
    ) -> AsyncIterator[list[Servers[Any]]]:
        """Running systems of so many servers each: kvnode, and the peers that are installed.

        ``names``: only these of the peers. Those that are not there are noted as absent.
        """
        kinds: dict[str, Callable[..., Any]] = {"redis": redises, "etcd": etcds}
        directory = self.new_directory()
        async with AsyncExitStack() as stack:
            found = [await stack.enter_async_context(kvnodes(directory, count, config))]
            for name in names or kinds:
                if reason := absence(name):
                    self.figures.absent[name] = reason
                else:
                    found.append(await stack.enter_async_context(kinds[name](directory, count)))
            yield found

    async def loop(self, calls: Sequence[Call]) -> Run:
        """A closed loop as long as the pace says."""
        return await closed_loop(calls, seconds=self.pace.seconds, warmup_s=self.pace.warmup_s)

    def add(self, name: str, subject: str, run: Run, what: str = "operations/s") -> None:
        """Rate and percentiles of a loop."""
        self.figures.add(name, subject, run.operations_per_s, what)
        self.figures.add(f"{name}/p50", subject, run.percentile_ms(50), "ms")
        self.figures.add(f"{name}/p99", subject, run.percentile_ms(99), "ms")

    def writing(self, store: Store, batch: int) -> Call:
        """Writes so many random keys in one call."""

        async def write() -> int:
            if batch == 1:
                (key,) = self.some_keys(1)
                await store.put(key, VALUE)
            else:
                await store.write(self.some_pairs(batch))
            return batch

        return write

    def reading(self, store: Store, batch: int) -> Call:
        """Reads so many of the loaded keys in one call."""

        async def read() -> int:
            if batch == 1:
                (key,) = self.some_keys(1, self.pace.loaded)
                await store.get(key)
            else:
                await store.get_many(self.some_keys(batch, self.pace.loaded))
            return batch

        return read

    async def load(self, store: Store) -> None:
        """Write the keys that reads are about."""
        await self.write_all(store, self.keys[: self.pace.loaded])

    async def write_all(self, store: Store, keys: Sequence[bytes]) -> None:
        """Each once, in batches of 1000, four in flight."""
        starts = iter(range(0, len(keys), LOAD_BATCH))

        async def writer() -> None:
            for start in starts:
                await store.write([(key, VALUE) for key in keys[start : start + LOAD_BATCH]])

        await asyncio.gather(*(writer() for _ in range(LOAD_IN_FLIGHT)))


def counting(store: Counting, keys: Sequence[bytes]) -> Call:
    """Increments each of the keys by one, in one call."""

    async def increment() -> int:
        if len(keys) == 1:
            await store.increment(keys[0])
        else:
            await store.increment_many(keys)
        return len(keys)

    return increment


Measure = Callable[[Room], Coroutine[Any, Any, None]]
