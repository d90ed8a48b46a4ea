"""What this node knows of each peer: soft state, gone with a restart."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Literal

from kvnode.core.dots import Vector
from kvnode.core.report import Report
from kvnode.node.ambient import MACHINE, Ambient

PULL_PAUSE_MAX_S = 10.0
"""Between attempts to get what came in vain before."""


@dataclass(slots=True)
class Peer:
    """One other node."""

    name: str
    address: str
    """As this node dials it; empty if it only dials us."""
    ambient: Ambient = MACHINE
    origin: int = 0
    state: Literal["connected", "unreachable", "refused"] = "unreachable"
    """Of the link from here to there."""
    problem: str = "not connected yet"
    vector: Vector = field(default_factory=dict)
    """Its last report."""
    heard: float = 0.0
    """When it last said anything, monotonic seconds."""
    current: float = 0.0
    """When it last said something after which all it had taken was here, monotonic seconds."""
    pushed: float = float("-inf")
    """When its push stream to this node last delivered all it had, monotonic seconds."""
    clock_offset_ms: int | None = None
    floor: Vector = field(default_factory=dict)
    """Where its log began when it last had to say so."""
    wanted: Vector = field(default_factory=dict)
    """Its vector as of the anti-entropy round before."""
    stuck: dict[int, tuple[int, float]] = field(default_factory=dict)
    """origin -> pulls in a row that brought nothing of it, no sooner than when it is asked for
    again (monotonic seconds): blocks that do not fit must not be fetched in a loop."""

    streams: dict[int, float] = field(default_factory=dict)
    """incarnation -> last message of its push stream that is served, monotonic seconds."""
    roster_hash: bytes = b""
    """Of its last roster that is merged into the one on this node's disk."""
    shown_hash: bytes = b""
    """Of the roster it last showed: while that is this node's own, none has to be sent."""
    relay_due: float = 0.0
    """When it is next told of others' reports, monotonic seconds."""
    _open: Counter[int] = field(default_factory=Counter)
    """incarnation -> its push streams that are served."""

    def stream_opened(self, incarnation: int, now_s: float) -> None:
        """A push stream of that process is served from now on."""
        self._open[incarnation] += 1
        self.streams[incarnation] = now_s

    def stream_closed(self, incarnation: int) -> None:
        """One has ended; a process that dialled anew may have opened its next one before."""
        self._open[incarnation] -= 1
        if self._open[incarnation] <= 0:
            del self._open[incarnation]
            self.streams.pop(incarnation, None)
        if not self._open:
            self.pushed = float("-inf")  # what it writes now has to be had from others

    def start_over(self, origin: int) -> None:
        """It has a new identity, so what its old data directory held says nothing any more."""
        self.origin = origin
        self.vector = {}
        self.wanted = {}
        self.floor = {}
        self.pushed = float("-inf")
        self.stuck = {}
        self.streams = {}
        self._open.clear()
        self.heard = self.current = 0.0
        self.roster_hash = self.shown_hash = b""

    def missing(self, have: Vector, *, now: bool) -> Vector:
        """What it reported (by the round before, unless ``now``) and ``have`` does not cover."""
        reported = self.vector if now else self.wanted
        return {origin: seq for origin, seq in reported.items() if seq > have.get(origin, 0)}

    def is_below_floor(self, have: Vector) -> bool:
        """Whether its log no longer holds all that ``have`` lacks. A floor never falls."""
        return any(have.get(origin, 0) < seq for origin, seq in self.floor.items())

    def learn(self, report: Report, own: Vector) -> None:
        """Take a report. Vectors only grow; reports of two streams may cross."""
        self.heard = self.ambient.monotonic()
        for origin, seq in report.vector.items():
            if seq > self.vector.get(origin, 0):
                self.vector[origin] = seq
        if own.get(self.origin, 0) >= self.vector.get(self.origin, 0):
            self.current = self.heard

    def paused(self) -> list[int]:
        """Origins not to ask this peer for now."""
        now = self.ambient.monotonic()
        return [origin for origin, (_, until) in self.stuck.items() if until > now]

    def pause(self, origin: int, pause_s: float) -> None:
        """It sent something of this origin that cannot be taken: ask for that later."""
        if self.stuck.get(origin, (0, 0.0))[1] <= self.ambient.monotonic():
            self._pause_longer(origin, pause_s)

    def pulled(self, missing: Vector, vector: Vector, pause_s: float) -> None:
        """A complete pull for ``missing`` ended and ``vector`` is what there is now."""
        for origin, seq in missing.items():
            if vector.get(origin, 0) >= seq:
                self.stuck.pop(origin, None)
            else:
                self._pause_longer(origin, pause_s)

    def _pause_longer(self, origin: int, pause_s: float) -> None:
        pulls = self.stuck.get(origin, (0, 0.0))[0] + 1
        pause = min(pause_s * 2.0 ** min(pulls, 16), PULL_PAUSE_MAX_S)
        self.stuck[origin] = (pulls, self.ambient.monotonic() + pause)

    def measure_clock(
        self, report: Report, sent_ms: float, now_ms: float, *, at_once: bool = True
    ) -> None:
        """Compare clocks by a question and its answer; wrong by half the time between at most.

        ``at_once`` False: the answer waited for the peer's disk. Of the offsets that are possible
        the least counts then, so that no slow disk makes a clock look wrong. Such answers have to
        count: a node that writes all the time gets no others.
        """
        least, most = report.wall_ms - now_ms, report.wall_ms - sent_ms
        offset_ms = (least + most) / 2 if at_once else min(max(least, 0.0), most)
        self.clock_offset_ms = round(offset_ms)
