"""What every question is given: how long to measure, where, and what to do with what it finds.

Rounds of one question take turns between the systems, because the machine's speed varies more
between minutes than most differences are: a ratio is one of medians over the same minutes.
"""

from __future__ import annotations

import asyncio
import random
import shutil
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from bench.figures import Figures
from bench.loads import Call, Run, closed_loop
from bench.pace import Pace
from bench.servers import Servers, absence, etcds, kvnodes, redises
from bench.stores import Counting, Pair, Store

KEY_BYTES: Final = 16
VALUE_BYTES: Final = 100
VALUE: Final = bytes(range(VALUE_BYTES))
SEED: Final = 1
LOAD_BATCH: Final = 1_000
LOAD_IN_FLIGHT: Final = 4
LOAD_TOLD: Final = 250_000
"""Keys between two words about how far a load is."""
REASON_LENGTH_MAX: Final = 300


@dataclass(slots=True)
class Room:
    """One run of some questions."""

    pace: Pace
    directory: Path
    figures: Figures = field(default_factory=Figures)
    tell: Callable[[str], None] = lambda _: None
    """Is told how far the question is."""
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

    def clear(self) -> None:
        """Remove what lies in those directories: nobody runs in them any more."""
        for path in self.directory.iterdir():
            shutil.rmtree(path)

    def rounds(self) -> Iterator[int]:
        """Number of each repetition."""
        for number in range(self.pace.rounds):
            if self.pace.rounds > 1:
                self.tell(f"round {number + 1} of {self.pace.rounds}")
            yield number

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """What is measured in the block fails alone: its reason is told, and the rest goes on."""
        try:
            yield
        except Exception as error:  # whatever a server or its client raised
            self.figures.untaken[name] = reason_of(error)
            self.tell(f"not taken: {name}: {self.figures.untaken[name]}")

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
            self.tell("starting servers")
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

    async def take(
        self, name: str, servers: Servers[Any], calls: Sequence[Call], what: str = "operations/s"
    ) -> None:
        """A closed loop's rate and percentiles, and the CPU of all servers for an operation.

        It begins when what other loads have left to do is done: a checkpoint, a rewritten file.
        """
        subject = servers.store.name
        with self.part(f"{name} of {subject}"):
            await servers.wait_at_rest()
            before_s = servers.cpu_s()
            run = await self.loop(calls)
            spent_us = (servers.cpu_s() - before_s) / run.operations_all * 1e6
            self.add(name, subject, run, what)
            self.figures.add(f"{name}/cpu", subject, spent_us, "us/operation")

    def add(self, name: str, subject: str, run: Run, what: str = "operations/s") -> None:
        """Rate and percentiles of a loop."""
        self.figures.add(name, subject, run.operations_per_s, what)
        self.figures.add(f"{name}/p50", subject, run.percentile_ms(50), "ms")
        self.figures.add(f"{name}/p99", subject, run.percentile_ms(99), "ms")

    def add_points(self, picture: str, series: str, number: int, subject: str, run: Run) -> None:
        """One each of the curves of throughput and of two latencies (``bench/pictures.py``)."""
        name = f"curve/{picture}/{series}"
        rate = run.operations_per_s
        self.figures.add(f"{name} at {number:,}", subject, rate, "operations/s")
        for percent in (50, 99):
            value = run.percentile_ms(percent)
            self.figures.add(f"{name}, p{percent} at {number:,}", subject, value, "ms")

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
                if start and start % LOAD_TOLD == 0:
                    self.tell(f"{store.name}: {start:,} of {len(keys):,} keys loaded")
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


def reason_of(error: Exception) -> str:
    """On one line, and no longer than that needs to be."""
    reason = " ".join(f"{type(error).__name__}: {error}".split())
    return reason if len(reason) <= REASON_LENGTH_MAX else reason[:REASON_LENGTH_MAX] + " ..."


Measure = Callable[[Room], Coroutine[Any, Any, None]]
