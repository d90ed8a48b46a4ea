"""Anti-entropy with peers that a test plays: a peer that hangs costs the others nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

from kvnode.config import Config
from kvnode.core.operations import Increment
from kvnode.core.report import Hello, Report
from kvnode.node.engine import Engine
from kvnode.node.replicator import Replicator
from kvnode.rpc.link import Pulled
from kvnode.storage.memory import MemoryLog, MemoryState
from tests.core.memory_node import MemoryNode

from .acquaintance import hello_of, replicator_of
from .played import HEARTBEAT_MS, OWN, PlayedStream, until

DEAD = 0xD
"""An origin that nobody hears any more."""
CONFIG = Config(
    name="a",
    peers={"b": "b:1", "c": "c:1"},
    heartbeat_interval_ms=HEARTBEAT_MS,
    anti_entropy_interval_ms=HEARTBEAT_MS,
    peer_timeout_ms=60_000,
)


class PlayedPeer:
    """A link to a peer that has what ``source`` wrote; ``hangs``: it never answers a pull."""

    def __init__(self, hello: Hello, source: MemoryNode, *, hangs: bool = False) -> None:
        self.source = source
        self.hangs = hangs
        self.pulls = 0
        self._stream = PlayedStream(peer=hello, others=dict(source.vector))

    def push(self) -> PlayedStream:
        return self._stream

    async def pull(
        self, _hello: Hello, _report: Report, have: dict[int, int], bytes_max: int, _idle_s: float
    ) -> AsyncIterator[Pulled]:
        self.pulls += 1
        if self.hangs:
            await asyncio.Event().wait()
        blocks, complete = self.source.log.lacking(have, bytes_max)
        yield Pulled(Report(self.source.vector, 0), None, blocks, complete)

    async def close(self) -> None:
        """Nothing is open."""


def play(
    peers: dict[str, PlayedPeer], check: Callable[[Replicator], Awaitable[None]]
) -> list[BaseException]:
    """Run a node's replication with these peers beside the check; what made the node fail."""
    failures: list[BaseException] = []

    async def run() -> None:
        engine = Engine(CONFIG, OWN, MemoryLog(), MemoryState())
        engine.on_failure = failures.append
        replicator = replicator_of(
            engine,
            "a",
            open_link=lambda address: peers[address.partition(":")[0]],  # type: ignore[arg-type,return-value]
        )
        replicator.start()
        try:
            await asyncio.wait_for(check(replicator), 100)
        finally:
            await replicator.close()
            await engine.close()

    asyncio.run(run())
    return failures


def dead_origin() -> MemoryNode:
    """It wrote three times, and told ``b`` and ``c``."""
    node = MemoryNode(DEAD)
    for _ in range(3):
        node.write(Increment(b"c", 1))
    return node


def test_a_peer_that_hangs_in_a_pull_does_not_keep_others_from_giving_the_same() -> None:
    """Trap 23, and no head-of-line blocking: ``b`` is stopped, ``c`` has it too."""
    source = dead_origin()
    peers = {
        "b": PlayedPeer(hello_of("b", 0xB), source, hangs=True),
        "c": PlayedPeer(hello_of("c", 0xC), source),
    }

    async def check(replicator: Replicator) -> None:
        await until(lambda: replicator.engine.vector == {DEAD: 3})
        assert peers["b"].pulls == 1, "the stopped peer was never asked, or asked again"

    assert not play(peers, check)


def test_a_peer_that_hangs_is_asked_once_however_long_it_hangs() -> None:
    """One pull per peer: what hangs must not pile up. The count of rounds leaves them out."""
    peers = {
        "b": PlayedPeer(hello_of("b", 0xB), dead_origin(), hangs=True),
        "c": PlayedPeer(hello_of("c", 0xC), MemoryNode(0xC)),
    }

    async def check(replicator: Replicator) -> None:
        await until(lambda: peers["b"].pulls == 1)
        before = replicator.repair.rounds
        peers["c"].source.write(Increment(b"c", 1))
        replicator.learn(replicator.peers["c"], 0xC, Report(peers["c"].source.vector, 0))
        await until(lambda: replicator.engine.vector == {0xC: 1})
        assert peers["b"].pulls == 1
        assert replicator.repair.rounds == before

    assert not play(peers, check)


def test_a_bug_in_a_pull_stops_the_node() -> None:
    """A node that no longer replicates must not go on as if it did."""

    class Broken(PlayedPeer):
        def pull(self, *_: object) -> AsyncIterator[Pulled]:
            raise ZeroDivisionError

    source = dead_origin()
    peers = {
        "b": Broken(hello_of("b", 0xB), source),
        "c": PlayedPeer(hello_of("c", 0xC), MemoryNode(0xC)),
    }
    failures: list[BaseException] = []

    async def check(replicator: Replicator) -> None:
        replicator.engine.on_failure = failures.append
        await until(lambda: bool(failures))

    play(peers, check)
    assert isinstance(failures[0], ZeroDivisionError)
