"""Anti-entropy of one node: pulls where something stays missing.

Whether to pull is decided by vectors alone. Each anti-entropy round compares what this node has
with what each peer had reported by the *round before*: what is still missing by then is not just
on its way. Origins whose own push stream is delivering are left to it. A push that shows a gap
pulls at once. One pull runs at a time, so that two peers do not send the same blocks; but a peer
that sends nothing for the time of a round loses its turn: its pull goes on by itself, and the
others are asked without waiting for it. So a stopped peer costs the others one round, once.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from typing import TYPE_CHECKING

from kvnode.core.block import Block
from kvnode.core.dots import Vector
from kvnode.core.errors import Refused
from kvnode.core.receive import Verdict
from kvnode.node.peers import Peer
from kvnode.node.quarantine import decode_sent
from kvnode.rpc.link import Link, LinkError, Pulled

if TYPE_CHECKING:
    from kvnode.node.replicator import Replicator

logger = logging.getLogger(__name__)
ALL = 2**63 - 1
"""In a vector of what not to send: nothing of that origin."""
PUSH_FRESH_HEARTBEATS = 3


class Repair:
    """The pull loop."""

    def __init__(self, replicator: Replicator) -> None:
        self.engine = replicator.engine
        self.rounds = 0
        """Anti-entropy rounds that ended with no pull still running."""
        self.instead_of_pulling: Callable[[], bool] = lambda: False
        """Asked each round: whether a snapshot is on its way that brings what pulls would."""
        self._replicator = replicator
        self._look = asyncio.Event()
        self._urgent: set[str] = set()
        self._pulls: dict[str, asyncio.Task[None]] = {}
        """Peer -> the pull that runs; more than one only while peers hang."""

    def look_again(self) -> None:
        """Something changed: compare vectors now."""
        self._look.set()

    def hurry(self, peer: Peer) -> None:
        """What this peer has reported is not on its way: pull it now."""
        self._urgent.add(peer.name)
        self._look.set()

    async def close(self) -> None:
        """Give up the pulls that run."""
        pulls = list(self._pulls.values())
        for pull in pulls:
            pull.cancel()
        await asyncio.gather(*pulls, return_exceptions=True)

    def vector_to_ask_with(self, peer: Peer) -> Vector:
        """What not to ask ``peer`` for: what is here, what push streams are bringing, what is
        refused, and what this peer sent in vain before.
        """
        have = dict(self.engine.vector)
        fresh = self.engine.ambient.monotonic() - PUSH_FRESH_HEARTBEATS * (
            self.engine.config.heartbeat_interval_ms / 1000
        )
        for other in self._replicator.peers.values():
            if other.origin and other.pushed > fresh:
                have[other.origin] = ALL
        replica = self.engine.replica
        have.update(dict.fromkeys(replica.durable.forks, ALL))
        for origin, limit in replica.limits.items():  # forgotten: no more than may be taken
            have[origin] = (
                ALL if have.get(origin, 0) >= limit else self.engine.vector.get(origin, 0)
            )
        have.update(dict.fromkeys(peer.paused(), ALL))
        return have

    async def run(self) -> None:
        """One anti-entropy round after the other, until cancelled."""
        config = self.engine.config
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(config.anti_entropy_interval_ms / 1000):
                    await self._look.wait()
            self._look.clear()
            if self.instead_of_pulling():
                self._replicator.membership.look_again()
                continue
            for peer in list(self._replicator.peers.values()):
                if peer.name not in self._pulls:
                    await self._turn(peer)
            self.rounds += not self._pulls
            self._replicator.membership.look_again()

    async def _turn(self, peer: Peer) -> None:
        """Get what the peer has and this node lacks; returns early if the peer hangs."""
        have = self.vector_to_ask_with(peer)
        missing = peer.missing(have, now=peer.name in self._urgent)
        peer.wanted = dict(peer.vector)
        self._urgent.discard(peer.name)
        link = self._replicator.connections.link(peer)
        if not missing or peer.state != "connected" or link is None:
            return
        if peer.is_below_floor(have):
            return
        over = asyncio.Event()
        pulling = self._pull(peer, link, have, missing, over)
        pull = asyncio.create_task(pulling, name=f"pull {peer.name}")
        self._pulls[peer.name] = pull

        def ended(task: asyncio.Task[None]) -> None:
            del self._pulls[peer.name]
            over.set()
            if task.cancelled() or task.exception():
                self._replicator.ended(task)

        pull.add_done_callback(ended)
        await over.wait()

    async def _pull(
        self, peer: Peer, link: Link, have: Vector, missing: Vector, over: asyncio.Event
    ) -> None:
        """Get what ``have`` lacks. ``over`` is set when the peer lets this node wait."""
        pause_s = self.engine.config.anti_entropy_interval_ms / 1000
        patience = asyncio.get_running_loop().call_later(pause_s, over.set)
        bad, origin = False, 0
        try:
            async for pulled in self._messages(peer, link, have):
                patience.cancel()  # what takes time now is this node itself
                if pulled.hello:
                    self._replicator.meet(peer, pulled.hello)
                    origin = pulled.hello.origin
                blocks = decode_sent(self.engine, peer, pulled.report, pulled.blocks)
                bad = bad or len(blocks) < len(pulled.blocks)
                verdicts = await self.engine.receive(blocks, peer.name) if blocks else []
                bad = bad or Verdict.MALFORMED in verdicts
                if bad:
                    self._pause(peer, blocks, verdicts)
                self._replicator.learn(peer, origin, pulled.report)
                if pulled.floor is not None:
                    peer.floor = dict(pulled.floor)
                    self._look.set()
                    return
                if pulled.complete:
                    peer.pulled(missing, self.engine.vector, pause_s)
                    return
                patience = asyncio.get_running_loop().call_later(pause_s, over.set)
        except LinkError as error:
            logger.warning("pull from %s: %s", peer.name, error)
            return
        except Refused as error:
            logger.warning("pull from %s put off: %s", peer.name, error.message)
            return
        finally:
            patience.cancel()
        self._urgent.add(peer.name)  # there is more
        self._look.set()

    def _pause(self, peer: Peer, blocks: Sequence[Block], verdicts: Sequence[Verdict]) -> None:
        """Stop asking the peer for what is stuck behind a bad block, so that the rest can come.

        A peer sends in causal order: what has to wait waits for the bad one, whose own bytes may
        not say whose it was.
        """
        for block, verdict in zip(blocks, verdicts, strict=True):
            if verdict in (Verdict.MALFORMED, Verdict.HELD, Verdict.DROPPED):
                peer.pause(block.origin, self.engine.config.anti_entropy_interval_ms / 1000)

    def _messages(self, peer: Peer, link: Link, have: Vector) -> AsyncIterator[Pulled]:
        config = self.engine.config
        return link.pull(
            self._replicator.hello(),
            self._replicator.report(peer),
            have,
            config.pull_bytes,
            config.peer_timeout_ms / 1000,
        )
