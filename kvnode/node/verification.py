"""Verification of a node: the service's answers, and comparing with peers without being asked.

While vectors move, nothing is compared. While this node and a peer report the same vector and
nothing was written for an interval, they compare the digests of a checkpoint: a few hundred bytes,
once an interval, for what a peer has may change under a vector that does not: its directory was put
back while it was stopped. If they differ, the status names the peer until they are equal again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing

from kvnode.core.dots import Vector
from kvnode.core.errors import Reason, Refused
from kvnode.core.report import Hello
from kvnode.node.comparison import CALL_S, Comparison, Member
from kvnode.node.peers import Peer
from kvnode.node.repairs import Repairs
from kvnode.node.replicator import Replicator
from kvnode.node.verifier import Range, Verifier, digest_from, range_message
from kvnode.rpc.link import LinkError
from kvnode.rpc.replication_codec import vector_from_wire, vector_to_wire
from kvnode.rpc.verification_link import VerificationLink
from kvnode.storage.interfaces import Moved
from kvnode.v1 import verify_pb2 as pb

logger = logging.getLogger(__name__)
VERIFY_MS = 20_000
REPAIR_MS = 60_000
EVERYTHING: Range = (b"", b"")


class Verification:
    """What the Verification service calls."""

    def __init__(self, replicator: Replicator) -> None:
        self.diverged: dict[str, int] = {}
        """Peer -> since when (Unix ms) it has other data under this node's vector."""
        self._replicator = replicator
        self._engine = replicator.engine
        self._verifier = Verifier(replicator.engine)

    def close(self) -> None:
        """End the thread."""
        self._verifier.close()

    def problem(self) -> str:
        """For the status; empty if all is well as far as known."""
        if not self.diverged:
            return ""
        names = ", ".join(sorted(self.diverged))
        return f"other data than {names} under one version vector: run kvnode verify"

    # ---- for peers

    def introduce(self, hello: Hello) -> Peer:
        """Refused if it is none of ours; of a forgotten member nothing is taken or told here."""
        if hello.origin in self._replicator.membership.roster.forgets:
            raise Refused(Reason.FORGOTTEN, f"node {hello.name!r} was forgotten")
        return self._replicator.introduce(hello)

    async def compare(self, request: pb.CompareRequest) -> pb.CompareReply:
        """Digests of the last checkpoint."""
        return await self._verifier.compare(request)

    async def fetch(self, request: pb.FetchRequest) -> pb.FetchReply:
        """What is kept now."""
        return await self._verifier.fetch(request)

    async def heal(self, request: pb.HealRequest) -> pb.HealReply:
        """Replace a key's state."""
        logger.warning("a peer repairs a key: %r", request.key)
        return await self._verifier.heal(request)

    def check(self) -> AsyncGenerator[pb.CheckReply]:
        """Read all that is stored."""
        return self._verifier.check()

    # ---- for operators

    async def verify(self, request: pb.VerifyRequest) -> AsyncGenerator[pb.VerifyReply]:
        """Compare this node with every member."""
        bounds = (request.prefix, prefix_end(request.prefix))
        deadline_s = (request.deadline_ms or VERIFY_MS) / 1000
        comparison = Comparison(self._verifier, self._members(), bounds, deadline_s)
        async with aclosing(comparison.run(full=request.full)) as lines:
            async for line in lines:
                yield pb.VerifyReply(progress=line)
        yield self._verdict(comparison, bounds)

    async def repair(self, request: pb.RepairRequest) -> AsyncGenerator[pb.RepairReply]:
        """Heal what can be healed."""
        deadline_s = (request.deadline_ms or REPAIR_MS) / 1000
        repairs = Repairs(self._verifier, self._members(), deadline_s)
        lines = repairs.everything() if request.all else repairs.keys(list(request.keys))
        async with aclosing(lines):
            async for line in lines:
                yield pb.RepairReply(progress=line)
        for repaired in repairs.done:
            logger.warning("repair of %r: %s %s", repaired.key, repaired.outcome, repaired.detail)
        yield pb.RepairReply(keys=repairs.done, scanned=repairs.scanned)

    def _members(self) -> list[Member]:
        """All that the roster has left, also those that cannot be reached."""
        return [
            Member(peer, self._link(peer))
            for _, peer in sorted(self._replicator.connections.members().items())
        ]

    def _link(self, peer: Peer) -> VerificationLink:
        return VerificationLink(self._replicator.connections.link(peer), self._replicator.hello())

    def _verdict(self, comparison: Comparison, bounds: Range) -> pb.VerifyReply:
        digest = range_message(*bounds, comparison.digest)
        vector = vector_to_wire(comparison.vector)
        own = pb.MemberVerdict(
            name=self._replicator.membership.name,
            verdict=pb.VERDICT_EQUAL,
            vector=vector,
            digest=digest,
            check=comparison.check,
        )
        if comparison.check:
            own.verdict = pb.VERDICT_DIFFERENT if comparison.check.damaged else own.verdict
            own.differences.extend(
                pb.Difference(key=key, kind="damaged here") for key in comparison.check.damaged
            )
        members = [own, *(member.message(bounds) for member in comparison.members)]
        found = {member.verdict for member in members}
        worst = (pb.VERDICT_DIFFERENT, pb.VERDICT_MOVING, pb.VERDICT_SILENT, pb.VERDICT_EQUAL)
        return pb.VerifyReply(
            verdict=next(verdict for verdict in worst if verdict in found),
            vector=vector,
            digest=digest,
            members=members,
            bytes_moved=sum(member.link.bytes_moved for member in comparison.members),
        )

    # ---- without being asked

    async def run(self) -> None:
        """Compare with peers now and then, until cancelled."""
        before: Vector = {}
        while True:
            await asyncio.sleep(self._engine.config.compare_interval_ms / 1000)
            members = self._replicator.connections.members()
            for name in self.diverged.keys() - members.keys():  # forgotten since
                del self.diverged[name]
            vector = self._engine.vector
            if vector == before:
                for peer in members.values():
                    if peer.state == "connected" and peer.vector == vector:
                        await self._compare(peer)
            before = dict(vector)

    async def _compare(self, peer: Peer) -> None:
        """Compare whole digests with one peer."""
        link = self._link(peer)
        try:
            await self._engine.checkpoints.current()
            found = await self._verifier.digests([EVERYTHING])
            asked = range_message(*EVERYTHING, found.digests[0])
            request = pb.CompareRequest(ranges=[asked], fresh=True, digests_only=True)
            request.as_of_ms = found.past
            reply = await link.compare(request, CALL_S)
            if reply.as_of_ms > found.past:  # what that node has let go does not count here either
                found = await self._verifier.digests([EVERYTHING], reply.as_of_ms)
        except (LinkError, Refused, Moved) as error:
            logger.debug("not compared with %s: %s", peer.name, error)
            return
        if reply.moved or vector_from_wire(reply.vector) != found.tag.vector:
            return
        if reply.as_of_ms != found.past:
            return  # this node's horizon has moved meanwhile
        if digest_from(reply.ranges[0].digest) == found.digests[0]:
            if self.diverged.pop(peer.name, None) is not None:
                logger.warning("%s has the same data again", peer.name)
        elif peer.name not in self.diverged:
            self.diverged[peer.name] = self._engine.ambient.wall_ms()
            logger.error(
                "%s has other data under the same version vector: run kvnode verify", peer.name
            )


def prefix_end(prefix: bytes) -> bytes:
    """The first key behind all that begin with ``prefix``; empty if there is none."""
    stripped = prefix.rstrip(b"\xff")
    return stripped[:-1] + bytes([stripped[-1] + 1]) if stripped else b""
