"""This node's wall clock, against its peers' and for what expires.

``now_ms`` is what readers and writes take for now: the wall clock, but never before the horizon
(``storage/deadlines.py``), so that a clock that is set back shows nothing again that may be
collected somewhere, and no value is born expired. The hybrid logical clock has no say: one write
of a node that is years ahead would take it along, and everything would expire.

``TimePassed`` is how far the horizon may go: to what all clocks have passed that were heard lately,
so that nobody's state lacks (in a snapshot, say) what another's clock still shows. A clock that was
set is not believed until the peers have had the time to contradict: one that jumps a year ahead for
a moment must not take the horizon along, for that cannot be set back. For the same reason a node
that hears none of its peers believes no clock: one that starts cut off, with a clock a year ahead,
would hide all that expires for a year, and tell it on in a snapshot. What it puts off is nothing
that could be collected: that takes reports of all members.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from kvnode.config import Config
from kvnode.core.hlc import median_offset_ms
from kvnode.core.replica import Durable
from kvnode.node.peers import Peer


def now_ms(durable: Durable, wall_ms: int) -> int:
    """What has a deadline till then has expired."""
    return max(wall_ms, durable.horizon)


class TimePassed:
    """The latest time that all clocks have passed, as far as this node can tell."""

    def __init__(self, peers: Callable[[], Iterable[Peer]], config: Config) -> None:
        self._peers = peers
        self._config = config
        self._looked: tuple[int, float] | None = None
        """Wall clock, ms, and monotonic clock, s, at the last look."""
        self._doubt_until = 0.0

    def look(self, wall: int, monotonic: float) -> int:
        """That time (Unix ms), 0 if it cannot be told now."""
        config = self._config
        if self._looked is not None:
            went_ms = wall - self._looked[0] - (monotonic - self._looked[1]) * 1000
            if abs(went_ms) > config.clock_offset_ms_max:
                self._doubt_until = monotonic + config.peer_timeout_ms / 1000
        self._looked = (wall, monotonic)
        if monotonic < self._doubt_until:
            return 0
        peers = list(self._peers())
        offsets = _offsets_lately(peers, config, monotonic)
        if peers and not offsets:
            return 0
        return wall + min([0, *offsets])


def clock_offset_ms(peers: Iterable[Peer], config: Config, now_s: float) -> int:
    """Own wall clock against the median of all members heard lately.

    Peers that are silent have no say: a node that is cut off must not go on refusing writes for a
    clock that may have been set since. ``now_s`` is monotonic.
    """
    return median_offset_ms(_offsets_lately(peers, config, now_s))


def _offsets_lately(peers: Iterable[Peer], config: Config, monotonic: float) -> list[int]:
    lately = monotonic - config.peer_timeout_ms / 1000
    return [
        peer.clock_offset_ms
        for peer in peers
        if peer.clock_offset_ms is not None and peer.heard > lately
    ]


def lww_refusal(offset_ms: int, config: Config) -> str:
    """Why neither registers nor deadlines can be written with a clock so far off, or empty."""
    limit_ms = config.clock_offset_ms_max
    if abs(offset_ms) <= limit_ms:
        return ""
    return (
        f"this node's clock is {offset_ms} ms off from its peers' (limit {limit_ms} ms): LWW "
        "writes would win or lose, and values expire, for no good reason. Set the clock, or use "
        "another node"
    )
