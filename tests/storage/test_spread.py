"""Which checkpoints are spread over a time, and what ends that."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from kvnode.config import Config
from kvnode.core.operations import Increment
from kvnode.node.checkpoints import SPREAD_S_MAX, Checkpoints
from kvnode.storage.interfaces import Checkpoint
from kvnode.storage.memory import MemoryLog
from tests.storage.faulty import SlowState, until
from tests.storage.rig import Rig, rig, run

KEYS = 4
CONFIG = Config(checkpoint_keys=KEYS, checkpoint_interval_ms=3_600_000)


class Spreading(SlowState):
    """What it was told."""

    def __init__(self) -> None:
        super().__init__()
        self.spreads: list[float] = []
        self.hurried = 0

    def save(self, checkpoint: Checkpoint) -> None:
        self.spreads.append(checkpoint.spread_s)
        super().save(checkpoint)

    def hurry(self) -> None:
        self.hurried += 1
        self.gate.before.set()


async def increment(node: Rig, first: int, count: int) -> None:
    for number in range(first, first + count):
        await node.submit(Increment(b"%d" % number, 1))


async def spreading(state: Spreading) -> Rig:
    """A node with a checkpoint that is due, being written."""
    node = rig(MemoryLog(), state, CONFIG)
    state.gate.before.clear()
    await increment(node, 0, KEYS)
    await until(state.gate.entered.is_set)
    return node


def test_one_that_is_due_is_spread_over_half_the_time_since_the_last_and_not_for_ever() -> None:
    async def test() -> None:
        state = Spreading()
        node = rig(MemoryLog(), state, CONFIG)
        node.engine.checkpoints._last -= 6.0  # noqa: SLF001 - when the last one was
        await increment(node, 0, KEYS)
        await until(lambda: not node.engine.checkpoints.running)
        node.engine.checkpoints._last -= 3_600.0  # noqa: SLF001 - when the last one was
        await increment(node, 0, 1)  # due at once; more would hurry it
        await until(lambda: not node.engine.checkpoints.running)
        assert 3.0 <= state.spreads[0] < SPREAD_S_MAX
        assert state.spreads[1:] == [SPREAD_S_MAX]
        assert not state.hurried
        await node.engine.close()

    run(test)


def test_one_that_is_asked_for_is_not_spread() -> None:
    async def test() -> None:
        state = Spreading()
        node = rig(MemoryLog(), state, CONFIG)
        await increment(node, 0, 1)
        node.engine.checkpoints.start()
        await node.engine.checkpoints.flush()
        await increment(node, 0, 1)
        await node.engine.close()
        assert state.spreads
        assert not any(state.spreads)

    run(test)


def test_it_is_hurried_once_when_half_of_the_next_waits() -> None:
    async def test() -> None:
        state = Spreading()
        node = await spreading(state)
        await increment(node, 0, KEYS // 2)
        assert state.hurried == 0
        await increment(node, KEYS // 2, 1)
        assert state.hurried == 1
        await increment(node, KEYS // 2, 1)
        assert state.hurried == 1
        await node.engine.close()

    run(test)


def test_a_node_that_fails_does_not_wait_for_it() -> None:
    async def test() -> None:
        state = Spreading()
        node = await spreading(state)
        node.engine._failure = OSError("broken")  # noqa: SLF001 - as if the log had failed
        await node.engine.close()
        assert state.hurried == 1

    run(test)


async def current(checkpoints: Checkpoints) -> None:
    await checkpoints.current([b"0"])


async def job(checkpoints: Checkpoints) -> None:
    await checkpoints.run(lambda: None)


async def enqueued(checkpoints: Checkpoints) -> None:
    done = asyncio.get_running_loop().create_future()
    checkpoints.enqueue(lambda: None, done.set_result)
    await done


async def wanted(checkpoints: Checkpoints) -> None:
    checkpoints.start()


@pytest.mark.parametrize(
    "waits", [current, job, enqueued, wanted, Checkpoints.flush, Checkpoints.finish]
)
def test_it_is_hurried_when_somebody_waits(
    waits: Callable[[Checkpoints], Coroutine[Any, Any, None]],
) -> None:
    async def test() -> None:
        state = Spreading()
        node = await spreading(state)
        await waits(node.engine.checkpoints)
        assert state.hurried == 1
        await until(lambda: not node.engine.checkpoints.running)
        await node.engine.close()

    run(test)
