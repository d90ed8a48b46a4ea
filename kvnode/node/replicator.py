"""Replication of one node: what its peers tell it and are told.

Pushing is in ``pusher.py``, one per peer (``connections.py``); pulling what stays missing in
``repair.py``.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping

from kvnode.core.block import decode_block
from kvnode.core.dots import Dot, Vector, covers
from kvnode.core.errors import Reason, Refused
from kvnode.core.replica import Round
from kvnode.core.report import (
    Contradiction,
    Hello,
    Lacking,
    Meeting,
    Report,
    check_origins,
)
from kvnode.node.clocks import clock_offset_ms, lww_refusal
from kvnode.node.connections import Connections
from kvnode.node.engine import Engine
from kvnode.node.handshake import Handshake
from kvnode.node.intake import Intake
from kvnode.node.membership import IdentityLost, Membership
from kvnode.node.peers import Peer
from kvnode.node.pusher import Pusher
from kvnode.node.repair import ALL, Repair
from kvnode.node.retention import Retention
from kvnode.rpc.link import LinkError, OpenLink
from kvnode.storage.interfaces import BelowFloor, DamagedBlock

logger = logging.getLogger(__name__)
NAMES_MAX = 4096
"""Origins with a name: each new data directory of a node makes one more."""
NAME_LENGTH_MAX = 300
"""As in a roster. All of them together fit many times into a message."""


class Replicator:
    """What the replication service calls, and what is learned from peers on either side."""

    def __init__(
        self,
        engine: Engine,
        membership: Membership,
        handshake: Handshake,
        open_link: OpenLink | None = None,
    ) -> None:
        """``open_link``: how to reach an address; a channel by default."""
        self.engine = engine
        self.membership = membership
        self.origin = membership.origin
        self.closing = False
        self.on_identity_lost: IdentityLost = membership.lose
        self.on_report: Callable[[], None] = lambda: None
        self.handshake = handshake
        self._tasks: list[asyncio.Task[None]] = []
        self.connections = Connections(
            engine,
            membership,
            open_link=open_link,
            push=lambda peer, link: Pusher(self, peer, link),
            on_end=self.ended,
        )
        self.repair = Repair(self)
        self.retention = Retention(
            engine,
            acknowledged=self.acknowledged,
            stable=self.stable,
            members=self.members_heard,
        )
        engine.names[self.origin] = membership.name
        engine.lww_refusal = self.lww_refusal
        membership.on_change = self.reconcile
        self.reconcile()

    def start(self) -> None:
        """Open the links and start the loops."""
        self._tasks = [
            asyncio.create_task(self.repair.run(), name="anti-entropy"),
            asyncio.create_task(self.membership.run(), name="membership"),
            asyncio.create_task(self.retention.run(), name="retention"),
        ]
        for task in self._tasks:
            task.add_done_callback(self.ended)
        self.connections.start()
        self.look_again()
        self.membership.look_again()

    @property
    def peers(self) -> dict[str, Peer]:
        """By name; they come and go with the roster."""
        return self.connections.peers

    async def close(self) -> None:
        """Stop the loops and close the links."""
        self.closing = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.repair.close()
        await self.connections.close()

    def hello(self) -> Hello:
        """Who this node is."""
        return self.handshake.hello()

    def committed(self, round_: Round) -> None:
        """Push the round's own block. What was received is reported with the next heartbeat:
        told at once by everybody to everybody, a write would cost n * n messages.
        """
        if round_.own:
            self.connections.notify()

    def reconcile(self) -> None:
        """Let the peers be what the roster says."""
        self.connections.reconcile()
        self.membership.seen_elsewhere_by &= self.peers.keys()
        self.look_again()

    def look_again(self) -> None:
        """Something changed: compare vectors now."""
        self.repair.look_again()

    def meet(self, peer: Peer, hello: Hello) -> None:
        """A peer introduced itself.

        Raises:
            LinkError: it is none of ours.
        """
        try:
            self.handshake.check(hello)
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

    def learn(self, peer: Peer, origin: int, report: Report) -> None:
        """Take a peer's report: what it has, what its clock says, whom it knows.

        ``origin``: who it met when the stream began; of another one nothing is learned.

        Raises:
            Refused: with those before it, it names more origins than any cluster has.
        """
        if peer.origin != origin:
            return
        check_origins(peer.vector, report.vector)
        peer.learn(report, self.engine.vector)
        for other, name in report.names.items():
            if len(self.engine.names) < NAMES_MAX and len(name) <= NAME_LENGTH_MAX:
                self.engine.names.setdefault(other, name)
        # A vector says nothing about what is stable to who does not know whom it was made among.
        peer.shown_hash = report.roster_hash
        try:
            if report.roster and self.membership.merge(report.roster):
                peer.roster_hash = report.roster_hash
        except Refused as error:
            logger.error("the roster %s sent is of no use: %s", peer.name, error.message)
        if report.roster_hash and report.roster_hash in (
            peer.roster_hash,
            self.membership.raw_hash,
        ):
            self._hear(peer.origin, report.vector)
            for other, vector in report.relayed.items():
                self._hear(other, vector)
        self._check_own(peer, report)
        self.on_report()

    def _hear(self, origin: int, vector: Mapping[int, int]) -> None:
        """What a member has, whoever tells of it.

        Too much is nobody's fault here: others may have passed on what it never said. It then
        counts as not having reported any more, and is listened to all the same.
        """
        if origin == self.origin or origin not in self.membership.roster.members:
            return
        try:
            self.engine.stability.learn(origin, vector, self.engine.vector)
        except Refused as error:
            logger.debug("not taken as a report of %016x: %s", origin, error.message)

    def _check_own(self, peer: Peer, report: Report) -> None:
        """Whether the peer has reason to know more of this node than it does itself."""
        own = self.engine.vector.get(self.origin, 0)
        theirs = report.vector.get(self.origin, 0)
        if theirs > own:
            self.on_identity_lost(
                f"{peer.name} has {theirs} writes of this node's origin {self.origin:016x}, which "
                f"itself has {own}: an old copy of the data directory was put back"
            )
        elif report.your_origin == self.origin and not covers(self.engine.vector, report.yours):
            self.on_identity_lost(
                f"{peer.name} holds a report of this node {self.origin:016x} that tells of more "
                "than it has now: an old copy of the data directory was put back"
            )
        elif self._is_other_history(report.forks.get(self.origin)):
            self.on_identity_lost(
                f"{peer.name} has seen two histories of this node's origin "
                f"({report.forks[self.origin].reason}): a copy of the data directory was in use",
                forked=True,
            )

    def _is_other_history(self, fork: Contradiction | None) -> bool:
        """Whether what the peer has of this node's origin is not what this node wrote."""
        if fork is None or not fork.seq:
            return False
        return self.engine.replica.chain_at((self.origin, fork.seq)) != fork.chain

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
        """What every member has, so that nothing concurrent to it can come.

        Asked now and then, so here reports go that nobody asks for any more.
        """
        counted = self.membership.counted()
        if counted is not None:
            self.engine.stability.keep(counted)
        return self.engine.stability.stable(self.engine.vector, counted)

    def clock_offset_ms(self) -> int:
        """Own wall clock against the median of all members heard lately."""
        now_s = self.engine.ambient.monotonic()
        return clock_offset_ms(self.peers.values(), self.engine.config, now_s)

    def lww_refusal(self) -> str:
        """Why registers cannot be written now; empty if they can."""
        return lww_refusal(self.clock_offset_ms(), self.engine.config)

    # ---- what the replication service calls

    def introduce(self, hello: Hello) -> Peer:
        """The peer that opened a stream to this node; Refused if it is none of ours."""
        self.handshake.check(hello)
        if hello.origin in self.membership.roster.forgets:
            return Peer(
                hello.name, "", self.engine.ambient, hello.origin
            )  # is answered, and not listened to
        peer = self.peers.setdefault(hello.name, Peer(hello.name, "", self.engine.ambient))
        lately = self._lately()
        if peer.origin == hello.origin and any(
            heard > lately
            for incarnation, heard in peer.streams.items()
            if incarnation != hello.incarnation
        ):
            raise Refused(
                Reason.ALREADY_RUNNING,
                f"node {hello.name!r} is connected from another process under the same identity "
                f"{hello.origin:016x}: a copy of its data directory is in use, or it has just "
                "been restarted and will be let in soon",
            )
        self._identify(peer, hello)
        return peer

    def intake(self, peer: Peer, hello: Hello) -> Intake:
        """For the messages of a push stream this peer has begun with ``hello``."""
        return Intake(self, peer, hello)

    def met(self, hello: Hello, about: Dot) -> Meeting:
        """What this node knows about an origin."""
        self.handshake.check_protocol(hello)
        origin = about[0]
        durable = self.engine.replica.durable
        return Meeting(
            self.hello(),
            (origin == self.origin and not self.membership.lost) or self.is_running(origin),
            durable.vector.get(origin, 0),
            durable.chains.get(origin, b""),
            self.engine.replica.chain_at(about) or b"",
            self.engine.vector,
        )

    def is_running(self, origin: int) -> bool:
        """Whether a process under this origin was heard lately."""
        late = self._lately()
        return any(peer.origin == origin and peer.heard > late for peer in self.peers.values())

    def report(self, peer: Peer, names_told: int = 0) -> Report:
        """What this node has now, for ``peer``, which was told so many names before."""
        engine = self.engine
        now = engine.ambient.monotonic()
        relayed: Mapping[int, Vector] = {}
        yours: Vector = {}
        if now >= peer.relay_due:
            peer.relay_due = now + engine.config.relay_interval_ms / 1000
            others = [one for one in self.membership.roster.remaining() if one != peer.origin]
            relayed = {one: last for one in others if (last := engine.stability.last(one))}
            yours = self._told_by(peer)
        return Report(
            engine.vector,
            engine.ambient.wall_ms(),
            dict(engine.names) if len(engine.names) != names_told else {},
            self._contradictions(),
            b"" if peer.shown_hash == self.membership.raw_hash else self.membership.raw,
            self.membership.raw_hash,
            yours,
            relayed,
            peer.origin,
        )

    def _lately(self) -> float:
        return self.engine.ambient.monotonic() - self.engine.config.peer_timeout_ms / 1000

    def _told_by(self, peer: Peer) -> Vector:
        """All that the peer ever said it had, also before this node's last start."""
        told = dict(self.engine.stability.last(peer.origin) or {})
        return told | {o: max(seq, told.get(o, 0)) for o, seq in peer.vector.items()}

    def _contradictions(self) -> dict[int, Contradiction]:
        durable = self.engine.replica.durable
        return {
            origin: Contradiction(
                reason, durable.vector.get(origin, 0), durable.chains.get(origin, b"")
            )
            for origin, reason in durable.forks.items()
        }

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

    def _identify(self, peer: Peer, hello: Hello) -> None:
        if peer.origin != hello.origin:
            peer.start_over(hello.origin)
        self.engine.names[hello.origin] = hello.name

    def ended(self, task: asyncio.Task[None]) -> None:
        """A loop is over: the node stops, unless it is stopping."""
        if self.closing:
            return
        # A bug: a node that no longer replicates must not go on as if it did.
        error = None if task.cancelled() else task.exception()
        self.engine.on_failure(error or RuntimeError(f"the task {task.get_name()!r} ended"))
