"""Expiry in running nodes: what is swept, when, how far; and verify compares as of one time."""

from __future__ import annotations

from pathlib import Path

import pytest

from kvnode.config import Config
from kvnode.core.operations import Put
from kvnode.core.types import LWW_REGISTER, SIBLINGS
from kvnode.node import collector as collector_module
from kvnode.node.ambient import MACHINE
from kvnode.node.clocks import TimePassed, now_ms
from kvnode.node.collector import Collector
from kvnode.node.peers import Peer
from kvnode.node.verification import Verification
from kvnode.storage.interfaces import StateStore
from kvnode.storage.memory import MemoryLog, MemoryState
from kvnode.v1 import verify_pb2 as pb
from tests.node.nodes import Nodes
from tests.node.nodes import run as run_nodes
from tests.storage.faulty import until
from tests.storage.rig import CONFIG, Rig, checkpoint, encoded, rig, run
from tests.storage.stores import ORIGIN, LmdbStores

PEER = 0xB
SOON, LATER = 1_000_000, 2_000_000
"""Long ago by the wall clock: the collector is told how late it is."""


class Collecting:
    """A collector with a clock that the test sets."""

    def __init__(self, made: Rig, members: frozenset[int] = frozenset()) -> None:
        self.time = 0
        self.engine = made.engine
        self.collector = Collector(made.engine, lambda: members, lambda: self.time)

    async def step(self) -> None:
        """Look, and let a checkpoint carry what that found."""
        await self.collector.look()
        await self.engine.checkpoints.current()

    @property
    def state(self) -> StateStore:
        return self.engine.checkpoints.state

    @property
    def horizon(self) -> int:
        return self.engine.replica.durable.horizon


def test_an_expired_value_goes_with_two_checkpoints_and_the_others_stay() -> None:
    """One finds it expired, the next is without it."""

    async def test() -> None:
        made = rig(MemoryLog(), MemoryState())
        it = Collecting(made)
        await made.submit(
            Put(b"r", b"1", LWW_REGISTER, deadline=SOON),
            Put(b"s", b"1", deadline=SOON),
            Put(b"later", b"1", deadline=LATER),
            Put(b"stays", b"1"),
        )
        await checkpoint(it.engine)
        it.time = SOON - 1
        await it.step()
        assert (it.horizon, it.state.to_expire(), it.state.waiting()) == (0, 3, {})
        it.time = SOON + 5
        await it.step()
        assert it.horizon == SOON, "no further than what there was to sweep"
        assert (it.state.to_expire(), it.state.waiting()) == (1, {ORIGIN: 2})
        assert encoded(it.engine).keys() == {b"r", b"s", b"later", b"stays"}
        await it.step()
        assert encoded(it.engine).keys() == {b"later", b"stays"}
        assert it.state.waiting() == {}
        assert it.collector.entries_collected == 2
        made_before = it.engine.checkpoints.made
        await it.step()
        await it.step()
        assert it.engine.checkpoints.made == made_before, "nothing more to do"
        await it.engine.close()

    run(test)


def test_an_expired_value_waits_for_the_member_that_has_not_reported_it() -> None:
    async def test() -> None:
        made = rig(MemoryLog(), MemoryState())
        it = Collecting(made, frozenset({PEER}))
        await made.submit(Put(b"r", b"1", LWW_REGISTER, deadline=SOON))
        await checkpoint(it.engine)
        it.time = LATER
        for _ in range(3):
            await it.step()
        assert encoded(it.engine).keys() == {b"r"}
        assert it.state.waiting() == {ORIGIN: 1}, "and gc status says so"
        it.engine.stability.learn(PEER, {ORIGIN: 1}, it.engine.vector)
        await it.step()
        assert encoded(it.engine).keys() == set()
        await it.engine.close()

    run(test)


def test_a_value_that_arrives_when_it_has_expired_already_is_collected_too() -> None:
    """From a node that was cut off for long, say: no row of it is ever behind the horizon."""

    async def test() -> None:
        made = rig(MemoryLog(), MemoryState())
        it = Collecting(made)
        await made.submit(Put(b"first", b"1", deadline=SOON))
        await checkpoint(it.engine)
        it.time = LATER
        await it.step()
        await made.submit(Put(b"late", b"1", deadline=SOON - 1))
        await it.step()
        await it.step()
        assert encoded(it.engine).keys() == set()
        assert it.horizon == SOON
        await it.engine.close()

    run(test)


def test_the_horizon_outlives_a_crash_and_a_failed_checkpoint_does_not_move_it() -> None:
    async def test() -> None:
        log, state = MemoryLog(), MemoryState()
        made = rig(log, state)
        it = Collecting(made)
        await made.submit(Put(b"s", b"1", deadline=SOON))
        await checkpoint(it.engine)
        it.time = LATER
        state.full = True
        await it.collector.look()
        await checkpoint(it.engine)
        assert it.horizon == 0
        state.full = False
        await it.step()
        assert it.horizon == SOON
        again = rig(log, state)
        assert again.engine.replica.durable.horizon == SOON
        await again.engine.close()
        await it.engine.close()

    run(test)


@pytest.mark.parametrize("kind", [LWW_REGISTER, SIBLINGS])
def test_many_values_that_expire_together_go_in_portions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: int
) -> None:
    """One checkpoint must not read a million entries; and all goes in the end, with its space."""
    monkeypatch.setattr(collector_module, "SWEEP_BATCH_ROWS", 50)
    monkeypatch.setattr(collector_module, "SWEEP_ROWS", 200)
    stores = LmdbStores(tmp_path)

    async def test() -> None:
        made = rig(stores.log, stores.state, CONFIG)
        it = Collecting(made)
        start = stores.state.usage().used_bytes
        for batch in range(10):
            await made.submit(
                *(
                    Put(b"%d-%d" % (batch, n), bytes(100), kind, deadline=SOON + 100 * batch + n)
                    for n in range(100)
                )
            )
        await checkpoint(it.engine)
        assert stores.state.to_expire() == 1000
        it.time = LATER
        left = []
        while stores.state.to_expire():
            await it.step()
            left.append(stores.state.to_expire())
        assert left == [800, 600, 400, 200, 0]
        await it.step()
        await it.step()
        assert (stores.state.waiting(), stores.state.usage().records) == ({}, 0)
        assert stores.state.usage().used_bytes - start <= 4 * 4096
        await it.engine.close()

    run(test)
    stores.close()


def test_refreshing_a_value_leaves_nothing_behind(tmp_path: Path) -> None:
    """A session that is prolonged every minute for years has one row among the deadlines."""
    stores = LmdbStores(tmp_path)

    async def test() -> None:
        made = rig(stores.log, stores.state, CONFIG)
        for kind in (LWW_REGISTER, SIBLINGS):
            for n in range(20):
                await made.submit(Put(b"%d" % kind, b"1", kind, deadline=SOON + n))
                await checkpoint(made.engine)
        assert stores.state.to_expire() == 2
        await made.submit(Put(b"%d" % SIBLINGS, b"1"), Put(b"%d" % LWW_REGISTER, b"1", 3))
        await checkpoint(made.engine)
        assert stores.state.to_expire() == 0
        await made.engine.close()

    run(test)
    stores.close()


def test_a_row_of_a_horizon_that_is_not_taken_up_yet_stays() -> None:
    """A checkpoint is on disk a moment before the event loop hears of it, and a pass that runs
    reads its rows: looked at with the old horizon they would go, and their values stay for ever.
    """

    async def test() -> None:
        made = rig(MemoryLog(), MemoryState())
        await made.submit(
            Put(b"r", b"1", LWW_REGISTER, deadline=SOON), Put(b"s", b"1", deadline=SOON)
        )
        it = Collecting(made)
        rows = [((ORIGIN, 1), b"r"), ((ORIGIN, 2), b"s")]
        it.collector.collect(rows, {ORIGIN: 2})
        assert made.engine.collected == []
        made.engine.replica.durable.horizon = SOON
        it.collector.collect(rows, {ORIGIN: 2})
        assert made.engine.collected == [(ORIGIN, 1), (ORIGIN, 2)]
        assert encoded(made.engine) == {}
        await made.engine.close()

    run(test)


# ---- clocks


def peer(offset_ms: int | None, heard: float) -> Peer:
    made = Peer("b", "")
    made.clock_offset_ms, made.heard = offset_ms, heard
    return made


def test_only_what_the_slowest_clock_has_passed_is_swept() -> None:
    """Else a snapshot would lack what a member with a slower clock still shows."""
    config = Config(peer_timeout_ms=3_000)
    heard = [peer(-700, 99.0), peer(400, 99.0), peer(None, 99.0), peer(-9_000, 90.0)]
    assert TimePassed(lambda: heard, config).look(SOON, 100.0) == SOON - 700
    assert TimePassed(list, config).look(SOON, 100.0) == SOON


def test_a_clock_that_was_set_is_not_believed_at_once() -> None:
    """A jump of a year for a moment must not take the horizon along: that cannot be set back."""
    passed = TimePassed(list, Config(peer_timeout_ms=3_000, clock_offset_ms_max=10_000))
    assert passed.look(SOON, 100.0) == SOON
    assert passed.look(SOON + 5_000, 105.0) == SOON + 5_000
    year = 365 * 24 * 3600 * 1000
    assert passed.look(SOON + year, 105.2) == 0
    assert passed.look(SOON + 5_400, 105.4) == 0, "back again, which is a step too"
    assert passed.look(SOON + 8_300, 108.3) == 0
    assert passed.look(SOON + 8_500, 108.5) == SOON + 8_500


def test_a_node_that_hears_nobody_believes_no_clock() -> None:
    """It starts cut off, with a clock a year ahead: the horizon would stay there for a year."""
    config = Config(peer_timeout_ms=3_000)
    for silent in ([peer(None, 0.0)], [peer(None, 99.0)], [peer(-5, 90.0)]):
        assert TimePassed(lambda: silent, config).look(SOON, 100.0) == 0  # noqa: B023


def test_now_is_never_before_the_horizon() -> None:
    async def test() -> None:
        made = rig(MemoryLog(), MemoryState())
        ahead = MACHINE.wall_ms() + 3_600_000
        made.engine.checkpoints.sweep_to(ahead)
        await made.engine.checkpoints.current()
        assert now_ms(made.engine.replica.durable, MACHINE.wall_ms()) == ahead
        await made.engine.close()

    run(test)


# ---- comparing


async def verdict(verification: Verification) -> pb.VerifyReply:
    async for reply in verification.verify(pb.VerifyRequest()):
        last = reply
    return last


async def collected(nodes: Nodes, name: str, horizon: int) -> None:
    """A node's clock has passed the time, and it has let go what it could."""
    engine = nodes[name].engine
    engine.checkpoints.sweep_to(horizon)
    await engine.checkpoints.current()
    await nodes[name].collector.look()
    await engine.checkpoints.current()


def test_nodes_that_collect_at_different_moments_verify_equal(tmp_path: Path) -> None:
    """Trap 11: no false alarm, whoever asks; and a real difference is still one."""
    nodes = Nodes(tmp_path, compare_interval_ms=20, relay_interval_ms=20)
    hour = 3_600_000

    async def test() -> None:
        await nodes.start(*"abc")
        for name in "abc":
            await nodes[name].membership.wait_serving()
        soon = MACHINE.wall_ms() + hour
        puts = [Put(b"s%d" % n, b"1", deadline=soon + n % 3) for n in range(200)]
        await nodes.write("a", *puts, Put(b"r", b"1", LWW_REGISTER, deadline=soon))
        await nodes.write("b", Put(b"stays", b"1"), Put(b"later", b"1", deadline=soon + hour))
        await nodes.settle(*"abc")
        everybody = nodes["a"].engine.vector
        stable = lambda: nodes["a"].replicator.stable() == everybody  # noqa: E731
        await until(stable)
        await collected(nodes, "a", soon + 1)
        assert b"r" not in nodes.entries("a")
        assert b"r" in nodes.entries("b")
        for name in "abc":
            found = await verdict(nodes[name].verification)
            assert found.verdict == pb.VERDICT_EQUAL, (name, found)
        await collected(nodes, "b", soon)
        for name in "cba":
            assert (await verdict(nodes[name].verification)).verdict == pb.VERDICT_EQUAL
        assert not any(nodes[name].verification.diverged for name in "abc")

        nodes["c"].engine.memtable.install({b"later": {}, b"s2": {}, b"r": {}}, 0)  # lost
        found = await verdict(nodes["b"].verification)
        assert found.verdict == pb.VERDICT_DIFFERENT
        differing = {m.name: [d.key for d in m.differences] for m in found.members}
        assert differing["c"] == [b"later", b"s2"], "r has expired: nobody could notice"
        await until(lambda: nodes["c"].verification.diverged.keys() == {"a", "b"})

    run_nodes(nodes, test)


def test_a_repair_takes_no_entry_that_lacks_what_this_node_still_counts(tmp_path: Path) -> None:
    """What it is healed with has let go of more: so has this node, before."""
    nodes = Nodes(tmp_path, "ab", relay_interval_ms=20)

    async def test() -> None:
        await nodes.start(*"ab")
        for name in "ab":
            await nodes[name].membership.wait_serving()
        soon = MACHINE.wall_ms() + 3_600_000
        await nodes.write("a", Put(b"k", b"1", deadline=soon), Put(b"k", b"2", blind=True))
        await nodes.settle(*"ab")
        await until(lambda: nodes["a"].replicator.stable() == nodes["a"].engine.vector)
        await collected(nodes, "a", soon)
        assert nodes.siblings("a", b"k") == [b"2"]
        environment = nodes["b"].directory.state._env  # noqa: SLF001 - the disk's role
        await nodes["b"].engine.checkpoints.current()
        environment.write(lambda txn: txn.put(b"k", b"\1damaged", db=environment.tables["entries"]))
        async for reply in nodes["b"].verification.repair(pb.RepairRequest(keys=[b"k"])):
            last = reply
        assert [each.outcome for each in last.keys] == ["healed"]
        assert nodes.siblings("b", b"k") == [b"2"]
        assert nodes["b"].engine.replica.durable.horizon == soon
        assert (await verdict(nodes["b"].verification)).verdict == pb.VERDICT_EQUAL

    run_nodes(nodes, test)


def test_a_snapshot_brings_deadlines_and_the_horizon(tmp_path: Path) -> None:
    """What it lacks because it expired counts on the receiver's side neither."""
    nodes = Nodes(tmp_path, "ab", relay_interval_ms=20)

    async def test() -> None:
        await nodes.start(*"ab")
        for name in "ab":
            await nodes[name].membership.wait_serving()
        soon = MACHINE.wall_ms() + 3_600_000
        await nodes.write("a", Put(b"k", b"1", deadline=soon), Put(b"l", b"1", deadline=soon + 9))
        await nodes.settle(*"ab")
        await until(lambda: nodes["a"].replicator.stable() == nodes["a"].engine.vector)
        await nodes.stop("b")
        await nodes.write("a", Put(b"m", b"1", deadline=soon + 5))
        await collected(nodes, "a", soon)
        await nodes.forget_log("a")
        await nodes.stop("a")  # what it would push from memory goes too
        await nodes.start("a", "b")
        await until(lambda: nodes.equal("a", "b") and nodes["b"].resync.status() is None)
        assert nodes.entries("b").keys() == nodes.entries("a").keys() == {b"l", b"m"}
        durable = nodes["b"].engine.replica.durable
        assert durable.horizon == soon
        assert nodes["b"].directory.state.to_expire() == 2
        assert (await verdict(nodes["b"].verification)).verdict == pb.VERDICT_EQUAL

    run_nodes(nodes, test)
