"""Nodes that catch up by a snapshot, because no log holds what they lack."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kvnode.core.dots import Dot, Vector
from kvnode.core.errors import Reason, Refused
from kvnode.core.operations import Delete, Increment, Put
from kvnode.core.report import Hello
from kvnode.core.snapshot import START
from kvnode.core.types import LWW_REGISTER
from kvnode.node.node import Node
from kvnode.node.peers import Peer
from kvnode.rpc.snapshot_codec import Fetched
from kvnode.storage.interfaces import DiskFullError
from tests.storage.faulty import until
from tests.storage.rig import reason

from .acquaintance import with_member
from .nodes import Nodes, run


def hello(node: Node, name: str, origin: int) -> Hello:
    """Of a member the node may not have met yet."""
    roster = with_member(node.membership.raw, name, origin)
    return Hello("default", name, origin, 1, roster)


async def part(nodes: Nodes) -> None:
    """All three know each other; then c is cut off, the others go on and cut their logs."""
    await nodes.start("a", "b", "c")
    await nodes.write("a", Increment(b"count", 1), Put(b"gone", b"x"), Put(b"both", b"0"))
    await nodes.write("b", Put(b"register", b"old", LWW_REGISTER), Put(b"dropped", b"x"))
    await nodes.write("c", Increment(b"count", 10), Put(b"kept", b"c"))
    await nodes.settle("a", "b", "c")
    await nodes.stop("a", "b")
    await nodes.write("c", Increment(b"count", 100), Put(b"both", b"c"), Delete(b"dropped"))
    await nodes.write("c", Put(b"register", b"alone", LWW_REGISTER))
    await nodes.stop("c")
    await nodes.start("a", "b")
    for number in range(50):
        await nodes.write("a", Increment(b"count", 1_000), Put(b"a%d" % number, b"a"))
    await nodes.write("b", Delete(b"gone"), Put(b"both", b"b"), Put(b"dropped", b"again"))
    await nodes.write("b", Put(b"register", b"new", LWW_REGISTER))
    await nodes.settle("a", "b")
    await nodes.forget_log("a", "b")
    await nodes.stop("a", "b")  # their push buffers hold what the log does not
    await nodes.start("a", "b")


def test_a_node_below_every_floor_catches_up_and_keeps_its_own_writes(tmp_path: Path) -> None:
    """Trap 12: the log it needs was cut. Counters are exact, what was deleted on either side stays
    deleted, what was written on either side stays, and its own writes reach the others.
    """
    nodes = Nodes(tmp_path)

    async def test() -> None:
        await part(nodes)
        await nodes.start("c")
        await nodes.write("c", Increment(b"count", 100_000))
        await nodes.settle("a", "b", "c")
        assert nodes["c"].engine.log.floor, "no snapshot was needed"
        assert nodes.counter("a", b"count") == 150_111
        assert nodes.siblings("c", b"both") == [b"b", b"c"]
        assert nodes.siblings("a", b"dropped") == [b"again"]
        assert not nodes.siblings("c", b"gone")
        assert nodes.siblings("b", b"kept") == [b"c"]
        assert nodes.siblings("c", b"a49") == [b"a"]
        await nodes.write("c", Increment(b"count", 1_000_000), Put(b"later", b"c"))
        await nodes.write("a", Increment(b"count", 1_000_000))
        await nodes.settle("a", "b", "c")
        assert nodes.counter("b", b"count") == 2_150_111
        await nodes.stop("c")
        await nodes.start("c")
        assert nodes.counter("c", b"count") == 2_150_111
        await nodes.settle("a", "b", "c")

    run(nodes, test)


def test_trap_13_nothing_of_a_merge_is_seen_before_all_of_it_is_durable(tmp_path: Path) -> None:
    """While a merge is being written, reads, vector and reports are those of before it, writes and
    blocks are refused by name, and the status says why; the LWW loser is told to the journal.
    """
    nodes = Nodes(tmp_path)
    entered, go_on = threading.Event(), threading.Event()

    def stop_midway(node: Node) -> None:
        adopt = node.engine.log.adopt

        def stopping(floor: Vector, ends: Iterable[tuple[Dot, bytes]]) -> None:
            entered.set()
            assert go_on.wait(100)
            adopt(floor, ends)

        node.engine.log.adopt = stopping  # type: ignore[method-assign]

    async def test() -> None:
        await part(nodes)
        await nodes.start("c", before=stop_midway)
        node, before = nodes["c"], nodes["c"].vector
        try:
            await until(entered.is_set)
            assert node.vector == node.replicator.report(Peer("a", "")).vector == before
            assert not nodes.siblings("c", b"a1")
            assert nodes.siblings("c", b"gone") == [b"x"]
            assert await reason(nodes.write("c", Put(b"k", b"v"))) is Reason.RESYNCING
            assert await reason(node.engine.receive([])) is Reason.RESYNCING
            status = node.status()
            assert status.state == "resyncing"
            assert status.sync.state == "merging"
            assert (getattr(status.sync, "from")) in {"a", "b"}
            assert status.sync.received_keys == status.sync.total_keys > 50
        finally:
            go_on.set()
        await nodes.settle("a", "b", "c")
        assert node.status().state == "serving"
        await until(lambda: not node.status().HasField("sync"))  # what was staged goes last
        # Where the two registers met: at a sender, if it got c's writes before its snapshot.
        journals = {name: nodes[name].journal().page(b"", 0, 10, 1 << 20)[0] for name in "abc"}
        lost = {(loser.key, loser.value) for rows in journals.values() for _, loser in rows}
        assert lost == {(b"register", b"alone")}
        rows = journals["c"]
        await nodes.stop("c")
        await nodes.start("c")
        assert nodes["c"].journal().page(b"", 0, 10, 1 << 20) == (rows, 0), "it came with the merge"

    run(nodes, test)


def test_trap_27_values_at_their_cap_travel_by_snapshot(tmp_path: Path) -> None:
    """An entry is larger than a chunk, and than any message gRPC takes by default."""
    nodes = Nodes(tmp_path, "ab")

    async def test() -> None:
        await nodes.start("a")
        for number in range(8):
            await nodes.write("a", Put(b"huge", bytes([number]) * (1 << 20), blind=True))
        await nodes.forget_log("a")
        await nodes.stop("a")
        await nodes.start("a", "b")
        await nodes.settle("a", "b")
        assert len(nodes.siblings("b", b"huge")) == 8
        assert nodes["b"].engine.log.floor

    run(nodes, test)


def test_a_newcomer_takes_a_snapshot_instead_of_a_long_log(tmp_path: Path) -> None:
    """The log is all there, and longer than what it leads to."""
    # nothing old enough to be pushed: it must not matter who of the two dials first
    nodes = Nodes(tmp_path, "ab", snapshot_instead_of_log_ops=50, push_buffer_bytes=1)

    async def test() -> None:
        await nodes.start("a")
        for _ in range(100):
            await nodes.write("a", Increment(b"count", 1))
        await nodes.start("b")
        await nodes.settle("a", "b")
        assert nodes["b"].engine.log.floor == nodes["a"].vector
        assert nodes.counter("b", b"count") == 100
        await nodes.write("a", Increment(b"count", 1))
        await nodes.settle("a", "b")
        assert nodes["b"].engine.log.last_arrival == 1, "what came later comes by the log"

    run(nodes, test)


SLOW: dict[str, Any] = {"snapshot_bytes_per_s": 4 << 20, "pull_bytes": 1 << 20}


async def fill(nodes: Nodes, *names: str) -> None:
    """About 8 MB at these, whose logs are gone; who starts later knows nothing of it."""
    await nodes.start(*names)
    for number in range(16):
        await nodes.write("a", Put(b"k%02d" % number, secrets.token_bytes(1 << 19)))
    await nodes.settle(*names)
    await nodes.forget_log(*names)
    await nodes.stop(*names)
    await nodes.start(*names)


def test_another_sender_takes_over_when_one_dies(tmp_path: Path) -> None:
    """What was staged of the first is of another snapshot and is dropped."""
    nodes = Nodes(tmp_path, **SLOW)

    async def test() -> None:
        await fill(nodes, "a", "b")
        await nodes.start("c")
        incoming = nodes["c"].resync.incoming
        await until(lambda: incoming.source is not None and incoming.source.keys > 3)
        first = nodes["c"].resync.progress
        assert first is not None
        other = "b" if first.peer == "a" else "a"
        await nodes.stop(first.peer)
        await nodes.settle(other, "c")
        assert len(nodes.entries("c")) == 16

    run(nodes, test)


def test_a_sender_that_was_restarted_has_a_new_snapshot(tmp_path: Path) -> None:
    """Chunks of two snapshots do not fit together: the receiver starts over."""
    nodes = Nodes(tmp_path, "ab", **SLOW)

    async def test() -> None:
        await fill(nodes, "a")
        await nodes.start("b")
        incoming = nodes["b"].resync.incoming
        await until(lambda: incoming.source is not None and incoming.source.keys > 3)
        assert incoming.source is not None
        first = incoming.source.snapshot
        await nodes.stop("a")
        await nodes.start("a")
        await until(lambda: incoming.source is not None and incoming.source.snapshot != first)
        await nodes.settle("a", "b")
        assert len(nodes.entries("b")) == 16

    run(nodes, test)


def test_a_receiver_that_was_restarted_goes_on_where_it_was(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The sender keeps its copy, and pins its log behind it until the receiver has caught up."""
    caplog.set_level("INFO")
    nodes = Nodes(tmp_path, "ab", **SLOW)

    async def test() -> None:
        await fill(nodes, "a")
        await nodes.start("b")
        incoming = nodes["b"].resync.incoming
        await until(lambda: incoming.source is not None and incoming.source.keys > 3)
        await nodes.stop("b")
        assert incoming.source is not None
        sender, staged = nodes["a"], incoming.source
        assert sender.replicator.retention.pins == {"b": 16}
        await nodes.write("a", Put(b"later", b"x"))
        await nodes.start("b")
        resumed = nodes["b"].resync.incoming.source
        assert resumed is not None
        assert (resumed.snapshot, resumed.keys >= staged.keys) == (staged.snapshot, True)
        await nodes.settle("a", "b")
        assert len(nodes.entries("b")) == 17
        assert f"going on behind {resumed.keys} keys" in caplog.text
        await until(lambda: not sender.replicator.retention.pins)
        assert not (tmp_path / "b" / "v1" / "incoming").exists()

    run(nodes, test)


def test_snapshots_are_given_to_members_only_and_only_while_they_are_kept(
    tmp_path: Path,
) -> None:
    """A foreign node must not get the data, nor half a snapshot be taken for the rest of one."""
    nodes = Nodes(tmp_path, "ab")

    async def test() -> None:
        await nodes.start("a")
        snapshots = nodes["a"].snapshots
        stranger = replace(hello(nodes["a"], "b", 5), cluster="elsewhere")
        assert await reason(anext(snapshots.fetch(stranger, b"", START, 0))) is Reason.WRONG_CLUSTER
        member = hello(nodes["a"], "b", 5)
        gone = anext(snapshots.fetch(member, b"x" * 16, START, 0))
        assert await reason(gone) is Reason.SNAPSHOT_GONE

    run(nodes, test)


@pytest.mark.parametrize("gives_up", [False, True])
def test_trap_21_who_asked_for_a_snapshot_and_got_none_holds_no_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, gives_up: bool
) -> None:
    """Trap 21: not even the cap overrules a pin, so the disk that was full would stay full."""
    nodes = Nodes(tmp_path, "ab")
    leave = threading.Event()

    def no_room(*_: object) -> object:
        leave.wait(10)
        raise DiskFullError("no room")

    monkeypatch.setattr("kvnode.node.snapshots.make_snapshot", no_room)

    async def test() -> None:
        await nodes.start("a")
        await nodes.write("a", Put(b"k", b"v"))
        pins = nodes["a"].replicator.retention.pins
        parts = nodes["a"].snapshots.fetch(hello(nodes["a"], "b", 5), b"", START, 0)
        assert (await anext(parts)).chunk is None
        assert pins.keys() == {"b"}
        if gives_up:
            await parts.aclose()
            leave.set()
        else:
            leave.set()
            with pytest.raises(Refused, match="no room"):
                [part async for part in parts]
        assert not pins
        gone = anext(nodes["a"].snapshots.fetch(hello(nodes["a"], "b", 5), b"x" * 16, START, 0))
        assert await reason(gone) is Reason.SNAPSHOT_GONE
        assert not pins

    run(nodes, test)


def test_trap_21_a_first_checkpoint_that_finds_no_room_puts_the_snapshot_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who asks is told why, and gets one when there is room (seed 205023)."""
    nodes = Nodes(tmp_path, "ab")

    def no_room(*_: object) -> None:
        raise DiskFullError("no room")

    async def test() -> None:
        await nodes.start("a")
        await nodes.write("a", Put(b"k", b"v"))
        snapshots = nodes["a"].snapshots

        async def parts() -> list[Fetched]:
            asking = snapshots.fetch(hello(nodes["a"], "b", 5), b"", START, 0)
            return [part async for part in asking if part.chunk is not None]

        with monkeypatch.context() as full:
            full.setattr(nodes["a"].directory.state, "save", no_room)
            with pytest.raises(Refused) as refused:
                await parts()
        assert refused.value.reason is Reason.DISK_FULL
        assert await parts()

    run(nodes, test)


def test_receivers_share_a_copy_that_goes_when_nobody_asks_for_it(tmp_path: Path) -> None:
    """A copy costs as much disk as the state; the log behind it is held as long as it is."""
    nodes = Nodes(tmp_path, snapshot_idle_s=1)

    async def test() -> None:
        await nodes.start("a")
        await nodes.write("a", Put(b"k", b"v"))
        node = nodes["a"]
        offers = [
            fetched.offer
            for name, origin in (("b", 5), ("c", 6))
            async for fetched in node.snapshots.fetch(hello(node, name, origin), b"", START, 1)
        ]
        first, second = (offer for offer in offers if offer is not None)
        assert first == second
        folder = tmp_path / "a" / "v1" / "snapshots"
        assert [copy.name for copy in folder.iterdir()] == ["1"]
        assert node.replicator.retention.pins == {"b": 1, "c": 1}
        await until(lambda: not list(folder.iterdir()))
        assert not node.replicator.retention.pins
        gone = anext(node.snapshots.fetch(hello(node, "b", 5), first.snapshot, START, 0))
        assert await reason(gone) is Reason.SNAPSHOT_GONE

    run(nodes, test)


def test_a_snapshot_is_sent_no_faster_than_configured(tmp_path: Path) -> None:
    """Serving goes on beside it: all receivers together get so many bytes a second."""
    rate = 4 << 20
    nodes = Nodes(tmp_path, "ab", snapshot_bytes_per_s=rate)

    async def test() -> None:
        await nodes.start("a")
        for number in range(6):
            await nodes.write("a", Put(b"k%d" % number, bytes(1 << 20)))
        started = time.monotonic()
        fetching = nodes["a"].snapshots.fetch(hello(nodes["a"], "b", 5), b"", START, 0)
        size = [len(part.chunk.rows) async for part in fetching if part.chunk is not None]
        assert sum(size) > 6 << 20
        assert time.monotonic() - started > (sum(size) - max(size)) / rate * 0.9

    run(nodes, test)
