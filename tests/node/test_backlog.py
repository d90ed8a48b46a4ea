"""What is not in a checkpoint yet: what bounds it, and what it asks of writers."""

from __future__ import annotations

import asyncio
from asyncio import Task

import pytest

from kvnode.config import Config
from kvnode.core.errors import Reason
from kvnode.core.operations import Increment
from kvnode.node import backlog
from kvnode.node.backlog import (
    HELD_FREELY,
    OPERATIONS_A_KEY,
    OVERDUE,
    PAUSE_S,
    PAUSE_S_MAX,
    Backlog,
    pause_s,
)
from kvnode.node.queues import Outcome, room
from kvnode.storage.interfaces import Checkpoint, DiskFullError
from kvnode.storage.memory import MemoryLog, MemoryState
from tests.storage.faulty import SlowState, until
from tests.storage.rig import Rig, reason, rig, run

KEYS = 4
"""Of a checkpoint."""
CONFIG = Config(checkpoint_keys=KEYS, checkpoint_bytes=1000, checkpoint_interval_ms=3_600_000)
MOST = round(OVERDUE * KEYS)


def test_the_worth_is_what_there_is_most_of() -> None:
    assert Backlog().worth(CONFIG) == 0.0
    assert Backlog(keys=6, size=100, operations=6).worth(CONFIG) == 1.5
    assert Backlog(keys=1, size=2_000, operations=6).worth(CONFIG) == 2.0
    assert Backlog(keys=1, size=100, operations=3 * OPERATIONS_A_KEY * KEYS).worth(CONFIG) == 3.0


def test_a_pause_grows_with_what_waits_and_with_what_is_held_in_all() -> None:
    assert pause_s(1.0, 0.0) == pause_s(1.0, HELD_FREELY - 1) == pause_s(0.0, HELD_FREELY) == 0.0
    assert pause_s(2.0, 0.0) == pause_s(2.0, 1.0) == PAUSE_S
    assert pause_s(2.5, 0.0) == pytest.approx(2.25 * PAUSE_S)
    assert pause_s(0.0, HELD_FREELY + 1.5) == pytest.approx(2.25 * PAUSE_S)
    assert pause_s(1.0, HELD_FREELY + 0.5) == pytest.approx(2.25 * PAUSE_S)
    assert pause_s(100.0, 0.0) == pause_s(0.0, 100.0) == PAUSE_S_MAX


async def increment(node: Rig, first: int, count: int) -> None:
    await node.submit(*(Increment(b"%d" % number, 1) for number in range(first, first + count)))


def test_it_is_bounded_however_often_a_node_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    """No life is long enough for a checkpoint: each replays what the one before did, and more."""
    monkeypatch.setattr(backlog, "PAUSE_S", 0.0)

    async def test() -> None:
        log = MemoryLog()
        lives: list[Rig] = []
        states: list[SlowState] = []
        taken = 0
        while True:
            state = SlowState()
            state.gate.before.clear()
            node = rig(log, state, CONFIG)  # after kill -9
            lives.append(node)
            states.append(state)
            assert node.engine.replayed == node.engine.checkpoints.behind.operations == taken
            node.engine.checkpoints.begin()
            if node.engine.checkpoints.overdue:
                break
            await increment(node, taken, KEYS - 1)
            taken += KEYS - 1
        assert MOST < taken < MOST + KEYS, "one round beyond it"
        node = lives[-1]
        assert await reason(node.submit(Increment(b"more", 1))) is Reason.QUEUE_FULL
        for each in states:
            each.gate.before.set()
        await until(lambda: not node.engine.checkpoints.overdue)
        await node.submit(Increment(b"more", 1))
        assert [node.value(b"%d" % number) for number in range(taken)] == [1] * taken
        for life in lives:
            await life.engine.close()

    run(test)


def test_a_start_writes_what_it_replayed_if_that_is_a_checkpoints_worth() -> None:
    async def test() -> None:
        for count in (KEYS - 1, KEYS):
            log, state = MemoryLog(), MemoryState()
            held = SlowState()
            held.gate.before.clear()
            await increment(killed := rig(log, held, CONFIG), 0, count)
            node = rig(log, state, CONFIG)
            node.engine.checkpoints.begin()
            assert node.engine.checkpoints.running == (count == KEYS)
            await until(lambda: not node.engine.checkpoints.running)  # noqa: B023 - awaited here
            assert node.engine.checkpoints.covered == (1 if count == KEYS else 0)
            held.gate.before.set()
            await killed.engine.close()
            await node.engine.close()

    run(test)


def test_a_few_keys_written_again_and_again_come_to_a_checkpoint() -> None:
    """They take little memory, but a start replays every operation."""

    async def test() -> None:
        node = rig(MemoryLog(), MemoryState(), Config(checkpoint_keys=KEYS))
        for _ in range(OPERATIONS_A_KEY * KEYS - 1):
            await node.submit(Increment(b"hot", 1))
        assert (node.engine.checkpoints.made, node.engine.checkpoints.running) == (0, False)
        await node.submit(Increment(b"hot", 1))
        await until(lambda: node.engine.checkpoints.made == 1)
        assert node.engine.checkpoints.behind.operations == 0
        await node.engine.close()

    run(test)


def test_what_is_being_written_is_behind_until_it_is_on_disk() -> None:
    async def test() -> None:
        state = SlowState()
        state.gate.before.clear()
        node = rig(MemoryLog(), state, CONFIG)
        many = round(HELD_FREELY + 1) * KEYS
        await increment(node, 0, many)
        assert node.engine.checkpoints.running
        assert node.engine.checkpoints.pause_s == pytest.approx(PAUSE_S)
        await increment(node, 0, 2)
        assert node.engine.checkpoints.behind.operations == many + 2
        state.gate.before.set()
        await until(lambda: not node.engine.checkpoints.running)
        assert node.engine.checkpoints.behind.operations == 2
        await node.engine.close()

    run(test)


async def paused(state: SlowState, monkeypatch: pytest.MonkeyPatch) -> tuple[Rig, Task[Outcome]]:
    """A node, and a write that waits for a checkpoint, longer than a test may."""
    monkeypatch.setattr(backlog, "PAUSE_S", 3_600.0)
    monkeypatch.setattr(backlog, "PAUSE_S_MAX", 3_600.0)
    state.gate.before.clear()
    node = rig(MemoryLog(), state, CONFIG)
    await increment(node, 0, round(HELD_FREELY + 1) * KEYS)
    waiting = node.submit(Increment(b"waits", 1))
    await until(lambda: node.engine.paused is not None)
    return node, waiting


def test_a_round_that_waits_goes_on_when_the_checkpoint_is_written(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def test() -> None:
        state = SlowState()
        node, waiting = await paused(state, monkeypatch)
        state.gate.before.set()
        await waiting
        await node.engine.close()

    run(test)


def test_a_node_that_stops_does_not_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test() -> None:
        state = SlowState()
        node, waiting = await paused(state, monkeypatch)
        closing = asyncio.create_task(node.engine.close())
        await waiting
        assert (node.engine.checkpoints.made, node.failures) == (0, []), "it is not written yet"
        state.gate.before.set()
        await closing

    run(test)


def test_who_waits_for_room_does_not_look_all_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test() -> None:
        state = SlowState()
        node, waiting = await paused(state, monkeypatch)
        turns = 0

        def turn() -> None:
            nonlocal turns
            turns += 1
            if not looked.done():
                loop.call_soon(turn)

        loop = asyncio.get_running_loop()
        looked = asyncio.create_task(room(node.engine))
        loop.call_soon(turn)
        await looked
        assert turns > 10, "it looked again with the next turns of the loop"
        state.gate.before.set()
        await waiting
        await node.engine.close()

    run(test)


def test_what_is_queued_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test() -> None:
        state = SlowState()
        node, waiting = await paused(state, monkeypatch)
        left = MOST - node.engine.checkpoints.behind.keys
        queued = [node.submit(Increment(b"%d" % number, 1)) for number in range(left)]
        assert await reason(node.submit(Increment(b"more", 1))) is Reason.QUEUE_FULL
        state.gate.before.set()
        await asyncio.gather(waiting, *queued)
        await node.engine.close()

    run(test)


class FullDisk(MemoryState):
    """No checkpoint has room."""

    def save(self, _checkpoint: Checkpoint) -> None:
        raise DiskFullError("no room")


def test_what_could_not_be_written_is_behind() -> None:
    async def test() -> None:
        node = rig(log := MemoryLog(), FullDisk(), CONFIG)
        await increment(node, 0, KEYS)
        await until(lambda: not node.engine.checkpoints.running)
        assert node.engine.memtable.bytes_held == sum(len(raw) for _, raw in log.replay(0))
        await increment(node, 0, 1)
        assert node.engine.checkpoints.behind.operations == KEYS + 1
        await increment(node, 0, 2 * KEYS)
        assert node.engine.checkpoints.pause_s > 0.0, "others' writes are slowed down too"
        await increment(node, 0, MOST + 1)
        assert await reason(node.submit(Increment(b"more", 1))) is Reason.QUEUE_FULL
        await node.engine.close()

    run(test)
