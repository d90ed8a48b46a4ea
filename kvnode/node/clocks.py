"""This node's wall clock against its peers'."""

from __future__ import annotations

from collections.abc import Iterable

from kvnode.config import Config
from kvnode.core.hlc import median_offset_ms
from kvnode.node.peers import Peer


def clock_offset_ms(peers: Iterable[Peer], config: Config, now_s: float) -> int:
    """Own wall clock against the median of all members heard lately.

    Peers that are silent have no say: a node that is cut off must not go on refusing writes for a
    clock that may have been set since. ``now_s`` is monotonic.
    """
    lately = now_s - config.peer_timeout_ms / 1000
    return median_offset_ms(
        [
            peer.clock_offset_ms
            for peer in peers
            if peer.clock_offset_ms is not None and peer.heard > lately
        ]
    )


def lww_refusal(offset_ms: int, config: Config) -> str:
    """Why registers cannot be written with a clock so far off; empty if they can."""
    limit_ms = config.clock_offset_ms_max
    if abs(offset_ms) <= limit_ms:
        return ""
    return (
        f"this node's clock is {offset_ms} ms off from its peers' (limit {limit_ms} ms): LWW "
        "writes would win or lose for no good reason. Set the clock, or use another node"
    )
