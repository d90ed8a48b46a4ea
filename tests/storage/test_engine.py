"""The commit loop: nothing leaves the node before the disk has it, and what the disk refuses
has not happened.
"""

from __future__ import annotations

import asyncio

import pytest

from kvnode.config import Config
from kvnode.core.errors import OutcomeUnclear, Reason
from kvnode.core.operations import Increment, Put
from kvnode.core.receive import Verdict
from kvnode.core.types import LWW_REGISTER
from kvnode.storage.memory import MemoryLog, MemoryState
from tests.core.memory_node import MemoryNode
from tests.storage.faulty import GatedLog, until
from tests.storage.rig import reason, rig, run
from tests.storage.stores import ORIGIN


def test_trap_2_nothing_is_visible_answered_or_pushed_before_the_append_returns() -> None:
    """P2, and trap 2 "a seq shown to a peer before it was durable": it must survive a crash."""

    async def test() -> None:
        log = GatedLog()
        node = rig(log)
        log.after.clear()
        writing = node.submit(Increment(b"c", 5))
        await until(log.stored.is_set)
        for _ in range(20):  # on disk, but fsync has not said so yet
            await asyncio.sleep(0.001)
            assert not writing.done()
            assert node.engine.memtable.read(b"c") == {}
            assert node.pushed() == 0
            assert node.engine.vector == {}
            assert node.commits == []
        log.after.set()
        accepted, vector = await writing
        assert accepted.counters == [5]
        assert vector == node.engine.vector == {ORIGIN: 1}
        assert node.value(b"c") == 5
        assert node.pushed() == 1
        assert node.commits == [1]
        await node.engine.close()

    run(test)


def test_received_blocks_are_not_acknowledged_before_they_are_synced() -> None:
    """The sender may truncate its log by what this node reports."""

    async def test() -> None:
        log = GatedLog()
        node = rig(log)
        other = MemoryNode(1)
        other.write(Increment(b"c", 5))
        log.after.clear()
        receiving = asyncio.ensure_future(node.engine.receive([other.last_block]))
        await until(log.stored.is_set)
        for _ in range(20):
            await asyncio.sleep(0.001)
            assert not receiving.done()
            assert node.engine.vector == {}
            assert node.value(b"c") == 0
        log.after.set()
        assert await receiving == [Verdict.APPLIED]
        assert node.engine.vector == {1: 1}
        assert node.value(b"c") == 5
        assert node.pushed() == 0, "only own blocks are pushed"
        await node.engine.close()

    run(test)


def test_what_waits_for_the_disk_becomes_one_block() -> None:
    async def test() -> None:
        log = GatedLog()
        node = rig(log)
        log.before.clear()
        first = node.submit(Increment(b"c", 1))
        await until(log.entered.is_set)
        rest = [node.submit(Increment(b"c", 1), Increment(b"d", 1)) for _ in range(50)]
        await asyncio.sleep(0)
        assert not any(task.done() for task in rest)
        log.before.set()
        outcomes = await asyncio.gather(first, *rest)
        assert log.last_arrival == 2
        assert [accepted.first_seq for accepted, _ in outcomes] == [1, *range(2, 102, 2)]
        assert node.value(b"c") == 51
        await node.engine.close()

    run(test)


def test_a_round_is_bounded() -> None:
    async def test() -> None:
        log = GatedLog()
        node = rig(log, config=Config(round_operations_max=10))
        log.before.clear()
        first = node.submit(Increment(b"c", 1))
        await until(log.entered.is_set)
        rest = [node.submit(Increment(b"c", 1)) for _ in range(25)]
        await asyncio.sleep(0)
        log.before.set()
        await asyncio.gather(first, *rest)
        assert log.last_arrival == 1 + 3
        await node.engine.close()

    run(test)


def test_one_refusal_does_not_hurt_its_round() -> None:
    async def test() -> None:
        node = rig()
        tasks = [
            node.submit(Put(b"k", b"v")),
            node.submit(Increment(b"k", 1)),
            node.submit(Increment(b"c", 1)),
        ]
        assert (await tasks[0])[0].first_seq == 1
        assert await reason(tasks[1]) is Reason.TYPE_CONFLICT
        assert (await tasks[2])[0].first_seq == 2
        assert (node.engine.counts.accepted, node.engine.counts.refused) == (2, 1)
        await node.engine.close()

    run(test)


def test_a_full_disk_refuses_changes_nothing_and_the_node_goes_on() -> None:
    async def test() -> None:
        log, state = MemoryLog(), MemoryState()
        node = rig(log, state)
        await node.submit(Increment(b"c", 1), Put(b"r", b"v", LWW_REGISTER))
        before = node.engine.vector, node.engine.replica.durable.hlc
        log.full = True
        other = MemoryNode(1)
        other.write(Increment(b"c", 100))
        refused = [node.submit(Increment(b"c", 1), request_id=b"i" * 16) for _ in range(3)]
        receiving = asyncio.ensure_future(node.engine.receive([other.last_block]))
        for task in refused:
            assert await reason(task) is Reason.DISK_FULL
        assert await reason(receiving) is Reason.DISK_FULL
        assert before == (node.engine.vector, node.engine.replica.durable.hlc)
        assert node.value(b"c") == 1
        assert node.pushed() == 1
        assert node.failures == []
        log.full = False
        accepted, _ = await node.submit(Increment(b"c", 1), request_id=b"i" * 16)
        assert not accepted.repeated
        assert accepted.first_seq == 3
        assert await node.engine.receive([other.last_block]) == [Verdict.APPLIED]
        assert node.value(b"c") == 102
        await node.engine.close()
        assert rig(log, state).value(b"c") == 102

    run(test)


def test_any_other_failure_of_the_disk_stops_the_node() -> None:
    """After a failed fsync nobody knows what is on disk; the node must not claim anything."""

    async def test() -> None:
        log = GatedLog()
        node = rig(log)
        log.failure = OSError("fsync: input/output error")
        log.before.clear()
        writing = node.submit(Increment(b"c", 1))
        await until(log.entered.is_set)
        waiting = node.submit(Increment(b"c", 1))
        await asyncio.sleep(0)
        log.before.set()
        with pytest.raises(OutcomeUnclear):  # a refusal would be a lie: it may be on disk
            await writing
        assert await reason(waiting) is Reason.STOPPING
        assert node.failures == [log.failure]
        assert node.engine.memtable.read(b"c") == {}
        assert node.pushed() == 0
        assert await reason(node.submit(Increment(b"c", 1))) is Reason.STOPPING
        assert await reason(node.engine.receive([])) is Reason.STOPPING
        await node.engine.close()
        assert log.last_arrival == 0

    run(test)


def test_a_full_queue_refuses_aloud_and_takes_up_again() -> None:
    """P9: bounded in operations and in bytes."""

    async def test() -> None:
        for config in (
            Config(queue_operations_max=3, checkpoint_interval_ms=3_600_000),
            Config(queue_bytes_max=300, checkpoint_interval_ms=3_600_000),
        ):
            log = GatedLog()
            node = rig(log, config=config)
            log.before.clear()
            first = node.submit(Increment(b"c", 1))
            await until(log.entered.is_set)
            waiting = [node.submit(Increment(b"c", 1)) for _ in range(3)]
            await asyncio.sleep(0)
            assert await reason(node.submit(Increment(b"c", 1))) is Reason.QUEUE_FULL
            log.before.set()
            await asyncio.gather(first, *waiting)
            await node.submit(Increment(b"c", 1))
            assert node.value(b"c") == 5
            assert node.engine.counts.refused == 1
            await node.engine.close()

    run(test)


def test_a_request_larger_than_the_queue_is_taken_when_that_is_empty() -> None:
    async def test() -> None:
        for config in (
            Config(queue_operations_max=3, checkpoint_interval_ms=3_600_000),
            Config(queue_bytes_max=50, checkpoint_interval_ms=3_600_000),
        ):
            log = GatedLog()
            node = rig(log, config=config)
            log.before.clear()
            first = node.submit(*[Increment(b"c", 1)] * 5)
            await until(log.entered.is_set)
            second = node.submit(*[Increment(b"c", 1)] * 5)
            await asyncio.sleep(0)
            assert await reason(node.submit(Increment(b"c", 1))) is Reason.QUEUE_FULL
            log.before.set()
            await asyncio.gather(first, second)
            assert node.value(b"c") == 10
            await node.engine.close()

    run(test)


def test_a_caller_that_has_gone_before_its_round_writes_nothing() -> None:
    async def test() -> None:
        log = GatedLog()
        node = rig(log)
        log.before.clear()
        first = node.submit(Increment(b"c", 1))
        await until(log.entered.is_set)
        gone = node.submit(Increment(b"c", 100))
        await asyncio.sleep(0)
        gone.cancel()
        await asyncio.sleep(0)
        log.before.set()
        await first
        await node.engine.close()
        assert node.value(b"c") == 1

    run(test)


def test_closing_answers_what_waits_and_refuses_what_comes() -> None:
    async def test() -> None:
        log, state = GatedLog(), MemoryState()
        node = rig(log, state)
        log.before.clear()
        tasks = [node.submit(Increment(b"c", 1)) for _ in range(3)]
        await until(log.entered.is_set)
        tasks += [node.submit(Increment(b"c", 1)) for _ in range(3)]
        await asyncio.sleep(0)
        closing = asyncio.ensure_future(node.engine.close())
        await asyncio.sleep(0)
        assert await reason(node.submit(Increment(b"c", 1))) is Reason.STOPPING
        log.before.set()
        await asyncio.gather(*tasks)
        await closing
        saved = state.load(10)
        assert saved is not None
        assert saved.arrival == log.last_arrival, "the last checkpoint covers everything"

    run(test)


def test_a_contradiction_that_is_found_while_a_round_is_on_its_way_is_not_forgotten() -> None:
    """A snapshot that shows two histories is refused at any moment, also between plan and commit:
    as with the fence, what the round began with must not come back.
    """

    async def test() -> None:
        log = GatedLog()
        node = rig(log)
        log.before.clear()
        writing = node.submit(Increment(b"c", 5))
        await until(log.entered.is_set)
        node.engine.replica.durable.forks.setdefault(1, "two histories")  # as Resync does
        node.engine.checkpoints.start()
        log.before.set()
        await writing
        assert node.engine.replica.durable.forks == {1: "two histories"}
        await node.engine.close()

    run(test)
