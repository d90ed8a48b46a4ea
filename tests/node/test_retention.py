"""What leaves the log and what does not: the policy alone, then over an engine."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from kvnode.config import Config, ConfigError
from kvnode.core.dots import Vector, covers
from kvnode.core.operations import Increment, Put
from kvnode.core.replica import Request
from kvnode.core.report import Lacking, Report
from kvnode.node import retention as retention_module
from kvnode.node.engine import Engine
from kvnode.node.replicator import Replicator
from kvnode.node.retention import Limits, Retention, WriteRate, cuttable
from kvnode.storage.interfaces import Head
from kvnode.storage.memory import MemoryLog, MemoryState
from tests.storage.rig import CONFIG, Rig, checkpoint, encoded, rig, run
from tests.storage.stores import ORIGIN, LmdbStores

from .acquaintance import acquaint, replicator_of

HEADS = [Head(arrival, (1, arrival * 10), 100, arrival * 1000) for arrival in range(11, 21)]
"""Ten blocks of 100 bytes, the first at second 11."""
KEEP = Limits(upto=100, acknowledged={1: 1000}, old_ms=0, keep_bytes=1 << 40, bytes_max=1 << 40)


@pytest.mark.parametrize(
    ("limits", "cut"),
    [
        (KEEP, (0, False)),
        (replace(KEEP, old_ms=13_001), (13, False)),
        (replace(KEEP, old_ms=99_000), (20, False)),
        (replace(KEEP, keep_bytes=650), (14, False)),
        (replace(KEEP, old_ms=99_000, upto=12), (12, False)),
        (replace(KEEP, old_ms=99_000, acknowledged={1: 125}), (12, False)),
        (replace(KEEP, old_ms=99_000, acknowledged={2: 999}), (0, False)),
        (replace(KEEP, old_ms=99_000, acknowledged=None), (0, False)),
        (replace(KEEP, keep_bytes=10, acknowledged=None), (0, False)),
        (replace(KEEP, bytes_max=850, keep_bytes=850), (12, False)),
        (replace(KEEP, bytes_max=850, acknowledged=None), (12, True)),
        (replace(KEEP, bytes_max=850, acknowledged={1: 115}), (12, True)),
        (replace(KEEP, bytes_max=0, acknowledged=None, upto=15), (15, True)),
    ],
    ids=[
        *("nothing is due", "old", "all old", "large", "not checkpointed", "not acknowledged"),
        *("acknowledged elsewhere", "never met", "large, but never met", "capped, acknowledged"),
        *("capped", "capped, partly acknowledged", "the cap respects the checkpoint"),
    ],
)
def test_the_rules(limits: Limits, cut: tuple[int, bool]) -> None:
    assert cuttable(HEADS, 1000, limits) == cut


def test_an_old_block_behind_a_young_one_waits() -> None:
    """A log has no holes: clocks of origins differ, arrival order decides."""
    heads = [HEADS[5], HEADS[0]]
    assert cuttable(heads, 1000, replace(KEEP, old_ms=12_000)) == (0, False)


@pytest.mark.parametrize("name", ["log_retention_s", "log_retention_bytes", "log_bytes_max"])
def test_limits_are_positive(name: str) -> None:
    with pytest.raises(ConfigError, match=name):
        Config(**{name: 0})  # type: ignore[arg-type]


def test_the_cap_is_no_less_than_the_retention() -> None:
    with pytest.raises(ConfigError, match="log_retention_bytes"):
        Config(log_retention_bytes=2, log_bytes_max=1)


def test_the_write_rate_follows_what_was_written_lately() -> None:
    rate = WriteRate(0, 0.0)
    rate.measure(2000, 2.0)
    assert rate.bytes_per_s == pytest.approx(1000), "a young mean does not lean towards 0"
    for second in range(3, 300):
        rate.measure(1000 * second, float(second))
    assert rate.bytes_per_s == pytest.approx(1000)
    total = 1000 * 299
    for second in range(300, 420):
        rate.measure(total, float(second))
    assert 50 < rate.bytes_per_s < 200
    rate.measure(total, 419.0)


# ---- over an engine


class Members:
    """What the others have told, and the retention that goes by it."""

    def __init__(self, made: Rig, names: str = "b") -> None:
        self.vectors: dict[str, Vector | None] = dict.fromkeys(names)
        self.stable: Vector = {}
        self.retention = Retention(
            made.engine,
            acknowledged=self.acknowledged,
            stable=lambda: self.stable,
            members=lambda: self.vectors,
        )

    def acknowledged(self) -> Vector | None:
        known = [vector for vector in self.vectors.values() if vector is not None]
        if len(known) < len(self.vectors):
            return None
        origins = set().union(*known)
        return {o: min(vector.get(o, 0) for vector in known) for o in origins}


EAGER = replace(CONFIG, log_retention_bytes=1)
"""Nothing is kept beyond need."""


async def write(made: Rig, blocks: int) -> None:
    for number in range(blocks):
        await made.submit(Increment(b"c", 1), Put(b"%d" % number, b"v"))


def test_trap_12_what_a_member_has_not_acknowledged_stays() -> None:
    """Trap 12 "log cut past a lagging peer without telling it" (antidote 457, KeyDB 111)."""

    async def test() -> None:
        made = rig(config=EAGER)
        members = Members(made, "bc")
        await write(made, 10)
        await checkpoint(made.engine)
        for b, c, first in (
            (None, {ORIGIN: 20}, 1),
            ({}, {ORIGIN: 20}, 1),
            ({ORIGIN: 7}, {ORIGIN: 20}, 4),
            ({ORIGIN: 8}, {ORIGIN: 20}, 5),
            ({ORIGIN: 20}, {ORIGIN: 11}, 6),
        ):
            members.vectors = {"b": b, "c": c}
            await members.retention.sweep()
            assert made.log.first_arrival == first
            for vector in filter(None, members.vectors.values()):
                assert covers(vector, made.log.floor)
        members.vectors = {"b": {ORIGIN: 20}, "c": {ORIGIN: 20}}
        await members.retention.sweep()
        assert made.log.first_arrival == 11
        await made.engine.close()

    run(test)


def test_what_was_acknowledged_lately_stays() -> None:
    async def test() -> None:
        made = rig(config=CONFIG)
        members = Members(made)
        await write(made, 10)
        await checkpoint(made.engine)
        members.vectors = {"b": {ORIGIN: 20}}
        await members.retention.sweep()
        assert made.log.first_arrival == 1
        await made.engine.close()

    run(test)


def test_what_no_checkpoint_covers_stays_also_under_the_cap() -> None:
    """Replay needs it: cutting it would lose acknowledged writes of this very node."""

    async def test() -> None:
        made = rig(config=replace(EAGER, log_bytes_max=1))
        members = Members(made)
        members.vectors = {"b": {ORIGIN: 99}}
        await write(made, 4)
        await checkpoint(made.engine)
        await write(made, 3)
        await members.retention.sweep()
        assert made.log.first_arrival == 5
        again = rig(log=made.log, state=made.engine.checkpoints.state)
        assert encoded(again.engine) == encoded(made.engine)
        assert again.value(b"c") == 7
        await again.engine.close()
        await made.engine.close()

    run(test)


def test_what_a_snapshot_in_progress_needs_stays_also_under_the_cap() -> None:
    async def test() -> None:
        made = rig(config=replace(EAGER, log_bytes_max=1))
        members = Members(made)
        await write(made, 10)
        await checkpoint(made.engine)
        members.retention.pins = {"one": 6, "two": 3}
        await members.retention.sweep()
        assert made.log.first_arrival == 4
        del members.retention.pins["two"]
        await members.retention.sweep()
        assert made.log.first_arrival == 7
        await made.engine.close()

    run(test)


def test_the_cap_overrules_a_dead_member_and_says_so_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def test() -> None:
        made = rig(config=replace(EAGER, log_bytes_max=500))
        members = Members(made, "bcd")
        members.vectors = {"b": {ORIGIN: 40}, "c": None, "d": {ORIGIN: 2}}
        await write(made, 20)
        await checkpoint(made.engine)
        size = made.log.usage().records_bytes
        assert size > 500
        with caplog.at_level(logging.WARNING, logger="kvnode"):
            await members.retention.sweep()
            assert 0 < made.log.usage().records_bytes <= 500
            assert members.retention.needs_snapshot({ORIGIN: 2})
            assert not members.retention.needs_snapshot({ORIGIN: 40})
            await write(made, 5)
            await checkpoint(made.engine)
            await members.retention.sweep()
        (record,) = caplog.records
        assert record.levelno == logging.WARNING
        assert record.getMessage().endswith("these now need a snapshot: c, d")
        await made.engine.close()

    run(test)


def test_a_long_log_is_cut_in_batches_between_commits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention_module, "RETAIN_BLOCKS", 3)

    async def test() -> None:
        made = rig(config=EAGER)
        members = Members(made)
        await write(made, 10)
        await checkpoint(made.engine)
        members.vectors = {"b": {ORIGIN: 20}}
        sweeping = asyncio.ensure_future(members.retention.sweep())
        await write(made, 5)
        await sweeping
        assert made.log.first_arrival == 11
        assert made.log.last_arrival == 15
        assert made.value(b"c") == 15
        await made.engine.close()

    run(test)


def test_index_rows_below_the_stable_vector_go_too() -> None:
    async def test() -> None:
        made = rig(config=EAGER)
        members = Members(made)
        await write(made, 10)
        await checkpoint(made.engine)
        members.vectors, members.stable = {"b": {ORIGIN: 20}}, {ORIGIN: 10}
        await members.retention.sweep()
        assert [end for end, _ in made.log.ends({})] == [(ORIGIN, n) for n in range(10, 21, 2)]
        await made.engine.close()

    run(test)


def test_a_cut_log_on_disk_starts_again(tmp_path: Path) -> None:
    """Crash after the cut: what is left in log and state is all that was acknowledged."""
    stores = LmdbStores(tmp_path)

    async def test() -> None:
        made = rig(log=stores.log, state=stores.state, config=EAGER)
        members = Members(made)
        await write(made, 10)
        await checkpoint(made.engine)
        await write(made, 2)
        before = encoded(made.engine)
        members.vectors = {"b": {ORIGIN: 24}}
        await members.retention.sweep()
        assert stores.log.first_arrival == 11
        stores.reopen()  # without the engine's own closing checkpoint
        again = rig(log=stores.log, state=stores.state, config=EAGER)
        assert encoded(again.engine) == before
        assert again.engine.vector == {ORIGIN: 24}
        await again.submit(Increment(b"c", 1))
        assert again.value(b"c") == 13
        again.engine.replica.check_invariants()
        await again.engine.close()

    run(test)
    stores.close()


def test_when_a_peer_falls_off_the_log() -> None:
    async def test() -> None:
        made = rig(config=replace(CONFIG, log_bytes_max=100_000, log_retention_bytes=100_000))
        retention = Members(made).retention
        assert retention.falls_off_ms({}) == 0, "nothing is written"
        await write(made, 10)
        size = made.log.behind({}).bytes
        retention.rate = WriteRate(0, 0.0)
        retention.rate.measure(size, 1.0)
        assert retention.falls_off_ms({ORIGIN: 20}) == 0, "it has everything"
        wanted_ms = (100_000 - size) / size * 1000
        assert retention.falls_off_ms({}) == pytest.approx(wanted_ms, abs=1)
        assert retention.falls_off_ms({ORIGIN: 10}) > retention.falls_off_ms({})
        await made.engine.close()

    run(test)


# ---- over a replicator


def with_replicator(check: Callable[[Replicator], Awaitable[None]], config: Config) -> None:
    async def test() -> None:
        engine = Engine(config, ORIGIN, MemoryLog(), MemoryState())
        replicator = replicator_of(engine, "a")
        await check(replicator)
        await engine.close()

    run(test)


TWO_PEERS = Config(
    name="a", peers={"b": "127.0.0.1:1", "c": "127.0.0.1:2"}, checkpoint_interval_ms=3_600_000
)


def hear(replicator: Replicator, name: str, origin: int, vector: Vector) -> None:
    peer = acquaint(replicator, name, origin)
    roster = replicator.membership.raw
    replicator.learn(peer, Report(vector, time.time_ns() // 1_000_000, roster=roster))


def test_nobody_is_cut_off_while_a_peer_was_never_met() -> None:
    async def check(replicator: Replicator) -> None:
        engine = replicator.engine
        engine.replica.durable.vector = {ORIGIN: 5}
        engine.replica.durable.chains = {ORIGIN: bytes(16)}
        hear(replicator, "b", 2, {ORIGIN: 5})
        assert replicator.acknowledged() is None
        assert replicator.stable() == {}
        hear(replicator, "c", 3, {ORIGIN: 4})
        assert replicator.acknowledged() == {ORIGIN: 4}

    with_replicator(check, TWO_PEERS)


def test_stable_waits_for_what_a_peer_had_issued_when_it_reported() -> None:
    async def check(replicator: Replicator) -> None:
        engine = replicator.engine
        engine.replica.durable.vector = {ORIGIN: 9, 2: 5}
        engine.replica.durable.chains = dict.fromkeys(engine.vector, bytes(16))
        hear(replicator, "b", 2, {ORIGIN: 7, 2: 6})
        hear(replicator, "c", 3, {ORIGIN: 8, 2: 4})
        assert replicator.acknowledged() == {ORIGIN: 7, 2: 4}
        assert replicator.stable() == {}, "2:6 may depend on anything"
        engine.replica.durable.vector[2] = 6
        assert replicator.stable() == {ORIGIN: 7, 2: 4}

    with_replicator(check, TWO_PEERS)


def test_a_node_alone_waits_for_nobody() -> None:
    async def check(replicator: Replicator) -> None:
        await replicator.engine.submit(Request([Put(b"k", b"v")]), 10)
        assert replicator.acknowledged() == replicator.stable() == {ORIGIN: 1}

    with_replicator(check, Config(name="a"))


def test_trap_12_a_pull_from_below_the_floor_is_told_so() -> None:
    """Trap 12: the peer must learn that it needs a snapshot, not get what comes after."""

    async def check(replicator: Replicator) -> None:
        engine = replicator.engine
        for number in range(4):
            await engine.submit(Request([Put(b"k", b"%d" % number)]), 10)
        await engine.in_log(lambda log: log.cut(3))
        (told,) = [found async for found in replicator.lacking({ORIGIN: 2}, 1 << 20)]
        assert told == Lacking(floor={ORIGIN: 3})
        (served,) = [found async for found in replicator.lacking({ORIGIN: 3}, 1 << 20)]
        assert (len(served.blocks), served.complete, served.floor) == (1, True, None)

    with_replicator(check, TWO_PEERS)
