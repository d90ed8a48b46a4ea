"""Collection in a running engine: what goes, what waits, and that space comes back."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from kvnode.config import Config
from kvnode.core.operations import Delete, Increment, Operation, Put
from kvnode.core.types import LWW_REGISTER, PN_COUNTER
from kvnode.node.collector import Collector
from kvnode.storage.memory import MemoryLog, MemoryState
from tests.storage.faulty import GatedLog, SlowState, until
from tests.storage.rig import CONFIG, Rig, checkpoint, encoded, rig, run
from tests.storage.stores import ORIGIN, LmdbStores

PEER = 0xB
BATCH = 1_000
PAGE_BYTES = 4096


def alone(made: Rig) -> Collector:
    """Of a node without peers: what it has is stable."""
    return Collector(made.engine, frozenset, lambda: 0)


async def write_and_delete(made: Rig) -> None:
    await made.submit(Put(b"r", b"1", LWW_REGISTER), Increment(b"c", 5), Put(b"s", b"1"))
    await made.submit(Delete(b"r"), Delete(b"c"), Put(b"stays", b"1", LWW_REGISTER))


def test_remains_go_and_their_rows_with_the_next_checkpoint() -> None:
    async def test() -> None:
        state = MemoryState()
        made = rig(MemoryLog(), state)
        collector = alone(made)
        await write_and_delete(made)
        await collector.look()
        assert collector.entries_collected == 0, "only a checkpoint says what there is"
        await checkpoint(made.engine)
        assert state.waiting() == {ORIGIN: 2}
        await collector.look()
        assert collector.entries_collected == 2
        assert encoded(made.engine).keys() == {b"s", b"stays"}
        assert state.waiting() == {ORIGIN: 2}
        await checkpoint(made.engine)
        assert state.waiting() == {}
        assert state.keys(b"", b"", 9, conflicts=False) == [b"s", b"stays"]
        await made.engine.close()

    run(test)


def test_collection_alone_makes_a_checkpoint_in_time() -> None:
    async def test() -> None:
        state = MemoryState()
        made = rig(MemoryLog(), state, Config(checkpoint_interval_ms=1))
        collector = alone(made)
        await write_and_delete(made)
        await until(lambda: not made.engine.checkpoints.running)
        for _ in range(1000):
            await collector.look()
            await until(lambda: not made.engine.checkpoints.running)
            if collector.entries_collected and not state.waiting():
                break
            await asyncio.sleep(0.001)  # so that the interval passes
        assert (collector.entries_collected, state.waiting()) == (2, {})
        count = made.engine.checkpoints.made
        await collector.look()
        await collector.look()
        assert made.engine.checkpoints.made == count, "and none when there is nothing for it"
        await made.engine.close()

    run(test)


def test_nothing_goes_before_the_member_has_reported() -> None:
    async def test() -> None:
        made = rig(MemoryLog(), MemoryState())
        engine = made.engine
        counted: list[frozenset[int] | None] = [None]
        collector = Collector(engine, lambda: counted[0], lambda: 0)
        await write_and_delete(made)
        await checkpoint(engine)
        await collector.look()
        counted[0] = frozenset({PEER})
        await collector.look()
        engine.stability.learn(PEER, {ORIGIN: 4}, engine.vector)
        await collector.look()
        assert collector.entries_collected == 1, "the register's delete is the fourth write"
        assert collector.stable == {ORIGIN: 4}
        engine.stability.learn(PEER, {ORIGIN: 5}, engine.vector)
        await collector.look()
        assert collector.entries_collected == 1, "one pass for each checkpoint"
        await checkpoint(engine)
        await collector.look()
        assert collector.entries_collected == 2
        await engine.close()

    run(test)


def test_what_members_have_reported_survives_a_crash_with_the_checkpoint() -> None:
    """Else a node that restarts alone would keep everything until all have been heard again."""

    async def test() -> None:
        log, state = MemoryLog(), MemoryState()
        made = rig(log, state)
        await write_and_delete(made)
        made.engine.stability.learn(PEER, {ORIGIN: 5, PEER: 0}, made.engine.vector)
        await checkpoint(made.engine)
        made.engine.stability.learn(PEER, {ORIGIN: 6, PEER: 0}, made.engine.vector)
        again = rig(log, state)
        assert again.engine.stability.stable(again.engine.vector, [PEER]) == {ORIGIN: 5}
        await again.engine.close()
        await made.engine.close()

    run(test)


def test_a_pass_stops_when_a_checkpoint_should_carry_it() -> None:
    """Trap 21's sister: collection must not fill the memory that writes need."""

    async def test() -> None:
        made = rig(MemoryLog(), MemoryState(), Config(checkpoint_keys=300))
        engine = made.engine
        keys = [b"%d" % number for number in range(1000)]
        await made.submit(*(Put(key, b"1", LWW_REGISTER) for key in keys))
        await made.submit(*(Delete(key) for key in keys))
        await checkpoint(engine)
        collector = alone(made)
        passes = 0
        while collector.entries_collected < 1000:
            await collector.look()
            assert engine.memtable.active_keys <= 300 + 256
            await until(lambda: not engine.checkpoints.running)
            passes += 1
        assert passes > 1
        await checkpoint(engine)
        assert encoded(engine) == {}
        assert engine.checkpoints.state.waiting() == {}
        await engine.close()

    run(test)


def test_what_is_collected_during_a_checkpoint_goes_with_the_next_one() -> None:
    """That one was cut before, and still carries the tombstones."""

    async def test() -> None:
        state = SlowState()
        made = rig(MemoryLog(), state)
        engine, collector = made.engine, alone(made)
        await write_and_delete(made)
        await checkpoint(engine)
        state.gate.before.clear()
        await made.submit(Put(b"r2", b"1", LWW_REGISTER), Delete(b"r2"))
        engine.checkpoints.start()
        collector.collect(state.garbage(engine.vector, 99), engine.vector)
        assert len(engine.collected) == 2
        state.gate.before.set()
        await until(lambda: not engine.checkpoints.running)
        assert state.waiting() == {ORIGIN: 3}
        assert len(engine.collected) == 2
        await checkpoint(engine)
        assert state.waiting() == {ORIGIN: 1}
        await collector.look()
        await checkpoint(engine)
        assert state.waiting() == {}
        await engine.close()

    run(test)


def test_a_checkpoint_that_fails_keeps_what_was_collected_for_the_next() -> None:
    async def test() -> None:
        state = MemoryState()
        made = rig(MemoryLog(), state)
        engine, collector = made.engine, alone(made)
        await write_and_delete(made)
        await checkpoint(engine)
        await collector.look()
        state.full = True
        await checkpoint(engine)
        state.full = False
        assert len(engine.collected) == 2
        await checkpoint(engine)
        assert state.waiting() == {}
        assert encoded(engine).keys() == {b"s", b"stays"}
        await engine.close()

    run(test)


def test_a_crash_undoes_a_collection_and_loses_no_row() -> None:
    async def test() -> None:
        log, state = MemoryLog(), MemoryState()
        made = rig(log, state)
        await write_and_delete(made)
        await checkpoint(made.engine)
        await alone(made).look()
        again = rig(log, state)  # nothing but log and state are left
        assert encoded(again.engine).keys() == {b"c", b"r", b"s", b"stays"}
        await alone(again).look()
        assert encoded(again.engine).keys() == {b"s", b"stays"}
        await again.engine.close()
        assert state.waiting() == {}
        await made.engine.close()

    run(test)


def test_a_round_that_read_the_entry_before_may_put_it_back_harmlessly() -> None:
    async def test() -> None:
        log, state = GatedLog(), MemoryState()
        made = rig(log, state)
        engine, collector = made.engine, alone(made)
        await made.submit(Increment(b"c", 5), Delete(b"c"))
        await checkpoint(engine)
        log.before.clear()
        log.entered.clear()
        writing = made.submit(Increment(b"c", 7))
        await until(log.entered.is_set)
        await collector.look()
        assert encoded(engine) == {}
        log.before.set()
        await writing
        assert made.value(b"c") == 7
        assert len(made.engine.memtable.read(b"c")[PN_COUNTER]) == 2
        await checkpoint(engine)
        assert state.waiting() == {ORIGIN: 1}, "the row has come back with it"
        await collector.look()
        assert made.value(b"c") == 7
        assert len(made.engine.memtable.read(b"c")[PN_COUNTER]) == 1
        await engine.close()
        assert state.waiting() == {}

    run(test)


# ---- space


async def in_batches(made: Rig, count: int, operation: Callable[[int], Operation]) -> None:
    for start in range(0, count, BATCH):
        await made.submit(*(operation(n) for n in range(start, min(count, start + BATCH))))


def on_disk(tmp_path: Path, test: Callable[[Rig, Collector], Awaitable[Any]]) -> None:
    async def wrapped() -> None:
        stores = LmdbStores(tmp_path)
        made = rig(stores.log, stores.state, CONFIG)
        await test(made, alone(made))
        await made.engine.close()
        stores.close()

    run(wrapped)


async def settle(made: Rig, collector: Collector) -> None:
    """Everything that can be is collected and gone from the disk."""
    state = made.engine.checkpoints.state
    await checkpoint(made.engine)
    while state.waiting():
        await collector.look()
        await checkpoint(made.engine)


@pytest.mark.parametrize(
    ("kind", "count"), [("register", 20_000), ("counter", 5_000), ("siblings", 5_000)]
)
def test_space_comes_back_when_many_keys_are_deleted(tmp_path: Path, kind: str, count: int) -> None:
    """Steady state: hardly more than at the start (1 M keys, below 1 %: bench/collection.py)."""
    write: dict[str, Callable[[int], Operation]] = {
        "register": lambda n: Put(b"key:%09d" % n, bytes(100), LWW_REGISTER),
        "counter": lambda n: Increment(b"key:%09d" % n, n + 1),
        "siblings": lambda n: Put(b"key:%09d" % n, bytes(100)),
    }

    async def test(made: Rig, collector: Collector) -> None:
        state = made.engine.checkpoints.state
        start = state.usage().used_bytes
        await in_batches(made, count, write[kind])
        await checkpoint(made.engine)
        peak = state.usage().used_bytes
        await in_batches(made, count, lambda n: Delete(b"key:%09d" % n))
        await settle(made, collector)
        end = state.usage()
        assert end.records == 0
        assert peak - start > count * 30
        assert end.used_bytes - start <= 4 * PAGE_BYTES

    on_disk(tmp_path, test)


def test_a_counter_deleted_thousands_of_times_stays_small(tmp_path: Path) -> None:
    async def test(made: Rig, collector: Collector) -> None:
        for _ in range(30):
            cycle: list[Operation] = [Increment(b"c", 5), Delete(b"c")]
            await made.submit(*cycle * 100)
            await settle(made, collector)
        await made.submit(Increment(b"c", 7))
        assert made.value(b"c") == 7
        assert len(encoded(made.engine)[b"c"]) < 60

    on_disk(tmp_path, test)
