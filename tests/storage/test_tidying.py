"""The state is tidied when nobody has written, and not at the cost of those who want to."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from kvnode.core.errors import Refused
from kvnode.core.operations import Increment, Put
from kvnode.storage import compaction
from kvnode.storage.interfaces import StorageError, WriteFailed
from kvnode.storage.memory import MemoryState
from kvnode.storage.state import LmdbState
from tests.storage.faulty import until
from tests.storage.rig import Rig, checkpoint, rig, run
from tests.storage.stores import ORIGIN


class LooseState(MemoryState):
    """Tidying it lasts until it is told that that is enough, or that it must end."""

    def __init__(self) -> None:
        super().__init__()
        self.begun = 0
        self.given_up = 0
        self.enough = threading.Event()
        self.error: Exception | None = None

    def tidy(self, goes_on: Callable[[], bool]) -> None:
        self.begun += 1
        while not self.enough.wait(0.001):
            if not goes_on():
                self.given_up += 1
                return
        if self.error:
            raise self.error


async def quiet(state: LooseState) -> Rig:
    """A node with one write, which a checkpoint has."""
    node = rig(state=state)
    await node.submit(Increment(b"a", 1))
    await checkpoint(node.engine)
    return node


async def tidying(state: LooseState) -> Rig:
    """The same, being tidied."""
    node = await quiet(state)
    node.engine.checkpoints.tidy()
    await until(lambda: state.begun == 1)
    return node


def test_it_is_tidied_once_after_each_checkpoint() -> None:
    async def test() -> None:
        state = LooseState()
        state.enough.set()
        node = await quiet(state)
        for _ in range(3):
            node.engine.checkpoints.tidy()
            await until(lambda: not node.engine.checkpoints.running)
        assert state.begun == 1
        await node.submit(Increment(b"a", 1))
        node.engine.checkpoints.tidy()
        assert not node.engine.checkpoints.running, "something waits for a checkpoint"
        await checkpoint(node.engine)
        node.engine.checkpoints.tidy()
        await until(lambda: state.begun == 2)
        await node.engine.close()

    run(test)


def test_who_wants_a_checkpoint_does_not_wait_for_it() -> None:
    """Else writes would fill the memory meanwhile and be refused."""

    async def test() -> None:
        state = LooseState()
        node = await tidying(state)
        checkpoints = node.engine.checkpoints
        made = checkpoints.made
        await node.submit(Increment(b"a", 1))
        checkpoints.start()
        await until(lambda: checkpoints.made == made + 1)
        assert state.given_up == 1
        checkpoints.tidy()
        await until(lambda: state.begun == 2)  # what was given up is tried again
        state.enough.set()
        await node.engine.close()

    run(test)


@pytest.mark.parametrize("what", ["current", "flush", "close"])
def test_who_waits_for_the_end_gets_it(what: str) -> None:
    async def test() -> None:
        state = LooseState()
        node = await tidying(state)
        if what == "close":
            await node.engine.close()
        else:
            await node.submit(Increment(b"a", 1))
            await getattr(node.engine.checkpoints, what)()
            await node.engine.close()
        assert state.given_up == 1
        saved = state.load(10)
        assert saved is not None
        assert saved.arrival == node.log.last_arrival

    run(test)


def test_what_was_given_up_is_tried_again() -> None:
    async def test() -> None:
        state = LooseState()
        node = await tidying(state)
        checkpoints = node.engine.checkpoints
        await checkpoints.flush()
        assert (state.given_up, checkpoints.made) == (1, 1)
        checkpoints.tidy()
        await until(lambda: state.begun == 2)
        await node.engine.close()

    run(test)


def test_a_state_that_cannot_be_read_is_told_of_and_no_reason_to_stop() -> None:
    """The keys that can be read are there; who repairs it will hear of it from others."""

    async def test() -> None:
        state = LooseState()
        state.enough.set()
        state.error = StorageError("a page is damaged")
        node = await quiet(state)
        node.engine.checkpoints.tidy()
        await until(lambda: not node.engine.checkpoints.running)
        assert not node.failures
        state.error = WriteFailed("what is on disk is not known")
        await node.submit(Increment(b"a", 1))
        await checkpoint(node.engine)
        node.engine.checkpoints.tidy()
        await until(lambda: bool(node.failures))
        with suppress(Refused):
            await node.engine.close()

    run(test)


def test_a_node_s_file_gets_smaller(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compaction, "REPACK_BYTES_MIN", 0)

    async def test() -> None:
        state = LmdbState(tmp_path, ORIGIN)
        node = rig(state=state)
        for number in range(40):
            await node.submit(
                *[Put(b"%d" % (number * 7919 * each % 10_007), b"v" * 90) for each in range(200)]
            )
            await checkpoint(node.engine)
        before, keys = state.usage(), node.engine.memtable.read(b"7919")
        node.engine.checkpoints.tidy()
        await until(lambda: not node.engine.checkpoints.running)
        after = state.usage()
        assert after.file_bytes < 0.75 * before.file_bytes
        assert after.records == before.records
        assert node.engine.memtable.read(b"7919") == keys
        await node.engine.close()
        state.close()

    run(test)
