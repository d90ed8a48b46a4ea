"""The network between simulated hosts: what arrives, when, and what breaks.

A *way* is one direction between two hosts. What is sent over it arrives after a drawn time, in
order within one call. A way can be slow, can lose (which breaks the call, as TCP gives up on it),
can bring a push message a second time, and can be cut: *aloud*, then every call over it breaks at
once, or *silently*, then what is sent is kept; when the way is healed some calls go on as if it had
only been late, others break. A call that is silent for too long is given up by keepalive.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from contextvars import Context
from dataclasses import dataclass, field
from random import Random
from typing import Protocol

from tests.sim.loop import VirtualLoop

LATENCY_S = (0.0005, 0.01)
KEEPALIVE_S = 9.0
TICK_S = 1e-6
"""Between two messages that come together: timers of one moment have no order."""


class Carried(Protocol):
    """A call, as the network sees it."""

    broken: bool
    """A message of it was lost: nothing that was sent after that arrives."""

    def fail(self, why: str) -> None:
        """It is broken, at both ends."""
        ...

    @property
    def over(self) -> bool:
        """Whether nothing of it matters any more."""
        ...


@dataclass(slots=True)
class Way:
    """One direction."""

    source: str
    target: str
    latency_s: tuple[float, float] = LATENCY_S
    loss: float = 0.0
    repeat: float = 0.0
    corrupt: int = 0
    """So many of the next messages with blocks get a bit flipped."""
    cut: int = 0
    """How many cuts lie on it."""
    silent: bool = False
    kept: list[tuple[Carried, Callable[[], None]]] = field(default_factory=list)


class Network:
    """All ways."""

    def __init__(self, loop: VirtualLoop, chance: Random, counts: Counter[str]) -> None:
        self.loop = loop
        self.chance = chance
        self.counts = counts
        self.context = Context()
        """Of no process: what is on its way arrives although its sender has died."""
        self._ways: dict[tuple[str, str], Way] = {}
        self._last: dict[tuple[int, str], float] = {}

    def way(self, source: str, target: str) -> Way:
        """The direction between two hosts."""
        found = self._ways.get((source, target))
        if found is None:
            found = self._ways[source, target] = Way(source, target)
        return found

    def carry(
        self, source: str, target: str, call: Carried, after_s: float, act: Callable[[], None]
    ) -> float:
        """Let ``act`` happen at the target, not before ``after_s``; returns when it will."""
        way = self.way(source, target)
        if call.broken:
            return after_s
        if way.cut:
            self._stop(way, call, act)
            return after_s
        if way.loss and self.chance.random() < way.loss:
            self.counts["fault: message lost, connection broken"] += 1
            call.broken = True
            self.later(self.chance.uniform(*way.latency_s), lambda: call.fail("connection reset"))
            return after_s
        least, most = way.latency_s
        at_s = self.loop.time() + least + (most - least) * self.chance.random()
        at_s = max(after_s + TICK_S, at_s)
        self.loop.call_at(at_s, self._arrive, way, call, act, context=self.context)
        return at_s

    def cut(self, source: str, target: str, *, silent: bool) -> None:
        """Nothing passes this way from now on; cuts add up."""
        way = self.way(source, target)
        way.cut += 1
        way.silent = silent

    def heal(self, source: str, target: str) -> None:
        """Take one cut away."""
        way = self.way(source, target)
        if way.cut:
            way.cut -= 1
        if way.cut:
            return
        kept, way.kept = way.kept, []
        goes_on: dict[int, bool] = {}
        for place, (call, act) in enumerate(kept, 1):
            if call.over:
                continue
            if id(call) not in goes_on:
                goes_on[id(call)] = self.chance.random() < 0.6
                late = goes_on[id(call)]
                self.counts["fault: late after a silent cut" if late else "fault: given up"] += 1
            if goes_on[id(call)]:
                self.later(place * TICK_S, act)
            else:
                call.fail("connection timed out")

    def heal_all(self) -> None:
        """All ways are as they should be."""
        for way in self._ways.values():
            way.latency_s, way.loss, way.repeat, way.corrupt = LATENCY_S, 0.0, 0.0, 0
            if way.cut:
                way.cut = 1
                self.heal(way.source, way.target)

    def later(self, seconds: float, act: Callable[[], None]) -> None:
        """Let something happen that belongs to no process."""
        self.loop.call_at(self.loop.time() + seconds, act, context=self.context)

    def _arrive(self, way: Way, call: Carried, act: Callable[[], None]) -> None:
        if way.cut:
            self._stop(way, call, act)
        else:
            act()

    def _stop(self, way: Way, call: Carried, act: Callable[[], None]) -> None:
        if not way.silent:
            self.counts["fault: call broken by a cut"] += 1
            self.later(self.chance.uniform(*LATENCY_S), lambda: call.fail("no route to host"))
            return
        self.counts["fault: message kept by a silent cut"] += 1
        way.kept.append((call, act))
        self.later(KEEPALIVE_S, lambda: self._give_up(way, call))

    def _give_up(self, way: Way, call: Carried) -> None:
        if way.cut and any(kept is call for kept, _ in way.kept):
            way.kept = [(kept, act) for kept, act in way.kept if kept is not call]
            call.fail("keepalive: no answer")
