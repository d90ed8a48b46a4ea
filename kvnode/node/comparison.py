"""Whether all members hold the same: one run of ``verify``, from one node's view.

Every round asks each member for its vector and digest as of a fresh checkpoint. Equal vectors and
equal digests end the run. Where digests differ, ranges are cut into parts until single keys are
left, sending only what differs: some 16 digests a level and 5 levels for a million keys.

A key that differs between two checkpoints says nothing as long as writes come: one side may just
lack some. So both sides tell what they hold of it *now*, with their vectors. The difference is
real if no write that only one of the two has touched the key; those writes are in the own log, as
soon as it has all the other side had. What cannot be told yet is looked at again, until the
deadline; then it is "moving", not "different".

Values that expire count as of one time for all (``storage/deadlines.py``): the latest horizon that
any member, this one included, has told. Whoever was asked as of an earlier one is asked again.

Damage is real at once. It shows where entries are read: single keys, or all with ``full``.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field

from kvnode.core.digest import Digest
from kvnode.core.dots import Vector, covers
from kvnode.core.errors import Reason, Refused
from kvnode.core.repair import common, touches
from kvnode.node.peers import Peer
from kvnode.node.verifier import Range, Verifier, digest_from, range_message
from kvnode.rpc.link import LinkError
from kvnode.rpc.replication_codec import vector_from_wire, vector_to_wire
from kvnode.rpc.verification_link import VerificationLink
from kvnode.storage.interfaces import Moved
from kvnode.v1 import verify_pb2 as pb

CALL_S = 10.0
"""For one answer: a checkpoint of a busy node may come before it."""
CHECK_S = 3_600.0
"""For reading all that a member has stored."""
PAUSE_S = 0.05
PAUSE_S_MAX = 1.0
ROUNDS_BEFORE_KEYS = 2
"""Vectors that differ by what is on its way are mostly equal a moment later."""
RANGES = 64
"""Of one question."""
KEYS = 128
AGREE_TRIES = 4
"""To find a time for all; horizons move once a checkpoint at most."""
CANDIDATES_MAX = 10_000
"""Keys looked at one by one; a member that lacks more is better left to catch up."""
LISTED_MAX = 1_000
"""Differences reported per member."""


@dataclass(slots=True)
class Member:
    """One peer as this run sees it."""

    peer: Peer
    link: VerificationLink
    verdict: pb.Verdict = pb.VERDICT_SILENT
    vector: Vector = field(default_factory=dict)
    digest: Digest = field(default_factory=lambda: Digest(0, 0))
    past: int = 0
    """As of when its digest is."""
    differences: dict[bytes, pb.Difference] = field(default_factory=dict)
    more: bool = False
    problem: str = ""
    check: pb.CheckReply | None = None

    def message(self, bounds: Range) -> pb.MemberVerdict:
        """For the wire."""
        listed = [self.differences[key] for key in sorted(self.differences)][:LISTED_MAX]
        moving = self.verdict is pb.VERDICT_MOVING
        return pb.MemberVerdict(
            name=self.peer.name,
            verdict=self.verdict,
            vector=vector_to_wire(self.vector),
            digest=range_message(*bounds, self.digest),
            differences=listed,
            more=self.more or len(self.differences) > len(listed),
            problem=self.problem or ("writes kept coming" if moving else ""),
            check=self.check,
        )


class Comparison:
    """One run over the keys of ``bounds``."""

    def __init__(
        self,
        verifier: Verifier,
        members: Sequence[Member],
        bounds: Range,
        deadline_s: float,
    ) -> None:
        self.members = members
        self.vector: Vector = {}
        self.digest = Digest(0, 0)
        self.past = 0
        self.check: pb.CheckReply | None = None
        self._verifier = verifier
        self._engine = verifier.engine
        self._bounds = bounds
        self._monotonic = verifier.engine.ambient.monotonic
        self._until = self._monotonic() + deadline_s

    async def run(self, *, full: bool) -> AsyncGenerator[str]:
        """Compare; yields a line of progress now and then."""
        if full:
            async with aclosing(self._check_all()) as lines:
                async for line in lines:
                    yield line
            self._until += CALL_S
        pause_s, rounds = PAUSE_S, 0
        while True:
            left = await self._round(rounds >= ROUNDS_BEFORE_KEYS)
            rounds += 1
            if not left or self._monotonic() >= self._until:
                return
            moving = ", ".join(member.peer.name for member in left)
            yield f"round {rounds}: writes on their way between this node and {moving}"
            await asyncio.sleep(min(pause_s, max(0.0, self._until - self._monotonic())))
            pause_s = min(2 * pause_s, PAUSE_S_MAX)

    async def _check_all(self) -> AsyncGenerator[str]:
        """Let all read their stores at once, so that damage is known; when it ends, nobody does."""
        lines: asyncio.Queue[str] = asyncio.Queue()

        async def own() -> None:
            async with aclosing(self._verifier.check()) as checks:
                async for check in checks:
                    self.check = check
                    lines.put_nowait(f"this node has read {check.keys} keys")

        async def other(member: Member) -> None:
            try:
                async with aclosing(member.link.check(CHECK_S)) as checks:
                    async for check in checks:
                        member.check = check
                        lines.put_nowait(f"{member.peer.name} has read {check.keys} keys")
            except LinkError as error:
                member.problem = str(error)
                return
            for key in member.check.damaged if member.check else ():
                member.differences[key] = pb.Difference(key=key, kind="damaged there")

        tasks = [asyncio.create_task(work) for work in (own(), *map(other, self.members))]
        working = asyncio.gather(*tasks)
        working.add_done_callback(lambda _: lines.put_nowait(""))
        try:
            while line := await lines.get():
                yield line
            await working
        finally:
            for task in tasks:
                task.cancel()
            # how they end is read, or asyncio logs it as an error that nobody has heard of
            await asyncio.gather(working, *tasks, return_exceptions=True)

    async def _round(self, keys_too: bool) -> list[Member]:  # noqa: FBT001
        """Ask all; those about whom nothing certain is known yet."""
        await self._engine.checkpoints.current()
        try:
            await self._ask_all()
        except Moved:
            return list(self.members)
        left = []
        for member in self.members:
            if member.differences:
                member.verdict = pb.VERDICT_DIFFERENT
            elif member.verdict is pb.VERDICT_SILENT:
                continue
            elif (member.vector, member.digest, member.past) == (
                self.vector,
                self.digest,
                self.past,
            ):
                member.verdict = pb.VERDICT_EQUAL
            else:
                if member.digest != self.digest and (keys_too or member.vector == self.vector):
                    await self._look_into(member)
                if member.verdict is pb.VERDICT_MOVING:
                    left.append(member)
        return left

    async def _ask_all(self) -> None:
        """Own digest and everybody's, as of one time; Moved if none was found."""
        for _ in range(AGREE_TRIES):
            found = await self._verifier.digests([self._bounds], self.past)
            self.vector, self.digest = found.tag.vector, found.digests[0]
            self.past = found.past
            await asyncio.gather(*map(self._ask, self.members))
            latest = max((member.past for member in self.members), default=0)
            if latest <= self.past:
                return
            self.past = latest
        raise Moved("horizons moved faster than the answers")

    async def _ask(self, member: Member) -> None:
        request = pb.CompareRequest(
            ranges=[range_message(*self._bounds, self.digest)],
            fresh=True,
            digests_only=True,
            as_of_ms=self.past,
        )
        try:
            reply = await member.link.compare(request, CALL_S)
        except LinkError as error:
            member.verdict, member.problem = pb.VERDICT_SILENT, str(error)
            return
        member.verdict, member.problem = pb.VERDICT_MOVING, ""
        if reply.ranges:
            member.vector = vector_from_wire(reply.vector)
            member.digest = digest_from(reply.ranges[0].digest)
            member.past = reply.as_of_ms

    async def _look_into(self, member: Member) -> None:
        """Find the keys that differ, and which of them really do."""
        try:
            candidates = await self._descend(member)
            for first in range(0, len(candidates), KEYS):
                await self.classify(member, candidates[first : first + KEYS])
        except (LinkError, Refused, Moved) as error:
            member.problem = str(error)
        if member.differences:
            member.verdict, member.problem = pb.VERDICT_DIFFERENT, ""

    async def _descend(self, member: Member) -> list[bytes]:
        """Keys that differed between two checkpoints."""
        found: set[bytes] = set()
        pending = [(*self._bounds, self.digest)]
        while pending and len(found) < CANDIDATES_MAX:
            batch, pending = pending[:RANGES], pending[RANGES:]
            request = pb.CompareRequest(
                ranges=[range_message(*each) for each in batch], as_of_ms=self.past
            )
            reply = await member.link.compare(request, CALL_S)
            if reply.moved or reply.as_of_ms != self.past:
                raise Moved("checkpoints came too fast")
            parts: list[pb.RangeDigest] = []
            for (start, end, digest), answer in zip(batch, reply.ranges, strict=False):
                if digest_from(answer.digest) == digest:
                    continue
                if answer.parts:
                    parts.extend(answer.parts)
                else:
                    own_keys = await self._verifier.keys(start, end, self.past)
                    found |= differing(own_keys, answer.keys)
            bounds = [(part.start, part.end) for part in parts]
            own = await self._verifier.digests(bounds, self.past)
            if own.past != self.past:
                raise Moved("checkpoints came too fast")
            pending += [
                (part.start, part.end, digest)
                for part, digest in zip(parts, own.digests, strict=True)
                if digest != digest_from(part)
            ]
        member.more = len(found) > CANDIDATES_MAX or bool(pending)
        return sorted(found)[:CANDIDATES_MAX]

    async def classify(self, member: Member, keys: Sequence[bytes]) -> None:
        """Note the keys whose difference no write on its way explains."""
        reply = await self._fetch(member, keys)
        here, there = self._engine.vector, vector_from_wire(reply.vector)
        pairs = [
            (self._verifier.digest_of(each.digest.key, reply.as_of_ms), each.digest)
            for each in reply.keys
        ]
        pairs = [
            (own, other)
            for own, other in pairs
            if own.damaged or other.damaged or own.sum != other.sum
        ]
        undamaged = frozenset(o.key for o, other in pairs if not (o.damaged or other.damaged))
        on_their_way = await self._touched(here, there, undamaged)
        for own, other in pairs:
            if own.key not in on_their_way:
                member.differences[own.key] = _difference(own, other, here, there)

    async def _fetch(self, member: Member, keys: Sequence[bytes]) -> pb.FetchReply:
        """What the member holds, as of a time that this node's horizon has not passed."""
        for _ in range(AGREE_TRIES):
            self.past = max(self.past, self._verifier.horizon)
            request = pb.FetchRequest(keys=keys, as_of_ms=self.past)
            reply = await member.link.fetch(request, CALL_S)
            if self._verifier.horizon <= reply.as_of_ms:
                return reply
        raise Refused(Reason.QUEUE_FULL, "checkpoints come too fast to compare keys between them")

    async def compare_keys(self, keys: Sequence[bytes]) -> list[str]:
        """Compare these keys only, once with each member; the names of those that are silent."""
        silent = []
        for member in self.members:
            try:
                for first in range(0, len(keys), KEYS):
                    await self.classify(member, keys[first : first + KEYS])
            except (LinkError, Refused) as error:
                member.problem = str(error)
                silent.append(member.peer.name)
        return silent

    async def _touched(self, here: Vector, there: Vector, keys: frozenset[bytes]) -> set[bytes]:
        """Of the keys, those that a write touched which only one of the two vectors covers."""
        if not keys or here == there:
            return set()
        while not covers(self._engine.vector, there):
            if self._monotonic() >= self._until:
                return set(keys)
            await asyncio.sleep(PAUSE_S)
        both = common(here, there)
        found: set[bytes] = set()
        for block in self._verifier.lacking(both):
            if block.last_seq <= max(here.get(block.origin, 0), there.get(block.origin, 0)):
                found |= touches(block, keys)
        return found


def differing(own: Sequence[pb.KeyDigest], other: Sequence[pb.KeyDigest]) -> set[bytes]:
    """The keys of two lists that are damaged, or not the same in both."""
    ours = {each.key: each.sum for each in own}
    theirs = {each.key: each.sum for each in other}
    damaged = {each.key for each in (*own, *other) if each.damaged}
    return damaged | {
        key for key in ours.keys() | theirs.keys() if ours.get(key) != theirs.get(key)
    }


def _difference(
    own: pb.KeyDigest, other: pb.KeyDigest, here: Mapping[int, int], there: Mapping[int, int]
) -> pb.Difference:
    kinds = {
        (False, False): "different",
        (True, False): "damaged here",
        (False, True): "damaged there",
        (True, True): "damaged on both",
    }
    found = pb.Difference(
        key=own.key,
        kind=kinds[own.damaged, other.damaged],
        here=vector_to_wire(here),
        there=vector_to_wire(there),
    )
    ours = {(dot.origin, dot.seq) for dot in own.dots}
    theirs = {(dot.origin, dot.seq) for dot in other.dots}
    found.only_here.extend(dot for dot in own.dots if (dot.origin, dot.seq) not in theirs)
    found.only_there.extend(dot for dot in other.dots if (dot.origin, dot.seq) not in ours)
    return found
