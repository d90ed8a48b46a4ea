"""Whom a node asks for what, and what it makes of its peers' clocks: without a network."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import pytest

from kvnode.config import Config
from kvnode.core.errors import Reason, Refused
from kvnode.core.report import ORIGINS_MAX, Contradiction, Hello, Report
from kvnode.node.engine import Engine
from kvnode.node.peers import Peer
from kvnode.node.repair import ALL
from kvnode.node.replicator import Replicator
from kvnode.rpc.link import LinkError
from kvnode.storage.memory import MemoryLog, MemoryState

from .acquaintance import acquaint, hello_of, replicator_of

OWN, OTHER, THIRD = 0xA, 0xB, 0xC
CONFIG = Config(name="a", peers={"b": "127.0.0.1:1", "c": "127.0.0.1:2"})


def with_replicator(check: Callable[[Replicator], None]) -> None:
    """Run the check on the replicator of a node that was never started."""

    async def run() -> None:
        engine = Engine(CONFIG, OWN, MemoryLog(), MemoryState())
        check(replicator_of(engine, "a"))
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
        replicator.learn(acquaint(replicator, "b", OTHER), OTHER, Report({OWN: 7}, 0))
        assert "7 writes of this node's origin" in replicator.membership.lost
        assert replicator.membership.refusal()

    with_replicator(check)


@pytest.mark.parametrize(
    ("hello", "complaint"),
    [
        (hello_of("b", OTHER, cluster="other"), "of cluster 'other'"),
        (hello_of("b", OTHER, protocol=99), "protocol 99"),
        (hello_of("b", OTHER, founders="abcd"), "another cluster of the same name"),
        (hello_of("b", OWN), "this node's origin id"),
        (hello_of("c", OTHER), "answers node 'c', not 'b'"),
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
            own = hello.origin == OWN
            reason = Reason.ALREADY_RUNNING if own else Reason.WRONG_CLUSTER
            assert refused.value.reason is reason
        assert OTHER not in replicator.engine.names

    with_replicator(check)


@pytest.mark.parametrize(
    ("hello", "complaint"),
    [
        (hello_of("b", THIRD), f"as {OTHER:016x}, not as {THIRD:016x}: if it lost its data, run"),
        # a backup was put back, for instance: nobody is to be replaced for that
        (hello_of("b", OTHER, knows={"a": 99}), f"node 'a' as {99:016x}, not as {OWN:016x}: one"),
    ],
)
def test_who_is_not_the_one_that_is_known_is_refused(hello: Hello, complaint: str) -> None:
    def check(replicator: Replicator) -> None:
        acquaint(replicator, "b", OTHER)
        with pytest.raises(Refused, match=complaint) as refused:
            replicator.introduce(hello)
        assert refused.value.reason is Reason.NAME_TAKEN

    with_replicator(check)


def test_what_came_in_vain_is_asked_for_later_and_later_and_nothing_else_waits() -> None:
    """Blocks that never fit (a malformed one, a lost write) must not be fetched in a loop."""

    def check(replicator: Replicator) -> None:
        peer = replicator.peers["b"]
        peer.learn(Report({OTHER: 5, THIRD: 9}, 0), {})
        before = time.monotonic()
        for _ in range(3):
            peer.pulled({OTHER: 5, THIRD: 9}, {THIRD: 9}, 0.2)
        pulls, until = peer.stuck[OTHER]
        assert pulls == 3
        assert until - before >= 1.6
        have = replicator.repair.vector_to_ask_with(peer)
        assert have == {OTHER: ALL}
        assert peer.missing(have, now=True) == {THIRD: 9}
        assert replicator.repair.vector_to_ask_with(replicator.peers["c"]) == {}
        peer.pulled({OTHER: 5}, {OTHER: 5}, 0.2)
        assert not peer.stuck

    with_replicator(check)


def test_what_a_replaced_peer_had_is_not_asked_of_it() -> None:
    """Its new identity starts with nothing; else a write that is lost would be wanted for ever."""

    def check(replicator: Replicator) -> None:
        peer = replicator.introduce(hello_of("b", OTHER))
        peer.learn(Report({OTHER: 5}, 0), {})
        replicator.introduce(hello_of("b", OTHER))
        assert peer.vector == {OTHER: 5}
        replicator.introduce(hello_of("b", THIRD, knows={"a": OWN}))
        assert (peer.origin, peer.vector) == (THIRD, {})

    with_replicator(check)


def test_nothing_of_a_forked_origin_is_asked_for() -> None:
    def check(replicator: Replicator) -> None:
        replicator.engine.replica.durable.forks[OTHER] = "two histories"
        assert replicator.repair.vector_to_ask_with(replicator.peers["b"])[OTHER] == ALL

    with_replicator(check)


def test_a_node_learns_from_reports_that_it_has_a_double() -> None:
    """A copy that has written past its peers is not behind them; only they can see the fork."""

    def check(replicator: Replicator) -> None:
        forks = {
            OWN: Contradiction("block 7 does not fit", 6, b"another's chain."),
            OTHER: Contradiction("not ours", 6, b"another's chain."),
        }
        replicator.learn(acquaint(replicator, "b", OTHER), OTHER, Report({}, 0, forks=forks))
        assert "two histories" in replicator.membership.lost
        assert "block 7 does not fit" in replicator.membership.lost

    with_replicator(check)


def test_a_node_whose_blocks_only_build_on_another_history_is_innocent() -> None:
    """The peer has what this node wrote, as it wrote it, or nothing: who has two histories is
    somebody else. An innocent node that set its directory aside would lose what only it has.
    """

    def check(replicator: Replicator) -> None:
        durable = replicator.engine.replica.durable
        durable.vector[OWN], durable.chains[OWN] = 6, b"this one's chain"
        for fork in (
            Contradiction("block 7 does not fit", 6, b"this one's chain"),
            Contradiction("block 1 does not fit", 0, b""),
        ):
            report = Report({OWN: 6}, 0, forks={OWN: fork})
            replicator.learn(acquaint(replicator, "b", OTHER), OTHER, report)
            assert not replicator.membership.lost

    with_replicator(check)


def test_what_another_identity_reported_says_nothing_about_this_one() -> None:
    """A push that was made for the old identity meets the node that has just begun anew."""

    def check(replicator: Replicator) -> None:
        peer = acquaint(replicator, "b", OTHER)
        replicator.learn(peer, OTHER, Report({}, 0, yours={OTHER: 5}, your_origin=OTHER))
        assert not replicator.membership.lost
        replicator.learn(peer, OTHER, Report({}, 0, yours={OTHER: 5}, your_origin=OWN))
        assert "tells of more than it has now" in replicator.membership.lost

    with_replicator(check)


def test_nodes_that_are_no_members_are_turned_away_with_what_to_do() -> None:
    def check(replicator: Replicator) -> None:
        with pytest.raises(Refused, match="kvnode join d=") as refused:
            replicator.introduce(hello_of("d", OTHER))
        assert refused.value.reason is Reason.WRONG_CLUSTER
        assert set(replicator.peers) == {"b", "c"}

    with_replicator(check)


def test_the_end_of_an_old_stream_does_not_hide_the_process_that_has_a_newer_one() -> None:
    """Else a copy of its directory would be let in beside it until it dials again."""
    peer = Peer("b", "", origin=OTHER)
    peer.stream_opened(7, 1.0)
    peer.stream_opened(7, 2.0)
    peer.stream_closed(7)
    assert peer.streams == {7: 2.0}
    peer.stream_closed(7)
    assert peer.streams == {}
    peer.stream_closed(7)  # of an identity it had before
    assert peer.streams == {}


def test_a_peer_without_a_stream_pushes_nothing() -> None:
    """What it writes is asked for at once where it can be had, not when the last push is old."""
    peer = Peer("b", "", origin=OTHER)
    peer.stream_opened(7, 1.0)
    peer.stream_opened(8, 1.0)
    peer.pushed = 1.0
    peer.stream_closed(7)
    assert peer.pushed == 1.0
    peer.stream_closed(8)
    assert peer.pushed == float("-inf")


def invented(first: int) -> dict[int, int]:
    """Two thirds of the origins one may tell of."""
    return dict.fromkeys(range(first, first + ORIGINS_MAX * 2 // 3), 1)


def test_who_tells_of_more_origins_than_a_cluster_has_is_refused_in_time() -> None:
    """They would be kept, compared and passed on for ever."""

    def check(replicator: Replicator) -> None:
        peer = acquaint(replicator, "b", OTHER)
        first, second = Report(invented(100), 0), Report(invented(10**9), 0)
        replicator.learn(peer, OTHER, first)
        with pytest.raises(Refused, match="origins"):
            replicator.learn(peer, OTHER, second)
        replicator.learn(peer, OTHER, first)  # what it said before is no fault
        assert peer.vector == first.vector

    with_replicator(check)


def test_what_is_passed_on_of_too_many_origins_is_not_held_against_who_passes_it_on() -> None:
    def check(replicator: Replicator) -> None:
        peer = acquaint(replicator, "b", OTHER)
        acquaint(replicator, "c", THIRD)
        shown = replicator.membership.raw_hash
        for relayed in (invented(100), invented(10**9)):
            replicator.learn(
                peer, OTHER, Report({OTHER: 1}, 0, roster_hash=shown, relayed={THIRD: relayed})
            )
        assert replicator.engine.stability.last(THIRD) == invented(100)

    with_replicator(check)


def test_what_others_invent_of_a_member_is_not_held_against_it() -> None:
    def check(replicator: Replicator) -> None:
        liar, member = acquaint(replicator, "b", OTHER), acquaint(replicator, "c", THIRD)
        shown = replicator.membership.raw_hash
        most = dict.fromkeys(range(100, 100 + ORIGINS_MAX), 1)
        replicator.learn(liar, OTHER, Report({}, 0, roster_hash=shown, relayed={THIRD: most}))
        replicator.learn(member, THIRD, Report({THIRD: 7}, 0, roster_hash=shown))
        assert member.vector == {THIRD: 7}

    with_replicator(check)
