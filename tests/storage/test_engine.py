"""The commit loop: nothing leaves the node before the disk has it, and what the disk refuses
has not happened.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from kvnode.config import Config
from kvnode.core.entry import Entry, encode_entry
from kvnode.core.errors import OutcomeUnclear, Reason, Refused, StateError
from kvnode.core.operations import Increment, Operation, Put
from kvnode.core.receive import Verdict
from kvnode.core.replica import Request
from kvnode.core.types import LWW_REGISTER, PN_COUNTER
from kvnode.core.types.slots import value as counter_value
from kvnode.node.engine import Engine, Outcome
from kvnode.storage.interfaces import DiskFullError, Log, StateStore, StorageError
from kvnode.storage.memory import MemoryLog, MemoryState
from tests.core.memory_node import MemoryNode
from tests.storage.gated import GatedLog, until
from tests.storage.stores import ORIGIN, Stores

CONFIG = Config(checkpoint_interval_ms=3_600_000)


@dataclass
class Rig:
    """An engine with its stores, and what it told others."""

    engine: Engine
    log: Log
    commits: list[int]
    failures: list[BaseException]

    def submit(self, *operations: Operation, request_id: bytes = b"") -> asyncio.Task[Outcome]:
        submitting = self.engine.submit(Request(operations, request_id), 100)
        return asyncio.ensure_future(submitting)

    def value(self, key: bytes) -> int:
        return counter_value(self.engine.memtable.read(key).get(PN_COUNTER, {}))

    def pushed(self) -> int:
        return len(self.engine.push_buffer.since(1, 1 << 30)[0])


def rig(log: Log | None = None, state: StateStore | None = None, config: Config = CONFIG) -> Rig:
    log = log if log is not None else GatedLog()
    engine = Engine(config, ORIGIN, log, state if state is not None else MemoryState())
    made = Rig(engine, log, [], [])
    engine.on_commit = lambda round_: made.commits.append(len(round_.records))
    engine.on_failure = made.failures.append
    return made


def run(test: Callable[[], Awaitable[Any]]) -> None:
    asyncio.run(asyncio.wait_for(test(), 20))


async def reason(submitted: Awaitable[Any]) -> Reason:
    with pytest.raises(Refused) as refusal:
        await submitted
    return refusal.value.reason


def test_nothing_is_visible_answered_or_pushed_before_the_append_returns() -> None:
    """P2, and trap 2: a write that others have seen must survive the crash of this node."""

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


# ---- checkpoints and restarts


def encoded(engine: Engine) -> dict[bytes, bytes]:
    found: dict[bytes, bytes] = {}

    def take(key: bytes, entry: Any) -> bool:
        if entry:
            found[key] = encode_entry(entry)
        return True

    assert engine.memtable.scan(b"", b"", take) is None
    return found


async def checkpoint(engine: Engine) -> None:
    engine.checkpoints.start()
    await until(lambda: not engine.checkpoints.running)


async def write_some(node: Rig, mark: int) -> None:
    other = MemoryNode(1)
    other.write(Put(b"s", b"theirs"), Increment(b"c", 1))
    await node.submit(Put(b"s", b"%d" % mark, blind=True), Increment(b"c", mark))
    await node.submit(
        Put(b"r", b"%d" % mark, LWW_REGISTER), request_id=mark.to_bytes(16, "big")
    )
    await node.engine.receive([other.last_block])


@pytest.mark.parametrize("checkpoints_after", [(), (0,), (1,), (0, 2), (0, 1, 2)])
def test_a_crash_after_a_checkpoint_loses_nothing(
    stores: Stores, checkpoints_after: Sequence[int]
) -> None:
    async def test() -> None:
        node = rig(stores.log, stores.state)
        for step in range(3):
            await write_some(node, step)
            if step in checkpoints_after:
                await checkpoint(node.engine)
        before = encoded(node.engine), node.engine.replica.durable
        stores.reopen()  # the engine is dropped as it is: nothing of it is written any more

        again = rig(stores.log, stores.state)
        durable = again.engine.replica.durable
        assert encoded(again.engine) == before[0]
        assert durable.vector == before[1].vector
        assert durable.chains == before[1].chains
        assert durable.hlc == before[1].hlc
        assert durable.requests.since(0) == before[1].requests.since(0)
        assert again.engine.replayed == (0 if 2 in checkpoints_after else again.engine.replayed)
        for mark in range(3):
            put = Put(b"r", b"%d" % mark, LWW_REGISTER)
            accepted, _ = await again.submit(put, request_id=mark.to_bytes(16, "big"))
            assert accepted.repeated
        assert encoded(again.engine) == before[0]
        await again.engine.close()

    run(test)


def test_a_clean_stop_leaves_nothing_to_replay(stores: Stores) -> None:
    async def test() -> None:
        node = rig(stores.log, stores.state)
        await write_some(node, 1)
        before = encoded(node.engine)
        await node.engine.close()
        stores.reopen()
        again = rig(stores.log, stores.state)
        assert again.engine.replayed == 0
        assert encoded(again.engine) == before
        await again.engine.close()

    run(test)


def test_rounds_go_on_while_a_checkpoint_is_written() -> None:
    """What they write waits for the next one, and a crash between loses nothing."""

    async def test() -> None:
        log, state = MemoryLog(), SlowState()
        node = rig(log, state)
        await node.submit(Increment(b"c", 1))
        state.gate.before.clear()
        node.engine.checkpoints.start()
        await until(state.gate.entered.is_set)
        await node.submit(Increment(b"c", 2), Increment(b"d", 1))
        assert node.value(b"c") == 3
        state.gate.before.set()
        await until(lambda: not node.engine.checkpoints.running)
        assert node.value(b"c") == 3
        again = rig(log, state)
        assert (again.value(b"c"), again.value(b"d")) == (3, 1)
        assert again.engine.replayed == 2
        await node.engine.close()
        await again.engine.close()

    run(test)


def test_a_checkpoint_without_room_is_made_up_for_by_the_next() -> None:
    async def test() -> None:
        log, state = MemoryLog(), MemoryState()
        node = rig(log, state)
        await node.submit(Increment(b"c", 1), request_id=b"1" * 16)
        state.full = True
        await checkpoint(node.engine)
        assert node.failures == []
        await node.submit(Increment(b"c", 2), request_id=b"2" * 16)
        assert state.load(10) is None
        state.full = False
        await checkpoint(node.engine)
        again = rig(log, state)
        assert again.value(b"c") == 3
        assert again.engine.replayed == 0
        for request_id, amount in ((b"1" * 16, 1), (b"2" * 16, 2)):
            accepted, _ = await again.submit(Increment(b"c", amount), request_id=request_id)
            assert accepted.repeated
        await node.engine.close()
        await again.engine.close()

    run(test)


def test_a_checkpoint_starts_when_enough_has_changed() -> None:
    async def test() -> None:
        log, state = MemoryLog(), MemoryState()
        config = Config(checkpoint_keys=5, checkpoint_interval_ms=3_600_000)
        node = rig(log, state, config)
        for number in range(4):
            await node.submit(Increment(b"%d" % number, 1))
        assert state.load(10) is None
        await node.submit(Increment(b"another", 1))
        await until(lambda: state.load(10) is not None)
        await until(lambda: not node.engine.checkpoints.running)
        assert node.engine.checkpoints.covered == 5
        await node.engine.close()

    run(test)


def test_writes_are_refused_when_checkpoints_cannot_keep_up() -> None:
    """Memory stays bounded; replication goes on."""

    async def test() -> None:
        log, state = MemoryLog(), SlowState()
        node = rig(log, state, Config(checkpoint_keys=2, checkpoint_interval_ms=3_600_000))
        state.gate.before.clear()
        for number in range(11):
            await node.submit(Increment(b"%d" % number, 1))
        assert await reason(node.submit(Increment(b"more", 1))) is Reason.QUEUE_FULL
        other = MemoryNode(1)
        other.write(Increment(b"theirs", 1))
        assert await node.engine.receive([other.last_block]) == [Verdict.APPLIED]
        state.gate.before.set()
        await until(lambda: not node.engine.checkpoints.overdue)
        await node.submit(Increment(b"more", 1))
        await node.engine.close()

    run(test)


def test_a_fence_set_while_a_round_is_written_does_not_lose_the_round() -> None:
    """The fence is kept by a checkpoint at once. That checkpoint must not cover a round which is
    in the log already but not in the state: after a crash it would never be replayed.
    """

    async def test() -> None:
        log, state = GatedLog(), MemoryState()
        node = rig(log, state)
        log.after.clear()
        writing = node.submit(Increment(b"c", 5))
        await until(log.stored.is_set)
        node.engine.fence("a peer has more of this origin")
        await until(lambda: not node.engine.checkpoints.running)
        log.after.set()
        await writing
        await until(lambda: not node.engine.checkpoints.running)
        again = rig(log, state)  # after kill -9
        assert again.value(b"c") == 5
        assert again.engine.vector == {ORIGIN: 1}
        assert await reason(again.submit(Increment(b"c", 1))) is Reason.NODE_FENCED

    run(test)


def test_a_fence_and_a_fork_survive_a_crash() -> None:
    async def test() -> None:
        log, state = MemoryLog(), MemoryState()
        node = rig(log, state)
        await node.submit(Increment(b"c", 5))
        first, second = MemoryNode(1), MemoryNode(1)
        first.write(Increment(b"x", 1))
        second.write(Increment(b"x", 2))
        verdicts = await node.engine.receive([first.last_block, second.last_block])
        assert verdicts == [Verdict.APPLIED, Verdict.FORK]
        node.engine.fence("a peer has more of this origin")
        await until(lambda: not node.engine.checkpoints.running)
        again = rig(log, state)
        assert 1 in again.engine.replica.durable.forks
        assert await reason(again.submit(Increment(b"c", 1))) is Reason.NODE_FENCED

    run(test)


def test_a_log_that_cannot_be_replayed_is_refused_in_one_line() -> None:
    log, state = MemoryLog(), MemoryState()
    node = MemoryNode(ORIGIN)
    node.write(Put(b"k", b"v"))
    block = node.last_block
    block.raw = block.raw[:1] + b"\xc1" + block.raw[2:]
    log.append([block])
    with pytest.raises(StorageError, match="block 1 of the log"):
        Engine(CONFIG, ORIGIN, log, state)


class RottenState(MemoryState):
    """A state store where some entries fail their checksum."""

    def __init__(self) -> None:
        super().__init__()
        self.rotten: set[bytes] = set()

    def get(self, key: bytes) -> Entry | None:
        if key in self.rotten:
            raise StateError(f"{key!r}: entry fails its checksum")
        return super().get(key)


def test_a_damaged_entry_is_neither_written_over_nor_merged_and_the_rest_goes_on() -> None:
    async def test() -> None:
        log, state = MemoryLog(), RottenState()
        node = rig(log, state)
        await node.submit(Increment(b"bad", 1), Increment(b"good", 1))
        await checkpoint(node.engine)
        state.rotten.add(b"bad")
        assert await reason(node.submit(Increment(b"bad", 1))) is Reason.STATE_DAMAGED
        other, third = MemoryNode(1), MemoryNode(2)
        other.write(Increment(b"good", 5), Increment(b"bad", 5))
        third.write(Increment(b"good", 7))
        verdicts = await node.engine.receive([other.last_block, third.last_block])
        assert verdicts == [Verdict.DAMAGED, Verdict.APPLIED]
        assert node.value(b"good") == 8
        await node.submit(Increment(b"good", 1))
        assert node.engine.vector == {ORIGIN: 3, 2: 1}
        assert node.failures == []
        state.rotten.clear()  # restored
        assert await node.engine.receive([other.last_block]) == [Verdict.APPLIED]
        assert (node.value(b"good"), node.value(b"bad")) == (14, 6)
        await node.engine.close()

    run(test)


def test_a_log_that_leads_to_a_damaged_entry_is_refused_in_one_line() -> None:
    async def test() -> None:
        log, state = MemoryLog(), RottenState()
        node = rig(log, state)
        await node.submit(Increment(b"bad", 1))
        await checkpoint(node.engine)
        await node.submit(Increment(b"bad", 1))
        state.rotten.add(b"bad")
        with pytest.raises(StorageError, match="the state is damaged"):
            rig(log, state)

    run(test)


class SlowState(MemoryState):
    """A state store whose saves wait at a gate."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = GatedLog()

    def save(self, checkpoint: Any) -> None:
        self.gate.append([])
        super().save(checkpoint)


def test_a_failing_checkpoint_stops_the_node() -> None:
    async def test() -> None:
        state = SlowState()
        node = rig(MemoryLog(), state)
        await node.submit(Increment(b"c", 1))
        state.gate.failure = OSError("input/output error")
        await checkpoint(node.engine)
        assert node.failures == [state.gate.failure]
        assert not isinstance(node.failures[0], DiskFullError)
        assert node.value(b"c") == 1

    run(test)
