"""Callers of clients whose node dies: what they are told, and whether it is so."""

from __future__ import annotations

import asyncio
import statistics
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from kvnode import (
    AsyncClient,
    BatchReceipt,
    Client,
    Increment,
    KeyState,
    NodeUnavailable,
    Operation,
    OutcomeUnknown,
    Put,
    ResourceExhausted,
)

DOCUMENTED: Final = (OutcomeUnknown, NodeUnavailable, ResourceExhausted)
"""What a write may raise while its node dies; after the last two nothing was done."""

BUSY: Final = 2
PACED: Final = 12
"""Callers of a client of each kind."""
PACE_S: Final = 0.15
"""A paced caller begins a batch so often, so a client does every 12 ms or so."""
PATIENCE_S: Final = 5.0
"""Of a call: the default."""


class Success(NamedTuple):
    """An acknowledged batch: monotonic seconds, and the address of the node that took it."""

    began: float
    ended: float
    endpoint: str


@dataclass(eq=False)
class Caller:
    """Writes one register and one increment a batch, and keeps what it was told."""

    name: str
    pace_s: float
    acknowledged: set[int] = field(default_factory=set)
    unknown: set[int] = field(default_factory=set)
    refused: set[int] = field(default_factory=set)
    raised: Counter[str] = field(default_factory=Counter)
    strange: list[str] = field(default_factory=list)
    """Exceptions that are not documented."""
    last: Success | None = None
    next: int = 0

    @property
    def counter(self) -> str:
        """Counts its batches."""
        return f"{self.name}/count"

    def key(self, number: int) -> str:
        """Of one batch."""
        return f"{self.name}/{number:07}"

    def batch(self) -> tuple[int, list[Operation]]:
        """The next one, and its number."""
        number, self.next = self.next, self.next + 1
        value = str(number)
        return number, [Put(self.key(number), value, lww=True), Increment(self.counter, 1)]

    def succeeded(self, number: int, began: float, receipt: BatchReceipt) -> Success:
        """It was acknowledged."""
        self.acknowledged.add(number)
        self.last = Success(began, time.monotonic(), receipt.endpoint)
        return self.last

    def failed(self, number: int, error: Exception) -> None:
        """It raised."""
        self.raised[type(error).__name__] += 1
        if isinstance(error, OutcomeUnknown):
            self.unknown.add(number)
        else:
            self.refused.add(number)
        if not isinstance(error, DOCUMENTED):
            self.strange.append(f"{self.name}: {error!r}")

    def judge(self, states: dict[bytes, KeyState], tally: Tally) -> None:
        """Compare what it was told with what there is."""
        register = f"{self.name}/0".encode()
        present = {int(key.rpartition(b"/")[2]) for key in states if key.startswith(register)}
        count = states.get(self.counter.encode())
        counted = (count.pn_counter or 0) if count is not None else 0
        tally.acknowledged += len(self.acknowledged)
        tally.happened += len(self.unknown & present)
        tally.vanished += len(self.unknown - present)
        tally.raised += self.raised
        tally.strange += self.strange
        tally.lost += [self.key(number) for number in sorted(self.acknowledged - present)]
        tally.unexpected += [self.key(number) for number in sorted(self.refused & present)]
        if counted != len(present):
            tally.miscounted.append(f"{self.counter}: {counted} for {len(present)}")


@dataclass
class Tally:
    """What came of all rounds; times in seconds."""

    rounds: int = 0
    acknowledged: int = 0
    happened: int = 0
    """Unknown batches that are there."""
    vanished: int = 0
    """Unknown batches that are not."""
    raised: Counter[str] = field(default_factory=Counter)
    strange: list[str] = field(default_factory=list)
    """Exceptions that are not documented."""
    lost: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    """Refused batches that are there."""
    miscounted: list[str] = field(default_factory=list)
    """Counters that are not the number of their batches: doubled or torn."""
    back_s: dict[str, list[float]] = field(default_factory=dict)
    """Client -> from each kill of its node to its next success."""
    held_s: list[float] = field(default_factory=list)
    """How long batches took that were on their way to a node when it was killed."""
    seconds: float = 0.0

    @property
    def problems(self) -> int:
        """0 if all is well."""
        return sum(map(len, (self.strange, self.lost, self.unexpected, self.miscounted)))

    def __str__(self) -> str:
        """For people."""
        raised = ", ".join(f"{name} {count:,}" for name, count in sorted(self.raised.items()))
        lines = [
            f"rounds         {self.rounds:,} in {self.seconds:,.0f} s",
            f"acknowledged   {self.acknowledged:,} batches",
            f"unknown        {self.happened:,} happened, {self.vanished:,} did not",
            f"exceptions     {raised or 'none'}",
            f"undocumented   {len(self.strange):,} {self.strange[:3] or ''}",
            f"lost           {len(self.lost):,} {self.lost[:3] or ''}",
            f"unexpected     {len(self.unexpected):,} {self.unexpected[:3] or ''}",
            f"miscounted     {len(self.miscounted):,} {self.miscounted[:3] or ''}",
            "time from the kill to the next success",
            *(f"  {name:<12} {spread(times)}" for name, times in self.back_s.items()),
            f"  {'all':<12} {spread([each for times in self.back_s.values() for each in times])}",
            "time of a batch that was on its way",
            f"  {'all':<12} {spread(self.held_s)}",
        ]
        return "\n".join(line.rstrip() for line in lines)


def spread(times_s: list[float]) -> str:
    """Median, 90 % and the worst."""
    if not times_s:
        return "none"
    ordered = sorted(times_s)
    tenth = ordered[min(len(ordered) - 1, len(ordered) * 9 // 10)]
    median = statistics.median(ordered)
    return (
        f"median {1000 * median:,.0f} ms, p90 {1000 * tenth:,.0f} ms,"
        f" worst {1000 * ordered[-1]:,.0f} ms, {len(ordered)} times"
    )


class Load:
    """The callers of one client. ``enter`` and ``leave`` begin and end their work."""

    def __init__(self, name: str, endpoints: list[str]) -> None:
        self.name = name
        self.callers = [
            Caller(f"{name}-{kind}{number}", pace_s)
            for kind, count, pace_s in (("busy", BUSY, 0.0), ("paced", PACED, PACE_S))
            for number in range(count)
        ]
        self._endpoints = endpoints
        self._lock = threading.Lock()
        self._recent: list[Success] = []

    @property
    def acknowledged(self) -> int:
        """Batches so far."""
        return sum(len(caller.acknowledged) for caller in self.callers)

    def talks_to(self) -> str:
        """Which node took the last batch; empty before the first."""
        lasts = [caller.last for caller in self.callers if caller.last is not None]
        return max(lasts, key=lambda last: last.ended).endpoint if lasts else ""

    def note(self, success: Success) -> None:
        """A batch was acknowledged."""
        with self._lock:
            self._recent.append(success)

    def forget(self) -> None:
        """What was noted so far is over."""
        with self._lock:
            self._recent.clear()

    def back_at(self, killed: float, dead: float, victim: str) -> float | None:
        """When the first batch was acknowledged that had begun after the kill, if one was.

        ``dead``: from when on it is sure that the victim's answers are those of its next life.
        """
        with self._lock:
            return min(
                (
                    each.ended
                    for each in self._recent
                    if each.began > (dead if each.endpoint == victim else killed)
                ),
                default=None,
            )

    def held(self, killed: float, dead: float) -> list[float]:
        """How long batches took that were on their way when the node was killed."""
        with self._lock:
            return [
                each.ended - each.began
                for each in self._recent
                if each.began < killed and dead < each.ended
            ]


class ThreadLoad(Load):
    """A ``Client`` and a thread for each caller."""

    def enter(self) -> None:
        """Begin."""
        self._stop = threading.Event()
        self._client = Client(self._endpoints, timeout_s=PATIENCE_S)
        self._threads = [threading.Thread(target=self._run, args=(each,)) for each in self.callers]
        for thread in self._threads:
            thread.start()

    def leave(self) -> None:
        """End, when every caller has been told."""
        self._stop.set()
        for thread in self._threads:
            thread.join()
        self._client.close()

    def _run(self, caller: Caller) -> None:
        while not self._stop.is_set():
            number, batch = caller.batch()
            began = time.monotonic()
            try:
                receipt = self._client.write(batch)
            except Exception as error:
                caller.failed(number, error)
            else:
                self.note(caller.succeeded(number, began, receipt))
            if caller.pace_s:
                self._stop.wait(caller.pace_s)


class LoopLoad(Load):
    """An ``AsyncClient`` and a task for each caller, on a loop in a thread of its own."""

    def enter(self) -> None:
        """Begin."""
        self._stop = asyncio.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._all(),))
        self._thread.start()

    def leave(self) -> None:
        """End, when every caller has been told."""
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()
        self._loop.close()

    async def _all(self) -> None:
        async with AsyncClient(self._endpoints, timeout_s=PATIENCE_S) as client:
            await asyncio.gather(*(self._run(client, caller) for caller in self.callers))

    async def _run(self, client: AsyncClient, caller: Caller) -> None:
        while not self._stop.is_set():
            number, batch = caller.batch()
            began = time.monotonic()
            try:
                receipt = await client.write(batch)
            except Exception as error:
                caller.failed(number, error)
            else:
                self.note(caller.succeeded(number, began, receipt))
            if caller.pace_s:
                try:
                    async with asyncio.timeout(caller.pace_s):
                        await self._stop.wait()
                except TimeoutError:
                    pass
