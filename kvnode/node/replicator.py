"""Replication of one node: a pusher per peer, pulls where something stays missing.

Whether to pull is decided by vectors alone. Each anti-entropy round compares what this node has
with what each peer had reported by the *round before*: what is still missing by then is not just
on its way. Origins whose own push stream is delivering are left to it. A push that shows a gap
pulls at once. One pull runs at a time, so that two peers do not send the same blocks.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Callable, Sequence

from kvnode.core.block import Block, decode_block
from kvnode.core.dots import Vector, covers
from kvnode.core.errors import BlockError, Reason, Refused
from kvnode.core.hlc import median_offset_ms
from kvnode.core.report import PROTOCOL, Hello, Lacking, Report
from kvnode.node.engine import Engine
from kvnode.node.peers import Peer
from kvnode.node.pusher import Pusher
from kvnode.node.retention import Retention
from kvnode.rpc.link import Link, LinkError, Pulled
from kvnode.storage.interfaces import BelowFloor

logger = logging.getLogger(__name__)
ALL = 2**63 - 1
"""In a vector of what not to send: nothing of that origin."""
PUSH_FRESH_HEARTBEATS = 3
NAMES_MAX = 4096
"""Origins with a name: each new data directory of a node makes one more."""


class Replicator:
    """Links, peers and loops; also what the replication service answers."""

    def __init__(self, engine: Engine, hello: Hello) -> None:
        self.engine = engine
        self.hello = hello
        config = engine.config
        self.peers = {name: Peer(name, address) for name, address in config.peers.items()}
        self._links: dict[str, Link] = {}
        self._pushers: list[Pusher] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._look = asyncio.Event()
        self._urgent: set[str] = set()
        self.closing = False
        self.instead_of_pulling: Callable[[], bool] = lambda: False
        """Asked each round: whether a snapshot is on its way that brings what pulls would."""
        self.retention = Retention(
            engine,
            acknowledged=self.acknowledged,
            stable=self.stable,
            members=lambda: {p.name: p.vector if p.heard else None for p in self.peers.values()},
        )
        engine.names[hello.origin] = hello.name
        engine.lww_refusal = self.lww_refusal

    def start(self) -> None:
        """Open the links and start the loops."""
        config = self.engine.config
        for peer in self.peers.values():
            link = Link(
                peer.address,
                reconnect_ms=config.reconnect_interval_ms,
                keepalive_ms=config.peer_timeout_ms,
            )
            pusher = Pusher(self, peer, link)
            self._links[peer.name] = link
            self._pushers.append(pusher)
            self._tasks.append(asyncio.create_task(pusher.run(), name=f"push {peer.name}"))
        if self._links:
            self._tasks.append(asyncio.create_task(self._repair(), name="anti-entropy"))
        self._tasks.append(asyncio.create_task(self.retention.run(), name="retention"))
        for task in self._tasks:
            task.add_done_callback(self._ended)

    async def close(self) -> None:
        """Stop the loops and close the links."""
        self.closing = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.gather(*(link.close() for link in self._links.values()))

    def committed(self) -> None:
        """Own blocks may be there to push."""
        for pusher in self._pushers:
            pusher.notify()

    def look_again(self) -> None:
        """Something changed: compare vectors now."""
        self._look.set()

    def meet(self, peer: Peer, hello: Hello) -> None:
        """A peer introduced itself.

        Raises:
            LinkError: it is none of ours.
        """
        try:
            self._check(hello)
        except Refused as error:
            raise LinkError(error.message, refused=True) from error
        if hello.name != peer.name:
            raise LinkError(
                f"at {peer.address} answers node {hello.name!r}, not {peer.name!r}", refused=True
            )
        self._identify(peer, hello)

    def learn(self, peer: Peer, report: Report) -> None:
        """Take a peer's report: what it has, what its clock says, whom it knows."""
        peer.learn(report)
        self.engine.stability.learn(peer.origin, report.vector, self.engine.vector)
        for origin, name in report.names.items():
            if len(self.engine.names) < NAMES_MAX:
                self.engine.names.setdefault(origin, name)
        own = self.engine.vector.get(self.hello.origin, 0)
        theirs = report.vector.get(self.hello.origin, 0)
        if theirs > own:
            self.engine.fence(
                f"{peer.name} has {theirs} writes of this node's origin "
                f"{self.hello.origin:016x}, which itself has {own}: an old copy of the data "
                "directory was put back, or it is in use twice. Start this node with an empty "
                "data directory; it gets all it had from its peers"
            )
        elif self.hello.origin in report.forks:
            self.engine.fence(
                f"{peer.name} has seen two histories of this node's origin "
                f"({report.forks[self.hello.origin]}): a copy of the data directory was in use. "
                "Start this node with an empty data directory; what it wrote on its own since the "
                "histories parted is only here (kvnode scan)"
            )

    def acknowledged(self) -> Vector | None:
        """What every peer has reported to have; None while one was not heard since the start."""
        peers = self.peers.values()
        if not all(peer.origin for peer in peers):
            return None
        return {
            origin: min([seq, *(peer.vector.get(origin, 0) for peer in peers)])
            for origin, seq in self.engine.vector.items()
        }

    def stable(self) -> Vector:
        """What every peer has, if this node has all that any of them has; else nothing.

        A peer may have written on an older vector than it has reported, and only what was written
        before the report can be missing here.
        """
        have = self.engine.vector
        if not all(covers(have, peer.vector) for peer in self.peers.values()):
            return {}
        return self.acknowledged() or {}

    def counted(self) -> frozenset[int] | None:
        """Whose reports stability waits for; None while a peer was never met.

        Every origin that has written counts, also one whose node has started over under another:
        some of its writes may be on their way still.
        """
        peers = {peer.origin for peer in self.peers.values()}
        if 0 in peers:
            return None
        return frozenset((peers | self.engine.vector.keys()) - {self.hello.origin})

    def clock_offset_ms(self) -> int:
        """Own wall clock against the median of all members heard lately.

        Peers that are silent have no say: a node that is cut off must not go on refusing writes
        for a clock that may have been set since.
        """
        lately = time.monotonic() - self.engine.config.peer_timeout_ms / 1000
        return median_offset_ms(
            [
                peer.clock_offset_ms
                for peer in self.peers.values()
                if peer.clock_offset_ms is not None and peer.heard > lately
            ]
        )

    def lww_refusal(self) -> str:
        """Why registers cannot be written now; empty if they can."""
        offset_ms, limit_ms = self.clock_offset_ms(), self.engine.config.clock_offset_ms_max
        if abs(offset_ms) <= limit_ms:
            return ""
        return (
            f"this node's clock is {offset_ms} ms off from its peers' (limit {limit_ms} ms): LWW "
            "writes would win or lose for no good reason. Set the clock, or use another node"
        )

    # ---- what the replication service calls

    def link_to(self, peer: Peer) -> Link:
        """The link to a peer."""
        return self._links[peer.name]

    def introduce(self, hello: Hello) -> Peer:
        """The peer that opened a stream to this node; Refused if it is none of ours."""
        self._check(hello)
        peer = self.peers.get(hello.name)
        if peer is None:
            raise Refused(
                Reason.WRONG_CLUSTER,
                f"node {hello.name!r} is not among the peers of {self.hello.name!r}: start that "
                f"with --peer {hello.name}=HOST:PORT",
            )
        self._identify(peer, hello)
        return peer

    async def pushed(self, peer: Peer, report: Report, raws: Sequence[bytes]) -> None:
        """Commit what a peer pushed; returns when it is synced."""
        gap = False
        if raws:
            blocks = self._decode(peer, raws)
            have = self.engine.vector.get(peer.origin, 0)
            gap = bool(blocks) and blocks[0].first_seq > have + 1
            await self.engine.receive(blocks)
        self.learn(peer, report)
        if self.engine.vector.get(peer.origin, 0) >= report.vector.get(peer.origin, 0):
            peer.pushed = time.monotonic()
        elif gap or not raws:
            peer.pushed = float("-inf")
            self._urgent.add(peer.name)
            self._look.set()

    def report(self) -> Report:
        """What this node has now."""
        engine = self.engine
        forks = dict(engine.replica.durable.forks)
        return Report(engine.vector, time.time_ns() // 1_000_000, dict(engine.names), forks)

    async def lacking(self, have: Vector, bytes_max: int) -> AsyncIterator[Lacking]:
        """Blocks that ``have`` lacks, in arrival order, a message's worth at a time."""
        config = self.engine.config
        left = min(bytes_max or config.pull_bytes, config.pull_bytes)
        have = dict(have)
        while True:
            log = self.engine.log
            try:
                blocks, complete = log.lacking(have, min(left, config.push_message_bytes))
            except BelowFloor:
                yield Lacking(floor=log.floor)
                return
            left -= sum(map(len, blocks))
            yield Lacking(blocks, complete)
            if complete or left <= 0:
                return
            for raw in blocks:
                block = decode_block(raw)
                have[block.origin] = block.last_seq

    # ---- loops

    async def _repair(self) -> None:
        config = self.engine.config
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(config.anti_entropy_interval_ms / 1000):
                    await self._look.wait()
            self._look.clear()
            if self.instead_of_pulling():
                continue
            for peer in list(self.peers.values()):
                have = self.vector_to_ask_with(peer)
                missing = peer.missing(have, now=peer.name in self._urgent)
                peer.wanted = dict(peer.vector)
                self._urgent.discard(peer.name)
                if not missing or peer.state != "connected" or peer.is_below_floor(have):
                    continue
                if await self._pull(peer, have):
                    pause_s = config.anti_entropy_interval_ms / 1000
                    peer.pulled(missing, self.engine.vector, pause_s)

    async def _pull(self, peer: Peer, have: Vector) -> bool:
        """Get what ``have`` lacks; whether all of it came."""
        try:
            async for pulled in self._messages(peer, have):
                if pulled.hello:
                    self.meet(peer, pulled.hello)
                blocks = self._decode(peer, pulled.blocks)
                if blocks:
                    await self.engine.receive(blocks)
                self.learn(peer, pulled.report)
                if pulled.floor is not None:
                    peer.floor = dict(pulled.floor)
                    self._look.set()
                    return False
                if pulled.complete:
                    return True
        except LinkError as error:
            logger.warning("pull from %s: %s", peer.name, error)
            return False
        except Refused as error:
            logger.warning("pull from %s put off: %s", peer.name, error.message)
            return False
        self._urgent.add(peer.name)  # there is more
        self._look.set()
        return False

    def _messages(self, peer: Peer, have: Vector) -> AsyncIterator[Pulled]:
        config = self.engine.config
        return self._links[peer.name].pull(
            self.hello, self.report(), have, config.pull_bytes, config.peer_timeout_ms / 1000
        )

    def vector_to_ask_with(self, peer: Peer) -> Vector:
        """What not to ask ``peer`` for: what is here, what push streams are bringing, what is
        refused, and what this peer sent in vain before.
        """
        have = dict(self.engine.vector)
        fresh = time.monotonic() - PUSH_FRESH_HEARTBEATS * (
            self.engine.config.heartbeat_interval_ms / 1000
        )
        for other in self.peers.values():
            if other.origin and other.pushed > fresh:
                have[other.origin] = ALL
        have.update(dict.fromkeys(self.engine.replica.durable.forks, ALL))
        have.update(dict.fromkeys(peer.paused(), ALL))
        return have

    # ---- checks

    def _check(self, hello: Hello) -> None:
        if hello.cluster != self.hello.cluster:
            raise Refused(
                Reason.WRONG_CLUSTER,
                f"node {hello.name!r} is of cluster {hello.cluster!r}, this one "
                f"({self.hello.name!r}) of {self.hello.cluster!r}",
            )
        if hello.protocol != PROTOCOL:
            raise Refused(
                Reason.WRONG_CLUSTER,
                f"node {hello.name!r} speaks replication protocol {hello.protocol}, this one "
                f"{PROTOCOL}: run the same version",
            )
        if not hello.origin or not hello.name:
            raise Refused(Reason.WRONG_CLUSTER, "a hello names a node and its origin id")
        if hello.origin == self.hello.origin:
            raise Refused(
                Reason.WRONG_CLUSTER,
                f"node {hello.name!r} has this node's origin id: the address leads back here, or "
                "a copy of this data directory is running",
            )

    def _identify(self, peer: Peer, hello: Hello) -> None:
        if peer.origin != hello.origin:
            peer.start_over(hello.origin)
        self.engine.names[hello.origin] = hello.name

    def _decode(self, peer: Peer, raws: Sequence[bytes]) -> list[Block]:
        blocks = []
        for raw in raws:
            try:
                blocks.append(decode_block(raw))
            except BlockError as error:
                logger.error("%s sent bytes that are no block: %s", peer.name, error)
                break  # the rest of this origin would only leave a gap
        return blocks

    def _ended(self, task: asyncio.Task[None]) -> None:
        if self.closing:
            return
        # A bug: a node that no longer replicates must not go on as if it did.
        error = None if task.cancelled() else task.exception()
        self.engine.on_failure(error or RuntimeError(f"the task {task.get_name()!r} ended"))
