"""Checkpoints, crashes and damage: what the engine comes back with."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

import pytest

from kvnode.config import Config
from kvnode.core.entry import Held
from kvnode.core.errors import Reason
from kvnode.core.operations import Increment, Put
from kvnode.core.receive import Verdict
from kvnode.core.types import LWW_REGISTER
from kvnode.node.engine import Engine
from kvnode.storage.interfaces import DiskFullError, StorageError
from kvnode.storage.memory import MemoryLog, MemoryState
from tests.core.memory_node import MemoryNode
from tests.storage.faulty import GatedLog, RottenState, SlowState, until
from tests.storage.rig import CONFIG, Rig, checkpoint, encoded, reason, rig, run
from tests.storage.stores import ORIGIN, Stores


async def write_some(node: Rig, mark: int) -> None:
    other = MemoryNode(1)
    other.write(Put(b"s", b"theirs"), Increment(b"c", 1))
    await node.submit(Put(b"s", b"%d" % mark, blind=True), Increment(b"c", mark))
    await node.submit(Put(b"r", b"%d" % mark, LWW_REGISTER), request_id=mark.to_bytes(16, "big"))
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
        assert durable.requests.all() == before[1].requests.all()
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


def test_a_request_taken_while_a_checkpoint_is_written_is_known_from_the_next() -> None:
    async def test() -> None:
        log, state = MemoryLog(), SlowState()
        node = rig(log, state)
        ids = [b"1" * 16, b"2" * 16]
        await node.submit(Increment(b"c", 1), request_id=ids[0])
        state.gate.before.clear()
        node.engine.checkpoints.start()
        await until(state.gate.entered.is_set)
        await node.submit(Increment(b"c", 1), request_id=ids[1])
        requests = node.engine.replica.durable.requests
        assert [known for known, _ in requests.unsaved] == ids
        state.gate.before.set()
        await until(lambda: not node.engine.checkpoints.running)
        assert [known for known, _ in requests.unsaved] == ids[1:]
        await checkpoint(node.engine)
        assert requests.unsaved == []
        again = rig(log, state)
        assert again.engine.replayed == 0
        for request_id in ids:
            accepted, _ = await again.submit(Increment(b"c", 1), request_id=request_id)
            assert accepted.repeated
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
        await node.submit(*(Increment(b"%d" % number, 1) for number in range(2)))
        await node.submit(*(Increment(b"other %d" % number, 1) for number in range(11)))
        assert await reason(node.submit(Increment(b"more", 1))) is Reason.QUEUE_FULL
        other = MemoryNode(1)
        other.write(Increment(b"theirs", 1))
        assert await node.engine.receive([other.last_block]) == [Verdict.APPLIED]
        state.gate.before.set()
        await until(lambda: not node.engine.checkpoints.overdue)
        await node.submit(Increment(b"more", 1))
        await node.engine.close()

    run(test)


def test_rounds_wait_the_longer_the_more_the_next_checkpoint_has() -> None:
    async def test() -> None:
        state = SlowState()
        node = rig(MemoryLog(), state, Config(checkpoint_keys=4, checkpoint_interval_ms=3_600_000))
        pauses = []
        state.gate.before.clear()
        for number in range(4 + 8):
            pauses.append(node.engine.checkpoints.pause_s)
            await node.submit(Increment(b"%d" % number, 1))
        assert pauses[:9] == [0.0] * 9, "nothing is written yet, or no more than the next one has"
        assert pauses[9:] == sorted(set(pauses[9:])), "more and more"
        assert pauses[9] > 0.0
        assert pauses[10] == pytest.approx(4 * pauses[9])
        began = asyncio.get_running_loop().time()
        await node.submit(Increment(b"paused", 1))
        assert asyncio.get_running_loop().time() - began >= pauses[-1], "it did not wait"
        state.gate.before.set()
        await until(lambda: not node.engine.checkpoints.running)
        assert node.engine.checkpoints.pause_s == 0.0
        await node.engine.close()

    run(test)


def test_what_a_checkpoint_has_written_is_let_go_of_in_its_thread() -> None:
    async def test() -> None:
        node = rig(MemoryLog(), MemoryState())
        for number in range(3):
            await node.submit(Increment(b"%d" % number, 1))
        written: list[Mapping[bytes, Held]] = []
        freeze = node.engine.memtable.freeze

        def frozen() -> Mapping[bytes, Held]:
            written.append(freeze())
            return written[0]

        node.engine.memtable.freeze = frozen  # type: ignore[method-assign]
        await checkpoint(node.engine)
        await until(lambda: not written[0])
        assert node.value(b"1") == 1, "read from the state now"
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
