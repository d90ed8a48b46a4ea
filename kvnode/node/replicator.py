"""Replication of one node: a pusher per peer, pulls where something stays missing.

Whether to pull is decided by vectors alone. Each anti-entropy round compares what this node has
with what each peer had reported by the *round before*: what is still missing by then is not just
on its way. Origins whose own push stream is delivering are left to it. A push that shows a gap
pulls at once. One pull runs at a time, so that two peers do not send the same blocks; but a peer
that sends nothing for the time of a round loses its turn: its pull goes on by itself, and the
others are asked without waiting for it. So a stopped peer costs the others one round, once.

Peers are the members of the roster, dialled where the configuration or else the roster says; they
come and go with it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from kvnode.core.block import Block, decode_block
from kvnode.core.dots import Dot, Vector, covers
from kvnode.core.errors import BlockError, Reason, Refused
from kvnode.core.hlc import median_offset_ms
from kvnode.core.receive import Verdict
from kvnode.core.replica import Round
from kvnode.core.report import Hello, Lacking, Meeting, Report
from kvnode.core.roster import decode_roster
from kvnode.node.engine import Engine
from kvnode.node.handshake import Handshake
from kvnode.node.membership import Membership
from kvnode.node.peers import Peer
from kvnode.node.pusher import Pusher
from kvnode.node.retention import Retention
from kvnode.rpc.link import Link, LinkError, Pulled
from kvnode.storage.interfaces import BelowFloor, DamagedBlock

logger = logging.getLogger(__name__)
ALL = 2**63 - 1
"""In a vector of what not to send: nothing of that origin."""
PUSH_FRESH_HEARTBEATS = 3
NAMES_MAX = 4096
"""Origins with a name: each new data directory of a node makes one more."""


class IdentityLost(Protocol):
    """Somebody else has written under this node's origin; ``forked``: and told others."""

    def __call__(self, reason: str, *, forked: bool = False) -> None: ...


@dataclass(slots=True)
class Connection:
    """What dials one peer."""

    link: Link
    pusher: Pusher
    task: asyncio.Task[None]


class Replicator:
    """Links, peers and loops; also what the replication service answers."""

    def __init__(
        self,
        engine: Engine,
        membership: Membership,
        handshake: Handshake,
        open_link: Callable[[Peer], Link] | None = None,
    ) -> None:
        """``open_link``: how to reach a peer; a channel to its address by default."""
        self.engine = engine
        self.membership = membership
        self.origin = membership.origin
        self.peers: dict[str, Peer] = {}
        self.closing = False
        self.on_identity_lost: IdentityLost = membership.lose
        self._handshake = handshake
        self._open_link = open_link or self._open_channel
        self._connections: dict[str, Connection] = {}
        self._closing_links: set[asyncio.Task[None]] = set()
        self._tasks: list[asyncio.Task[None]] = []
        self._look = asyncio.Event()
        self._urgent: set[str] = set()
        self._pulls: dict[str, asyncio.Task[None]] = {}
        """Peer -> the pull that runs; more than one only while peers hang."""
        self.rounds = 0
        """Anti-entropy rounds that ended with no pull still running."""
        self.instead_of_pulling: Callable[[], bool] = lambda: False
        """Asked each round: whether a snapshot is on its way that brings what pulls would."""
        self.retention = Retention(
            engine,
            acknowledged=self.acknowledged,
            stable=self.stable,
            members=self.members_heard,
        )
        self._started = False
        engine.names[self.origin] = membership.name
        engine.lww_refusal = self.lww_refusal
        membership.on_change = self.reconcile
        self.reconcile()

    def start(self) -> None:
        """Open the links and start the loops."""
        self._started = True
        self._tasks = [
            asyncio.create_task(self._repair(), name="anti-entropy"),
            asyncio.create_task(self.membership.run(), name="membership"),
            asyncio.create_task(self.retention.run(), name="retention"),
        ]
        for task in self._tasks:
            task.add_done_callback(self._ended)
        self.reconcile()
        self.membership.look_again()

    def _open_channel(self, peer: Peer) -> Link:
        config = self.engine.config
        return Link(
            peer.address,
            reconnect_ms=config.reconnect_interval_ms,
            keepalive_ms=config.peer_timeout_ms,
        )

    async def close(self) -> None:
        """Stop the loops and close the links."""
        self.closing = True
        tasks = [*self._tasks, *self._pulls.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for name in list(self._connections):
            self._disconnect(name)
        await asyncio.gather(*self._closing_links)

    def reconcile(self) -> None:
        """Let the peers be what the roster says."""
        wanted = self._addresses()
        for name in self.peers.keys() - wanted.keys():
            del self.peers[name]
            self._disconnect(name)
        for name, address in wanted.items():
            peer = self.peers.setdefault(name, Peer(name, address))
            if peer.address != address:
                peer.address = address
                self._disconnect(name)
            origin = self.membership.roster.named(name)
            if origin and peer.origin != origin:
                peer.start_over(origin)
            if self._started and address and name not in self._connections:
                self._connect(peer)
        self.look_again()

    def hello(self) -> Hello:
        """Who this node is."""
        return self._handshake.hello()

    def committed(self, round_: Round) -> None:
        """Push the round's own block. What was received is reported with the next heartbeat:
        told at once by everybody to everybody, a write would cost n * n messages.
        """
        if round_.own:
            for connection in self._connections.values():
                connection.pusher.notify()

    def unanswered(self, peer: Peer) -> int:
        """Messages pushed to the peer that it has not answered."""
        connection = self._connections.get(peer.name)
        return connection.pusher.unanswered if connection else 0

    def link(self, peer: Peer) -> Link | None:
        """The link to a peer; None if there is none, as its address is not known."""
        connection = self._connections.get(peer.name)
        return connection.link if connection else None

    def look_again(self) -> None:
        """Something changed: compare vectors now."""
        self._look.set()

    def meet(self, peer: Peer, hello: Hello) -> None:
        """A peer introduced itself.

        Raises:
            LinkError: it is none of ours.
        """
        try:
            self._handshake.check(hello)
        except Refused as error:
            raise LinkError(error.message, refused=True, reason=error.reason) from error
        if hello.name != peer.name:
            raise LinkError(
                f"at {peer.address} answers node {hello.name!r}, not {peer.name!r}", refused=True
            )
        if hello.origin in self.membership.roster.forgets:
            raise LinkError(f"node {hello.name!r} was forgotten", refused=True)
        self.membership.seen_elsewhere_by.discard(peer.name)
        self._identify(peer, hello)

    def turned_away(self, peer: Peer, error: LinkError) -> None:
        """A peer refused this node."""
        match error.reason:
            case Reason.NAME_TAKEN:
                self.membership.displaced()
            case Reason.ALREADY_RUNNING:
                self.membership.seen_elsewhere_by.add(peer.name)
            case Reason.FORGOTTEN:
                self.membership.expelled()

    def learn(self, peer: Peer, report: Report) -> None:
        """Take a peer's report: what it has, what its clock says, whom it knows."""
        peer.learn(report)
        for origin, name in report.names.items():
            if len(self.engine.names) < NAMES_MAX:
                self.engine.names.setdefault(origin, name)
        # A vector says nothing about what is stable to who does not know whom it was made among.
        if self.membership.merge(report.roster):
            self._hear(peer.origin, report.vector)
            for origin, vector in report.relayed.items():
                self._hear(origin, vector)
        self._check_own(peer, report)

    def _hear(self, origin: int, vector: Mapping[int, int]) -> None:
        if origin != self.origin and origin in self.membership.roster.members:
            self.engine.stability.learn(origin, vector, self.engine.vector)

    def _check_own(self, peer: Peer, report: Report) -> None:
        """Whether the peer has reason to know more of this node than it does itself."""
        own = self.engine.vector.get(self.origin, 0)
        theirs = report.vector.get(self.origin, 0)
        if theirs > own:
            self.on_identity_lost(
                f"{peer.name} has {theirs} writes of this node's origin {self.origin:016x}, which "
                f"itself has {own}: an old copy of the data directory was put back"
            )
        elif not covers(self.engine.vector, report.yours) and self._is_known_to(report):
            self.on_identity_lost(
                f"{peer.name} holds a report of this node {self.origin:016x} that tells of more "
                "than it has now: an old copy of the data directory was put back"
            )
        elif self.origin in report.forks:
            self.on_identity_lost(
                f"{peer.name} has seen two histories of this node's origin "
                f"({report.forks[self.origin]}): a copy of the data directory was in use",
                forked=True,
            )

    def _is_known_to(self, report: Report) -> bool:
        """Whether who sent it knows this identity: else ``yours``, which goes out before the first
        hello comes in, is about an earlier one of this node's name.
        """
        return bool(report.roster) and self.origin in decode_roster(report.roster).members

    def members_heard(self) -> dict[str, Vector | None]:
        """Name -> last report of every member the log is kept for; None if there is none."""
        roster, last = self.membership.roster, self.engine.stability.last
        counted = self.membership.counted()
        if counted is None:
            return dict.fromkeys(roster.unmet())
        return {roster.members[one].name: last(one) for one in sorted(counted)}

    def acknowledged(self) -> Vector | None:
        """What every member has reported to have; None while one was never met."""
        counted = self.membership.counted()
        if counted is None:
            return None
        return self.engine.stability.acknowledged(counted) if counted else self.engine.vector

    def stable(self) -> Vector:
        """What every member has, so that nothing concurrent to it can come."""
        return self.engine.stability.stable(self.engine.vector, self.membership.counted())

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

    def introduce(self, hello: Hello) -> Peer:
        """The peer that opened a stream to this node; Refused if it is none of ours."""
        self._handshake.check(hello)
        if hello.origin in self.membership.roster.forgets:
            return Peer(hello.name, "", origin=hello.origin)  # is answered, and not listened to
        peer = self.peers.setdefault(hello.name, Peer(hello.name, ""))
        lately = time.monotonic() - self.engine.config.peer_timeout_ms / 1000
        if (
            peer.origin == hello.origin
            and peer.streams.keys() - {hello.incarnation}
            and peer.heard > lately
        ):
            raise Refused(
                Reason.ALREADY_RUNNING,
                f"node {hello.name!r} is connected from another process under the same identity "
                f"{hello.origin:016x}: a copy of its data directory is in use, or it has just "
                "been restarted and will be let in soon",
            )
        self._identify(peer, hello)
        return peer

    def stream_opened(self, peer: Peer, hello: Hello) -> None:
        """A push stream of this peer is served."""
        peer.streams[hello.incarnation] = peer.streams.get(hello.incarnation, 0) + 1

    def stream_closed(self, peer: Peer, hello: Hello) -> None:
        """It has ended."""
        left = peer.streams.pop(hello.incarnation, 0) - 1
        if left > 0:
            peer.streams[hello.incarnation] = left

    def met(self, hello: Hello, about: Dot) -> Meeting:
        """What this node knows about an origin."""
        self._handshake.check_protocol(hello)
        origin = about[0]
        durable = self.engine.replica.durable
        return Meeting(
            self.hello(),
            (origin == self.origin and not self.membership.lost) or self.is_running(origin),
            durable.vector.get(origin, 0),
            durable.chains.get(origin, b""),
            self.engine.replica.chain_at(about) or b"",
        )

    def is_running(self, origin: int) -> bool:
        """Whether a process under this origin was heard lately."""
        lately = time.monotonic() - self.engine.config.peer_timeout_ms / 1000
        return any(peer.origin == origin and peer.heard > lately for peer in self.peers.values())

    async def pushed(self, peer: Peer, report: Report, raws: Sequence[bytes]) -> None:
        """Commit what a peer pushed; returns when it is synced."""
        if peer.origin in self.membership.roster.forgets:
            self.membership.merge(report.roster)
            return
        gap = False
        if raws:
            blocks = self._decode(peer, report, raws)
            have = self.engine.vector.get(peer.origin, 0)
            gap = bool(blocks) and blocks[0].first_seq > have + 1
            await self.engine.receive(blocks, peer.name)
        self.learn(peer, report)
        if self.engine.vector.get(peer.origin, 0) >= report.vector.get(peer.origin, 0):
            peer.pushed = time.monotonic()
        elif gap or not raws:
            peer.pushed = float("-inf")
            self._urgent.add(peer.name)
            self._look.set()

    def report(self, peer: Peer) -> Report:
        """What this node has now, for ``peer``."""
        engine = self.engine
        now = time.monotonic()
        relayed: Mapping[int, Vector] = {}
        if now >= peer.relay_due:
            peer.relay_due = now + engine.config.relay_interval_ms / 1000
            members = self.membership.roster.remaining()
            reports = {one: self.engine.stability.last(one) for one in members}
            relayed = {o: report for o, report in reports.items() if report and o != peer.origin}
        return Report(
            engine.vector,
            time.time_ns() // 1_000_000,
            dict(engine.names),
            dict(engine.replica.durable.forks),
            self.membership.raw,
            peer.vector,
            relayed,
        )

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
            except DamagedBlock as damage:  # the others' blocks go on
                self.engine.quarantine.own_log(damage)
                have[damage.end[0]] = ALL
                continue
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
                self.membership.look_again()
                continue
            for peer in list(self.peers.values()):
                if peer.name not in self._pulls:
                    await self._turn(peer)
            self.rounds += not self._pulls
            self.membership.look_again()

    async def _turn(self, peer: Peer) -> None:
        """Get what the peer has and this node lacks; returns early if the peer hangs."""
        have = self.vector_to_ask_with(peer)
        missing = peer.missing(have, now=peer.name in self._urgent)
        peer.wanted = dict(peer.vector)
        self._urgent.discard(peer.name)
        if not missing or peer.state != "connected" or peer.name not in self._connections:
            return
        if peer.is_below_floor(have):
            return
        over = asyncio.Event()
        pull = asyncio.create_task(self._pull(peer, have, missing, over), name=f"pull {peer.name}")
        self._pulls[peer.name] = pull

        def ended(task: asyncio.Task[None]) -> None:
            del self._pulls[peer.name]
            over.set()
            if task.cancelled() or task.exception():
                self._ended(task)

        pull.add_done_callback(ended)
        await over.wait()

    async def _pull(self, peer: Peer, have: Vector, missing: Vector, over: asyncio.Event) -> None:
        """Get what ``have`` lacks. ``over`` is set when the peer lets this node wait."""
        pause_s = self.engine.config.anti_entropy_interval_ms / 1000
        patience = asyncio.get_running_loop().call_later(pause_s, over.set)
        bad = False
        try:
            async for pulled in self._messages(peer, have):
                patience.cancel()  # what takes time now is this node itself
                if pulled.hello:
                    self.meet(peer, pulled.hello)
                blocks = self._decode(peer, pulled.report, pulled.blocks)
                bad = bad or len(blocks) < len(pulled.blocks)
                verdicts = await self.engine.receive(blocks, peer.name) if blocks else []
                bad = bad or Verdict.MALFORMED in verdicts
                if bad:
                    self._pause(peer, blocks, verdicts)
                self.learn(peer, pulled.report)
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

    def _messages(self, peer: Peer, have: Vector) -> AsyncIterator[Pulled]:
        config = self.engine.config
        return self._connections[peer.name].link.pull(
            self.hello(),
            self.report(peer),
            have,
            config.pull_bytes,
            config.peer_timeout_ms / 1000,
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
        replica = self.engine.replica
        have.update(dict.fromkeys(replica.durable.forks, ALL))
        for origin, limit in replica.limits.items():  # forgotten: no more than may be taken
            have[origin] = (
                ALL if have.get(origin, 0) >= limit else self.engine.vector.get(origin, 0)
            )
        have.update(dict.fromkeys(peer.paused(), ALL))
        return have

    # ---- peers

    def members(self) -> dict[str, Peer]:
        """The peers that are, or are to be, members."""
        return {name: self.peers[name] for name in self._addresses() if name in self.peers}

    def _addresses(self) -> dict[str, str]:
        """Where to dial whom; empty if that is not known. A returning node is nobody yet."""
        if self.membership.place == "returning":
            return {}
        roster, dialled = self.membership.roster, self.engine.config.peers
        addresses = {
            roster.members[origin].name: roster.members[origin].address
            for origin in roster.remaining()
            if origin != self.origin
        }
        addresses.update(dict.fromkeys(roster.unmet(), ""))
        return {name: dialled.get(name, address) for name, address in addresses.items()}

    def _connect(self, peer: Peer) -> None:
        link = self._open_link(peer)
        pusher = Pusher(self, peer, link)
        task = asyncio.create_task(pusher.run(), name=f"push {peer.name}")
        task.add_done_callback(self._ended)
        self._connections[peer.name] = Connection(link, pusher, task)

    def _disconnect(self, name: str) -> None:
        connection = self._connections.pop(name, None)
        if connection is None:
            return

        async def close() -> None:
            connection.task.remove_done_callback(self._ended)
            connection.task.cancel()
            await asyncio.gather(connection.task, return_exceptions=True)
            await connection.link.close()

        task = asyncio.create_task(close(), name=f"close {name}")
        self._closing_links.add(task)
        task.add_done_callback(self._closing_links.discard)

    def _identify(self, peer: Peer, hello: Hello) -> None:
        if peer.origin != hello.origin:
            peer.start_over(hello.origin)
        self.engine.names[hello.origin] = hello.name

    def _decode(self, peer: Peer, report: Report, raws: Sequence[bytes]) -> list[Block]:
        """The blocks in a message; bytes that are none are quarantined, and the rest goes on."""
        blocks: list[Block] = []
        for raw in raws:
            try:
                blocks.append(decode_block(raw))
            except BlockError as error:
                have = self.engine.vector
                missing = {o: seq for o, seq in report.vector.items() if seq > have.get(o, 0)}
                self.engine.quarantine.received(raw, str(error), peer=peer.name, awaits=missing)
        if len(blocks) < len(raws):
            self.engine.quarantine.settle(self.engine.vector)  # a bad copy of what is here already
        return blocks

    def _ended(self, task: asyncio.Task[None]) -> None:
        if self.closing:
            return
        # A bug: a node that no longer replicates must not go on as if it did.
        error = None if task.cancelled() else task.exception()
        self.engine.on_failure(error or RuntimeError(f"the task {task.get_name()!r} ended"))
