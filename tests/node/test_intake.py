"""What a push stream brings shares a sync if it came together, and is heeded in its order."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import pytest

from kvnode.config import Config
from kvnode.core.block import Block
from kvnode.core.errors import Refused
from kvnode.core.operations import Increment
from kvnode.core.report import Hello, Report
from kvnode.node.engine import Engine
from kvnode.node.intake import Begun, Intake
from kvnode.node.peers import Peer
from kvnode.node.replicator import Replicator
from kvnode.storage.memory import MemoryState
from tests.core.memory_node import MemoryNode
from tests.storage.faulty import GatedLog, until

from .acquaintance import acquaint, hello_of, replicator_of

OWN, OTHER = 0xA, 0xB
CONFIG = Config(name="a", peers={"b": "127.0.0.1:1"})


class CountedLog(GatedLog):
    """One that knows how many blocks each append had."""

    def __init__(self) -> None:
        super().__init__()
        self.appends: list[int] = []

    def append(self, blocks: Sequence[Block]) -> None:
        self.appends.append(len(blocks))
        super().append(blocks)


class Served:
    """A node that serves a peer's push stream."""

    def __init__(self) -> None:
        self.log = CountedLog()
        self.engine = Engine(CONFIG, OWN, self.log, MemoryState())
        self.replicator: Replicator = replicator_of(self.engine, "a")
        self.peer: Peer = acquaint(self.replicator, "b", OTHER)
        self.hello: Hello = hello_of("b", OTHER, "ab")
        self.intake: Intake = self.replicator.intake(self.peer, self.hello)
        self.other = MemoryNode(OTHER)
        self.hurried: list[str] = []
        self.replicator.repair.hurry = lambda peer: self.hurried.append(peer.name)  # type: ignore[method-assign]

    def pushes(self) -> Block:
        """What the peer writes next."""
        self.other.write(Increment(b"c", 1))
        return self.other.last_block

    def begin(self, *blocks: Block, position: int = 0) -> Begun:
        at = position or blocks[-1].last_seq
        return self.intake.begin(Report({OTHER: at}, 0), at, [block.raw for block in blocks])


def served(test: Callable[[Served], Awaitable[None]]) -> None:
    async def run() -> None:
        node = Served()
        await test(node)
        node.intake.close()
        await node.engine.close()

    asyncio.run(asyncio.wait_for(run(), 60))


def test_messages_that_come_while_a_round_is_synced_share_the_next_sync() -> None:
    """Else the last of them would wait for as many syncs as there are messages."""

    async def test(node: Served) -> None:
        node.log.after.clear()
        begun = [node.begin(node.pushes())]
        await until(node.log.stored.is_set)
        begun += [node.begin(node.pushes()) for _ in range(3)]
        node.log.after.set()
        for message in begun:
            await node.intake.finish(message)
        assert node.log.appends == [1, 3]
        assert node.engine.vector == {OTHER: 4}
        assert node.hurried == []

    served(test)


def test_nothing_a_message_says_counts_before_its_blocks_are_synced() -> None:
    """P2: the answer to a message tells its sender that they are."""

    async def test(node: Served) -> None:
        node.log.after.clear()
        finishing = asyncio.ensure_future(node.intake.finish(node.begin(node.pushes())))
        await until(node.log.stored.is_set)
        for _ in range(20):
            await asyncio.sleep(0.001)
            assert not finishing.done()
            assert node.peer.vector == {}
        node.log.after.set()
        await finishing
        assert node.peer.vector == {OTHER: 1}

    served(test)


def test_a_message_that_leaves_a_gap_is_pulled_for() -> None:
    """What was lost on the way does not come by itself."""

    async def test(node: Served) -> None:
        await node.intake.finish(node.begin(node.pushes()))
        node.pushes()
        await node.intake.finish(node.begin(node.pushes()))
        assert node.hurried == ["b"]
        assert node.engine.vector == {OTHER: 1}

    served(test)


def test_what_waits_behind_a_gap_hides_no_later_one() -> None:
    """A held block is not here: whoever goes on behind it is behind the gap, too."""

    async def test(node: Served) -> None:
        node.pushes()
        for _ in range(2):
            await node.intake.finish(node.begin(node.pushes()))
        assert node.hurried == ["b", "b"]

    served(test)


def test_an_empty_message_that_shows_more_is_pulled_for() -> None:
    """A heartbeat after a lost message is the first to tell of it."""

    async def test(node: Served) -> None:
        await node.intake.finish(node.begin(position=7))
        assert node.hurried == ["b"]

    served(test)


def test_a_stream_that_ends_leaves_no_failure_that_nobody_reads(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The log would call it a bug."""

    async def test(node: Served) -> None:
        node.log.before.clear()
        node.log.failure = OSError("broken")
        node.begin(node.pushes())
        await until(node.log.entered.is_set)
        node.begin(node.pushes())
        node.log.before.set()
        await node.engine.idle.wait()
        node.intake.close()

    served(test)
    assert not [one for one in caplog.records if one.name == "asyncio"]


def test_a_node_that_has_stopped_keeps_no_damaged_block_and_promises_no_checkpoint() -> None:
    """Its server still ends what it serves. The thread that would write has ended: whoever waited
    for it would wait for ever, and what was said to be kept would be lost.
    """

    async def test() -> None:
        node = Served()
        await node.engine.close()
        with pytest.raises(Refused, match="stopping"):
            node.intake.begin(Report({}, 0), 1, [b"no block"])
        assert not len(node.engine.quarantine)
        with pytest.raises(Refused, match="stopping"):
            node.engine.quarantine.received(b"no block", "why", peer="b")
        with pytest.raises(Refused, match="stopping"):
            await asyncio.wait_for(node.engine.checkpoints.current([b"k"]), 10)
        node.engine.rest.begin()
        node.engine.fence("somebody else writes under its origin")

    asyncio.run(asyncio.wait_for(test(), 60))
