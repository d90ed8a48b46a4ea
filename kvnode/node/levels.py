"""What a call may ask for beyond its own node: disks for a write, a past for a read.

**Durability.** A write is committed here first, always; a level only delays its acknowledgement
until enough members have *reported* it. A report covers what is synced and applied at its sender
(``core/report.py``), so each counts as one more disk. Members are those of the roster, and the
founders that were never met; the node itself is one of them.

**Sessions.** A session's vector names all that its client has written and read. A node that covers
it shows all that, and gives its next write a later place than all that on every replica, because
blocks are applied behind what their origin had (``core/receive.py``). So the four session
guarantees come from one rule: wait until the vector is covered, then serve.

**Consistency.** A read at quorum asks the members for their vectors and waits until this node
covers those of more than half of them. A write acknowledged at quorum before the read was on more
than half of them; two such halves share a member; so the read shows it. No value is fetched from
anybody: what is missing comes on the usual ways, and stays. Members that are still joining count
for a write, whose disk they are, and not for a read: only when they serve they have what was
acknowledged among fewer members. For the same reason a write asks for more than half of the members
there are when it is committed.

All waits end at a deadline. Those who wait cost nothing but their place; there are at most
``WAITING_MAX``. They are looked at when something was committed here and when a peer has reported.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from heapq import heapify, heappop, heappush
from itertools import count
from typing import NamedTuple

from kvnode.core.dots import Dot, Vector, covers
from kvnode.core.errors import Reason, Refused
from kvnode.core.report import Hello
from kvnode.node.engine import Engine
from kvnode.node.peers import Peer
from kvnode.node.replicator import Replicator
from kvnode.rpc.link import LinkError

WAITING_MAX = 10_000
"""Calls that wait for a level: a second's work, as much as may wait for the disk."""
GIVEN_UP_MAX = 64
"""Calls that are kept although they gave up, beside as many as still wait. Where nobody commits or
reports, and behind one who waits for long, nothing else lets go of them."""
NAMED_MAX = 8
"""Origins that a message names."""


class Freshness(NamedTuple):
    """How much of what a member took is here."""

    node: str
    age_s: float | None
    """All it took until so long ago is here; None: it was not heard of since this node started."""


class Levels:
    """Waits for other members on behalf of calls. All methods run on the event loop."""

    def __init__(self, engine: Engine, replicator: Replicator) -> None:
        self._engine = engine
        self._replicator = replicator
        self._behind: list[tuple[Vector, asyncio.Future[None]]] = []
        self._storing: dict[tuple[int, int], list[tuple[int, int, asyncio.Future[None]]]] = {}
        """(origin, members) -> heap of (seq, tie-breaker, who waits for so many to have it)."""
        self._ties = count()
        self._waiting = 0

    @property
    def kept(self) -> int:
        """Calls that are remembered, also those that have given up."""
        return len(self._behind) + sum(map(len, self._storing.values()))

    # ---- writes

    @property
    def members(self) -> int:
        """How many disks there are, this node's among them."""
        roster = self._replicator.membership.roster
        return max(1, len(roster.remaining()) + len(roster.unmet()))

    def majority(self) -> int:
        """More than half of the members."""
        return self.members // 2 + 1

    def check(self, replicas: int) -> None:
        """Refused (BAD_REQUEST) if there are not so many members."""
        if replicas > self.members:
            raise Refused(
                Reason.BAD_REQUEST,
                f"{replicas} members are to have the write on disk and the cluster has "
                f"{self.members}",
                limit=str(self.members),
            )

    def stored_by(self, dot: Dot) -> list[str]:
        """Names of the members known to have it on disk, this node first."""
        origin, seq = dot
        membership = self._replicator.membership
        names = [membership.name] if self._engine.vector.get(origin, 0) >= seq else []
        return names + sorted(
            membership.roster.members[member].name
            for member, has in self._others(origin).items()
            if has >= seq
        )

    async def stored(self, dot: Dot, replicas: int, until: float) -> bool:
        """Wait until so many members have it on disk; whether that was before ``until``."""
        origin, seq = dot
        if self._stored_up_to(origin, replicas) >= seq:
            return True
        waiter = self._waiter()
        heap = self._storing.setdefault((origin, replicas), [])
        if len(heap) > 2 * self._waiting + GIVEN_UP_MAX:
            heap[:] = [each for each in heap if not each[2].done()]
            heapify(heap)
        heappush(heap, (seq, next(self._ties), waiter))
        return await self._wait(waiter, until)

    # ---- sessions and reads

    async def covered(self, after: Vector, until: float) -> None:
        """Wait until this node has all that the vector names; Refused (BEHIND).

        Of a forgotten node nothing will come any more beyond what the members agreed on.
        """
        after = self._obtainable(after)
        if covers(self._engine.vector, after):
            return
        waiter = self._waiter()
        if len(self._behind) > 2 * self._waiting + GIVEN_UP_MAX:
            self._behind = [each for each in self._behind if not each[1].done()]
        self._behind.append((after, waiter))
        self._replicator.look_again()
        if not await self._wait(waiter, until):
            raise Refused(
                Reason.BEHIND,
                f"this node does not have {self._named(after)} yet, which the call has to see: "
                "try again, or another node",
                missing=self._named(after),
            )

    async def gathered(self, replicas: int, until: float) -> None:
        """Wait until this node has all that so many members, itself among them, have now.

        Raises:
            Refused: BEHIND, with who answered and what is missing.
        """
        replicator = self._replicator
        peers = replicator.connections.members()
        asked = {
            asyncio.create_task(self._have(peer, until), name=f"ask {peer.name}"): peer.name
            for peer in peers.values()
        }
        answered: dict[str, Vector] = {}
        try:
            waiting = set(asked)
            while len(answered) < replicas - 1 and waiting:
                done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                answered |= {
                    asked[task]: vector for task in done if (vector := task.result()) is not None
                }
        finally:
            for task in asked:
                task.cancel()
        if len(answered) < replicas - 1:
            silent = sorted(peers.keys() - answered.keys())
            raise Refused(
                Reason.BEHIND,
                f"{len(answered) + 1} of {self.members} members answered, {replicas} have to: "
                f"not {', '.join(silent) or 'members that were never met'} (silent, or joining)",
                silent=",".join(silent),
            )
        everything: Vector = {}
        for vector in answered.values():
            for origin, seq in vector.items():
                everything[origin] = max(seq, everything.get(origin, 0))
        await self.covered(everything, until)

    def freshness(self) -> list[Freshness]:
        """Of each member, this node first."""
        membership = self._replicator.membership
        now = self._engine.ambient.monotonic()
        found = [Freshness(membership.name, 0.0)]
        for name, peer in sorted(self._replicator.connections.members().items()):
            found.append(Freshness(name, now - peer.current if peer.current else None))
        return found

    # ---- when something has changed

    def look(self) -> None:
        """Answer those whose wait is over. Called for every commit and every report."""
        if self._behind:
            vector = self._engine.vector
            still = []
            for after, waiter in self._behind:
                if waiter.done():
                    continue
                if covers(vector, after):
                    waiter.set_result(None)
                else:
                    still.append((after, waiter))
            self._behind = still
        for (origin, replicas), heap in list(self._storing.items()):
            reached = self._stored_up_to(origin, replicas)
            while heap and (heap[0][0] <= reached or heap[0][2].done()):
                waiter = heappop(heap)[2]
                if not waiter.done():
                    waiter.set_result(None)
            if not heap:
                del self._storing[origin, replicas]

    def _waiter(self) -> asyncio.Future[None]:
        if self._waiting >= WAITING_MAX:
            raise Refused(Reason.QUEUE_FULL, f"{self._waiting} calls wait for other members")
        return asyncio.get_running_loop().create_future()

    async def _wait(self, waiter: asyncio.Future[None], until: float) -> bool:
        self._waiting += 1
        try:
            async with asyncio.timeout_at(until):
                await waiter
        except TimeoutError:
            return False
        finally:
            self._waiting -= 1
        return True

    def _others(self, origin: int) -> dict[int, int]:
        """Member -> the last write of ``origin`` that it is known to have on disk.

        Of this node's own, nothing once another history of them is known: what others have under
        the same numbers may be that one's.
        """
        replicator = self._replicator
        membership, last = replicator.membership, self._engine.stability.last
        if origin == membership.origin and membership.lost:
            return {}
        by_origin = {peer.origin: peer.vector for peer in replicator.peers.values()}
        nothing: Mapping[int, int] = {}
        return {
            member: max(
                by_origin.get(member, nothing).get(origin, 0),
                (last(member) or nothing).get(origin, 0),
            )
            for member in membership.roster.remaining()
            if member != membership.origin
        }

    def _stored_up_to(self, origin: int, replicas: int) -> int:
        """The last write of ``origin`` that so many members are known to have on disk."""
        known = [self._engine.vector.get(origin, 0), *self._others(origin).values()]
        known.sort(reverse=True)
        return known[replicas - 1] if replicas <= len(known) else 0

    async def _have(self, peer: Peer, until: float) -> Vector | None:
        """What a member has now; None if it does not answer in time."""
        link = self._replicator.connections.link(peer)
        left_s = until - asyncio.get_running_loop().time()
        if link is None or left_s <= 0:
            return None
        hello: Hello = self._replicator.hello()
        try:
            meeting = await link.meet(hello, (self._replicator.origin, 0), left_s)
        except LinkError:
            return None  # the caller says who was silent
        member = self._replicator.membership.roster.members.get(peer.origin)
        if meeting.hello.origin != peer.origin or member is None or member.joining:
            return None
        return dict(meeting.vector)

    def _obtainable(self, after: Vector) -> Vector:
        roster = self._replicator.membership.roster
        if roster.forgets.keys().isdisjoint(after):
            return after
        pending = roster.pending(self._engine.vector)
        ended = {one: roster.limit(one) for one in roster.forgets if one not in pending}
        return {origin: min(seq, ended.get(origin, seq)) for origin, seq in after.items()}

    def _named(self, after: Vector) -> str:
        """What of the vector is not here, for people."""
        names, vector = self._engine.names, self._engine.vector
        missing = [
            f"{names.get(origin) or f'{origin:016x}'}:{vector.get(origin, 0) + 1}-{seq}"
            for origin, seq in sorted(after.items())
            if vector.get(origin, 0) < seq
        ]
        more = len(missing) - NAMED_MAX
        return ", ".join(missing[:NAMED_MAX]) + (f" and {more} more" if more > 0 else "")
