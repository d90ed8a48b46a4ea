"""What this node knows of each peer: soft state, gone with a restart."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Literal

from kvnode.core.dots import Vector
from kvnode.core.report import Report


@dataclass(slots=True)
class Peer:
    """One other node."""

    name: str
    address: str
    """As this node dials it; empty if it only dials us."""
    origin: int = 0
    state: Literal["connected", "unreachable", "refused"] = "unreachable"
    """Of the link from here to there."""
    problem: str = "not connected yet"
    vector: Vector = field(default_factory=dict)
    """Its last report."""
    heard: float = 0.0
    """When it last said anything, monotonic seconds."""
    pushed: float = float("-inf")
    """When its push stream to this node last delivered all it had, monotonic seconds."""
    clock_offset_ms: int | None = None
    wanted: Vector = field(default_factory=dict)
    """Its vector as of the anti-entropy round before."""
    futile_pulls: int = 0
    """Pulls in a row that brought nothing new."""
    pull_not_before: float = 0.0
    """Monotonic seconds; after futile pulls there is a pause."""

    def learn(self, report: Report) -> None:
        """Take a report. Vectors only grow; reports of two streams may cross."""
        self.heard = time.monotonic()
        for origin, seq in report.vector.items():
            if seq > self.vector.get(origin, 0):
                self.vector[origin] = seq

    def pulled(self, *, progress: bool, pause_s: float, pause_max_s: float) -> float:
        """A pull ended; returns for how many seconds there is no other: twice as long every time
        that it brought nothing new.
        """
        self.futile_pulls = 0 if progress else self.futile_pulls + 1
        pause = min(pause_s * 2.0 ** min(self.futile_pulls, 16), pause_max_s)
        pause = pause if self.futile_pulls else 0.0
        self.pull_not_before = time.monotonic() + pause
        return pause

    def measure_clock(self, report: Report, sent_ms: float, now_ms: float) -> None:
        """Compare clocks by a question and its answer; wrong by half the time between at most."""
        self.clock_offset_ms = round(report.wall_ms - (sent_ms + now_ms) / 2)
