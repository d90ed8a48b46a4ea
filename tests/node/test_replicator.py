"""Whom a node asks for what, and what it makes of its peers' clocks: without a network."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import pytest

from kvnode.config import Config
from kvnode.core.errors import Reason, Refused
from kvnode.core.report import Hello, Report
from kvnode.node.engine import Engine
from kvnode.node.peers import Peer
from kvnode.node.replicator import ALL, Replicator
from kvnode.rpc.link import LinkError
from kvnode.storage.memory import MemoryLog, MemoryState

OWN, OTHER = 0xA, 0xB
CONFIG = Config(name="a", peers={"b": "127.0.0.1:1", "c": "127.0.0.1:2"})


def with_replicator(check: Callable[[Replicator], None]) -> None:
    """Run the check on the replicator of a node that was never started."""

    async def run() -> None:
        engine = Engine(CONFIG, OWN, MemoryLog(), MemoryState())
        check(Replicator(engine, Hello("default", "a", OWN)))
        await engine.close()

    asyncio.run(run())


def hear(replicator: Replicator, offsets_ms: dict[str, int], ago_s: float = 0.0) -> None:
    """Let peers have been heard with these clock offsets."""
    for name, offset_ms in offsets_ms.items():
        peer = replicator.peers[name]
        peer.clock_offset_ms, peer.heard = offset_ms, time.monotonic() - ago_s


@pytest.mark.parametrize(
    ("offsets_ms", "refuses"),
    [
        ({}, False),
        ({"b": 0, "c": 5}, False),
        ({"b": 600_000, "c": 600_001}, True),
        ({"b": -600_000, "c": -600_001}, True),
        ({"b": 0, "c": 600_000}, False),
        ({"b": 600_000}, False),
    ],
    ids=["alone", "agreed", "behind", "ahead", "one fast peer", "of two nobody is convicted"],
)
def test_registers_are_refused_only_while_the_own_clock_is_off(
    offsets_ms: dict[str, int], *, refuses: bool
) -> None:
    """A fast peer must not stop the others from writing (P1)."""

    def check(replicator: Replicator) -> None:
        hear(replicator, offsets_ms)
        assert bool(replicator.lww_refusal()) is refuses

    with_replicator(check)


def test_silent_peers_have_no_say_about_the_clock() -> None:
    """A node that is cut off must not go on refusing for what it heard long ago."""

    def check(replicator: Replicator) -> None:
        offsets_ms = {"b": 600_000, "c": 600_000}
        hear(replicator, offsets_ms)
        assert replicator.lww_refusal()
        hear(replicator, offsets_ms, ago_s=CONFIG.peer_timeout_ms / 1000 + 1)
        assert not replicator.lww_refusal()

    with_replicator(check)


def test_a_peer_that_has_more_of_ones_own_writes_stops_writing() -> None:
    """Trap 1: an old copy of the directory was put back; its next seq is taken already."""

    def check(replicator: Replicator) -> None:
        replicator.learn(replicator.peers["b"], Report({OWN: 7}, 0))
        assert "7 writes of this node's origin" in replicator.engine.replica.durable.fence

    with_replicator(check)


@pytest.mark.parametrize(
    ("hello", "complaint"),
    [
        (Hello("other", "b", OTHER), "of cluster 'other'"),
        (Hello("default", "b", OTHER, protocol=2), "protocol 2"),
        (Hello("default", "b", OWN), "this node's origin id"),
        (Hello("default", "c", OTHER), "answers node 'c', not 'b'"),
    ],
)
def test_a_peer_that_is_none_of_ours_is_refused(hello: Hello, complaint: str) -> None:
    def check(replicator: Replicator) -> None:
        with pytest.raises(LinkError, match=complaint) as caught:
            replicator.meet(replicator.peers["b"], hello)
        assert caught.value.refused
        if hello.name == "b":
            with pytest.raises(Refused) as refused:
                replicator.introduce(hello)
            assert refused.value.reason is Reason.WRONG_CLUSTER
        assert OTHER not in replicator.engine.names

    with_replicator(check)


def test_a_futile_pull_is_followed_by_longer_and_longer_pauses() -> None:
    """Blocks that never fit (a fork, a malformed one) must not be fetched in a loop."""
    peer = Peer("b", "127.0.0.1:1")
    pauses = [peer.pulled(progress=False, pause_s=0.2, pause_max_s=10.0) for _ in range(8)]
    assert pauses == [0.4, 0.8, 1.6, 3.2, 6.4, 10.0, 10.0, 10.0]
    assert peer.pulled(progress=True, pause_s=0.2, pause_max_s=10.0) == 0.0


def test_nothing_of_a_forked_origin_is_asked_for() -> None:
    def check(replicator: Replicator) -> None:
        replicator.engine.replica.durable.forks[OTHER] = "two histories"
        assert replicator.vector_to_ask_with()[OTHER] == ALL

    with_replicator(check)
