"""Callers: a closed loop (each waits for its answer) and an open one (they come when they come).

A closed loop slows down with the server, so its latencies are those of a server that is never
offered more than it takes. In the open loop each call has a time at which it is due, and its
latency counts from then: what waits because the server, or this process, was behind is seen.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

import grpc

from bench.report import percentile

SAMPLE_S: Final = 0.01
"""How often the open loop looks at how much is in progress."""

Call = Callable[[], Awaitable[int]]
"""Does something once; returns how many operations that was."""


@dataclass(frozen=True, slots=True)
class Run:
    """A closed loop's figures, without its warm-up."""

    operations_per_s: float
    latencies_ms: Sequence[float]
    """Of calls, not of operations."""
    operations_all: int
    """With those of the warm-up."""

    def percentile_ms(self, percent: float) -> float:
        """Of the calls."""
        return percentile(self.latencies_ms, percent)


async def closed_loop(calls: Sequence[Call], *, seconds: float, warmup_s: float = 0.0) -> Run:
    """One caller for each of ``calls``, which it makes again and again for ``seconds``.

    Each makes one that counts at least, however slow it or the machine is. An error of one ends
    them all.
    """
    begin = time.perf_counter() + warmup_s
    end = begin + seconds
    done = everything = 0
    latencies: list[float] = []

    async def caller(call: Call) -> None:
        nonlocal done, everything
        ended = 0.0
        while ended < end:
            started = time.perf_counter()
            count = await call()
            ended = time.perf_counter()
            everything += count
            if ended >= begin:
                done += count
                latencies.append((ended - started) * 1e3)

    callers = [asyncio.create_task(caller(call)) for call in calls]
    try:
        await asyncio.gather(*callers)
    finally:
        for task in callers:
            task.cancel()
        await asyncio.gather(*callers, return_exceptions=True)
    taken = time.perf_counter() - begin
    return Run(done / taken, latencies, everything)


@dataclass(slots=True)
class Offered:
    """What became of calls that came at their own pace."""

    calls: int = 0
    seconds: float = 0.0
    """Until the last call was made, answered or not."""
    drained_s: float = 0.0
    """From then until the last was answered."""
    operations: int = 0
    """Of calls that were taken."""
    latencies_ms: list[float] = field(default_factory=list)
    """Of calls that were taken, from when they were due."""
    refused: int = 0
    """Calls answered by an explicit refusal."""
    errors: Counter[str] = field(default_factory=Counter)
    """Calls that ended in any other way."""
    depths: list[float] = field(default_factory=list)
    """Calls in progress, sampled."""

    @property
    def taken_share(self) -> float:
        """Of all calls."""
        return len(self.latencies_ms) / self.calls


def name_of(error: Exception) -> str:
    """gRPC's code for its errors, else the type."""
    if isinstance(error, grpc.RpcError):
        return str(error.code().name)
    return type(error).__name__


async def open_loop(
    call: Callable[[int], Awaitable[int]],
    *,
    calls_per_s: float,
    seconds: float,
    refused: Callable[[Exception], bool],
    stop: asyncio.Event | None = None,
) -> Offered:
    """Call ``call`` with 0, 1, 2, ... when each is due, whatever became of those before.

    All calls that are due within ``seconds`` are made, also those that this process was too late
    for, unless ``stop`` is set before. It ends when the last one has an answer.
    """
    offered = Offered()
    tasks: set[asyncio.Task[None]] = set()
    started = time.perf_counter()

    async def one(number: int, due: float) -> None:
        try:
            count = await call(number)  # first: others add to the sum meanwhile
        except Exception as error:  # counted by its name
            if refused(error):
                offered.refused += 1
            else:
                offered.errors[name_of(error)] += 1
        else:
            offered.operations += count
            offered.latencies_ms.append((time.perf_counter() - due) * 1e3)

    sample_at = started
    total = max(1, round(calls_per_s * seconds))
    while offered.calls < total and not (stop and stop.is_set()):
        now = time.perf_counter()
        while (due := started + offered.calls / calls_per_s) <= now and offered.calls < total:
            task = asyncio.create_task(one(offered.calls, due))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
            offered.calls += 1
        if now >= sample_at:
            offered.depths.append(len(tasks))
            sample_at = now + SAMPLE_S
        await asyncio.sleep(max(0.0, min(due, sample_at) - time.perf_counter()))
    ended = time.perf_counter()
    offered.seconds = ended - started
    if tasks:
        await asyncio.gather(*tasks)
    offered.drained_s = time.perf_counter() - ended
    return offered
