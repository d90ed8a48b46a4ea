"""What a bad block does to the links: its origin waits, nobody else does."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

import pytest

from kvnode.config import Config
from kvnode.core.block import decode_block
from kvnode.core.dots import Vector
from kvnode.core.operations import Put
from kvnode.core.report import Report
from kvnode.node.engine import Engine
from kvnode.node.peers import Peer
from kvnode.node.repair import ALL, Repair
from kvnode.node.replicator import Replicator
from kvnode.rpc.link import Link, Pulled
from kvnode.storage.memory import MemoryLog, MemoryState
from tests.core.memory_node import MemoryNode

from .acquaintance import replicator_of

OWN = 0xA
CONFIG = Config(name="a", peers={"b": "127.0.0.1:1", "c": "127.0.0.1:2"})


class Fed(Repair):
    """A replicator's pulls, answered by the test: a list of messages per pull."""

    def __init__(self, replicator: Replicator) -> None:
        super().__init__(replicator)
        self.replicator = replicator
        self.answers: list[Sequence[tuple[Sequence[bytes], bool]]] = []
        self.reported: Vector = {}

    async def _messages(self, peer: Peer, link: Link, have: Vector) -> AsyncIterator[Pulled]:  # noqa: ARG002
        for blocks, complete in self.answers.pop(0):
            yield Pulled(Report(self.reported, 0), None, blocks, complete)

    async def pull(self, peer: Peer) -> bool:
        """Whether all of it came."""
        link = Link.open(peer.address, reconnect_ms=1_000, keepalive_ms=1_000)
        self._urgent.discard(peer.name)
        await self._pull(peer, link, self.vector_to_ask_with(peer), {}, asyncio.Event())
        await link.close()
        return peer.name not in self._urgent


def run(test: Callable[[Fed], Awaitable[None]], log: MemoryLog | None = None) -> None:
    async def bounded() -> None:
        engine = Engine(CONFIG, OWN, log or MemoryLog(), MemoryState())
        await test(Fed(replicator_of(engine, "a")))
        await engine.close()

    asyncio.run(asyncio.wait_for(bounded(), 100))


def blocks_of(origin: int, count: int) -> list[bytes]:
    node = MemoryNode(origin)
    for number in range(count):
        node.write(Put(b"%d" % origin, b"%d" % number))
    return [raw for _, raw in node.log.replay(0)]


def flipped(raw: bytes, at: int = -1) -> bytes:
    changed = bytearray(raw)
    changed[at] ^= 1
    return bytes(changed)


@pytest.mark.parametrize("at", [-1, 2], ids=["right origin", "flipped origin"])
def test_the_rest_of_a_message_and_of_a_pull_is_taken(at: int) -> None:
    """Also if the bad bytes lie about whose they are: who waits behind them is asked for later,
    so that a long row of such blocks cannot fill every pull.
    """

    async def test(node: Fed) -> None:
        stuck, fine = blocks_of(2, 3), blocks_of(3, 3)
        node.reported = {2: 3, 3: 3}
        node.answers = [[([flipped(stuck[0], at), fine[0], stuck[1]], False), (fine[1:], False)]]
        peer = node.replicator.peers["b"]
        assert not await node.pull(peer)
        assert node.engine.vector == {3: 3}
        (record,) = node.engine.quarantine.records()
        assert (record.peer, record.origin) == ("b", 2 if at == -1 else 3)
        assert record.awaits == {2: 3, 3: 3}
        assert node.vector_to_ask_with(peer) == {3: 3, 2: ALL}
        assert peer.stuck[2][1] > time.monotonic()
        assert node.vector_to_ask_with(node.replicator.peers["c"]) == {3: 3}, (
            "another peer is asked at once"
        )
        node.answers = [[(stuck, True)]]
        assert await node.pull(node.replicator.peers["c"])
        assert node.engine.vector == {2: 3, 3: 3}
        assert node.engine.quarantine.records() == []

    run(test)


@pytest.mark.parametrize("at", [-1, 2], ids=["right origin", "flipped origin"])
def test_a_bad_copy_of_what_is_here_already_is_no_record(at: int) -> None:
    async def test(node: Fed) -> None:
        (good,) = blocks_of(2, 1)
        node.reported = {2: 1}
        node.answers = [[([good], True)], [([flipped(good, at)], True)]]
        for _ in range(2):
            await node.pull(node.replicator.peers["b"])
        assert len(node.engine.quarantine) == 0

    run(test)


def test_a_damaged_block_of_the_own_log_stops_no_other_origin() -> None:
    """Who asks gets everything else, and every time: it used to be an internal error for ever."""

    async def test(node: Fed) -> None:
        first, second = blocks_of(2, 3), blocks_of(3, 3)
        await node.engine.receive([decode_block(raw) for raw in [*first, *second]])
        assert isinstance(node.engine.log, MemoryLog)
        node.engine.log.rotten.add((2, 2))
        for _ in range(2):
            sent = [
                raw async for part in node.replicator.lacking({}, 1 << 20) for raw in part.blocks
            ]
            assert sent == second
        sent = [
            raw async for part in node.replicator.lacking({2: 2}, 1 << 20) for raw in part.blocks
        ]
        assert sent == [first[2], *second], "who has the damaged block gets what is behind it"
        (record,) = node.engine.quarantine.records()
        assert (record.source, record.origin, record.last_seq, record.times) == ("own log", 2, 2, 2)

    run(test)
