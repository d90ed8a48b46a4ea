"""The push stream to one peer, over a link that a test plays."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest

from kvnode.config import Config
from kvnode.core.operations import Increment
from kvnode.core.replica import Request
from kvnode.core.report import ORIGINS_MAX, Hello, Report
from kvnode.node.engine import Engine
from kvnode.node.pusher import Pusher
from kvnode.node.replicator import Replicator
from kvnode.rpc.link import LinkError
from kvnode.storage.memory import MemoryLog, MemoryState
from tests.core.memory_node import MemoryNode

from .acquaintance import replicator_of
from .played import HEARTBEAT_MS, OWN, PEER, PlayedStream, until

CONFIG = Config(
    name="a", peers={"b": "127.0.0.1:1"}, heartbeat_interval_ms=HEARTBEAT_MS, push_buffer_bytes=1
)


class PlayedLink:
    """Opens the one stream again and again."""

    def __init__(self, stream: PlayedStream) -> None:
        self.stream = stream
        self.opened = 0

    def push(self) -> PlayedStream:
        self.opened += 1
        return self.stream


def play(
    stream: PlayedStream,
    check: Callable[[Engine, Replicator, PlayedLink], Awaitable[None]],
    *,
    writes_before_restart: int = 0,
    config: Config = CONFIG,
) -> None:
    """Run a pusher over the stream beside the check."""

    async def run() -> None:
        log, state = MemoryLog(), MemoryState()
        engine = Engine(config, OWN, log, state)
        for _ in range(writes_before_restart):
            await engine.submit(Request([Increment(b"c", 1)]), 10)
        await engine.close()
        engine = Engine(config, OWN, log, state)
        replicator = replicator_of(engine, "a")
        link = PlayedLink(stream)
        pusher = Pusher(replicator, replicator.peers["b"], link)  # type: ignore[arg-type]
        engine.on_commit = lambda round_: pusher.notify() if round_.own else None
        pushing = asyncio.create_task(pusher.run())
        try:
            await asyncio.wait_for(check(engine, replicator, link), 100)
        finally:
            pushing.cancel()
            with pytest.raises(asyncio.CancelledError):
                await pushing
            await engine.close()

    asyncio.run(run())


def test_commits_are_pushed_and_acknowledged() -> None:
    async def check(engine: Engine, replicator: Replicator, link: PlayedLink) -> None:
        await until(lambda: replicator.peers["b"].state == "connected")
        for _ in range(3):
            await engine.submit(Request([Increment(b"c", 1)]), 10)
        await until(lambda: replicator.peers["b"].vector == {OWN: 3})
        assert sum(blocks for _, _, blocks in link.stream.sent) == 3

    play(PlayedStream(), check)


def test_a_peer_behind_the_buffer_gets_heartbeats_that_say_so_and_no_more() -> None:
    """What it lacks is not in memory any more: it has to pull, and pushing must not spin."""

    async def check(engine: Engine, replicator: Replicator, link: PlayedLink) -> None:
        await until(lambda: len(link.stream.sent) >= 4)
        before = len(link.stream.sent)
        beats = 10
        await asyncio.sleep(beats * HEARTBEAT_MS / 1000)  # the rate itself is what is looked at
        assert len(link.stream.sent) - before <= 2 * beats
        assert all(blocks == 0 for _, _, blocks in link.stream.sent)
        assert link.stream.sent[-1][1] == 5, "it cannot see that it lacks something"
        assert engine.vector == {OWN: 5}
        assert replicator.peers["b"].vector == {}

    play(PlayedStream(), check, writes_before_restart=5)


def test_what_was_received_is_reported_with_the_next_heartbeat_and_not_block_by_block() -> None:
    """Else n nodes send each other n * n reports for every write of one of them."""

    async def check(engine: Engine, replicator: Replicator, link: PlayedLink) -> None:
        await until(lambda: replicator.peers["b"].state == "connected")
        other = MemoryNode(PEER.origin)
        before, blocks = len(link.stream.sent), 40
        started = time.monotonic()
        for _ in range(blocks):
            other.write(Increment(b"c", 1))
            await engine.receive([other.last_block])
            await asyncio.sleep(0)  # lets the pusher answer every commit, if it wants to
        beats = (time.monotonic() - started) / (HEARTBEAT_MS / 1000)
        assert len(link.stream.sent) - before <= beats + 2
        await until(lambda: link.stream.sent[-1][0].vector == {PEER.origin: blocks})

    play(PlayedStream(), check)


def test_a_node_that_writes_all_the_time_hears_of_its_wrong_clock_too() -> None:
    """Its messages always carry blocks: the answers to these have to tell the peer's time."""

    async def check(engine: Engine, replicator: Replicator, link: PlayedLink) -> None:
        peer, sent = replicator.peers["b"], link.stream.sent
        await until(lambda: peer.state == "connected")
        heartbeats = 1
        while heartbeats:  # one may slip in: then it says nothing about the others
            peer.clock_offset_ms, before = None, len(sent)
            seq = (await engine.submit(Request([Increment(b"c", 1)]), 10))[0].first_seq
            await until(lambda seq=seq: peer.vector.get(OWN) == seq)  # type: ignore[misc]
            heartbeats = sum(not blocks for _, _, blocks in sent[before:])
            offset_ms = peer.clock_offset_ms
        assert offset_ms is not None
        assert offset_ms < -1_000_000, "the played peer's clock says 1970"

    play(PlayedStream(), check)


def test_pushing_goes_on_when_the_peer_has_caught_up_by_pulling() -> None:
    async def check(engine: Engine, replicator: Replicator, link: PlayedLink) -> None:
        await until(lambda: len(link.stream.sent) >= 3)
        link.stream.has = 5
        await until(lambda: replicator.peers["b"].vector == {OWN: 5})
        await engine.submit(Request([Increment(b"c", 1)]), 10)
        await until(lambda: replicator.peers["b"].vector == {OWN: 6})
        assert sum(blocks for _, _, blocks in link.stream.sent) == 1

    play(PlayedStream(), check, writes_before_restart=5)


def test_answers_nobody_asked_for_end_the_stream_and_not_the_node() -> None:
    stream = PlayedStream()
    stream.answers = 2

    async def check(_: Engine, replicator: Replicator, link: PlayedLink) -> None:
        await until(lambda: replicator.peers["b"].state == "refused")
        assert "not asked" in replicator.peers["b"].problem
        await until(lambda: link.opened >= 2)

    play(stream, check)


def test_answers_that_name_more_origins_than_a_cluster_has_end_the_stream_and_not_the_node() -> (
    None
):
    stream = PlayedStream(others=dict.fromkeys(range(100, 101 + ORIGINS_MAX), 1))

    async def check(_: Engine, replicator: Replicator, link: PlayedLink) -> None:
        await until(lambda: replicator.peers["b"].state == "refused")
        assert "origins" in replicator.peers["b"].problem
        await until(lambda: link.opened >= 2)

    play(stream, check)


def test_a_broken_stream_is_opened_again() -> None:
    class Broken(PlayedStream):
        async def receive(self) -> tuple[Report, Hello | None]:
            raise LinkError("connection refused")

    async def check(_: Engine, replicator: Replicator, link: PlayedLink) -> None:
        await until(lambda: link.opened >= 2)
        assert replicator.peers["b"].state == "unreachable"
        assert replicator.peers["b"].problem == "connection refused"

    play(Broken(), check)


def test_a_report_tells_of_all_this_node_has_issued_also_what_is_not_pushed_yet() -> None:
    """Else a reader takes what everybody has for stable, while older writes are still to come
    that were made without it (trap 9); the place in the stream is told beside it.
    """

    async def check(engine: Engine, _replicator: Replicator, link: PlayedLink) -> None:
        sent = link.stream.sent
        await until(lambda: len(sent) >= 2)
        link.stream.answers = 0
        for _ in range(8):
            await engine.submit(Request([Increment(b"c", 1)]), 10)
        link.stream.answers = 1
        for _ in range(config.push_messages_max):
            link.stream.answer()
        await until(lambda: sent[-1][1] == 8)
        behind = [(report, position) for report, position, blocks in sent if blocks]
        assert any(position < report.vector[OWN] for report, position in behind)
        for report, position in behind:
            assert position <= report.vector[OWN]
        assert {report.vector[OWN] for report, position in behind if position > 4} == {8}

    config = replace(CONFIG, push_buffer_bytes=1 << 20, push_message_bytes=1)
    play(PlayedStream(), check, config=config)


def test_a_peer_that_lacks_much_when_it_comes_back_pulls_it() -> None:
    """It has begun to, from whom it reached first: pushing it too would double the bytes."""

    async def check(engine: Engine, _replicator: Replicator, link: PlayedLink) -> None:
        sent = link.stream.sent
        await until(lambda: len(sent) >= 2)
        link.stream.answers = 0
        for _ in range(20):
            await engine.submit(Request([Increment(b"c", 1)]), 10)
        link.stream.fail()
        link.stream.answers, before = 1, len(sent)
        await until(lambda: link.opened == 2 and sent[-1][1] == 20)
        assert all(blocks == 0 for _, _, blocks in sent[before:])

    config = replace(CONFIG, push_buffer_bytes=1 << 20, push_message_bytes=100)
    play(PlayedStream(takes=False), check, config=config)
