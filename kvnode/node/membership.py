"""This node's place in the cluster: its roster on disk, and what it owes to others' changes.

The roster (``core/roster.py``) is changed by one task, ``run``: merge what came, write it to disk,
only then show it (``raw`` goes into every hello and report). Three duties follow from a change:

- a newcomer on *this disk's* roster gets this node's admission. Not sooner: a report that went out
  meanwhile would cover more than the admission says and not name the newcomer;
- a larger set of forgotten origins is acknowledged: the replica's fence goes up first, and what is
  held is read between two rounds, so nothing above it can be on its way to disk;
- a joining node that has been admitted by all, and has what they had, serves from now on;
- where members hold two histories of a forgotten origin, each takes a stand (``contests.py``), and
  who then finds that its own is the losing one gives up its identity.

Places: *founding* (nobody of the configured cluster was met yet), *returning* (under a new
identity, until a member has said that the old one is not running), *joining*, *serving*,
*leaving*, *forgotten*. Only a serving node takes clients' calls, reads included: what a joining
node would show is not old, it is wrong.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Literal, Protocol

from kvnode.core.dots import Vector
from kvnode.core.errors import BlockError, Reason, Refused
from kvnode.core.roster import (
    Forget,
    Held,
    Member,
    Roster,
    decode_roster,
    encode_roster,
    roster_hash,
)
from kvnode.node.contests import Contests
from kvnode.node.founding import NO_CLUSTER
from kvnode.storage.interfaces import DiskFullError, StorageError

if TYPE_CHECKING:
    from kvnode.node.engine import Engine

logger = logging.getLogger(__name__)
Place = Literal["founding", "returning", "joining", "serving", "leaving", "forgotten"]

RECORD = b"roster"
RETRY_AFTER_S = 1.0
EXPELLED = (
    "the cluster has forgotten this node while it was away: save what only it has (kvnode export), "
    "then start it with an empty data directory"
)


HAS_LEFT = "has left the cluster: stop it; its data directory can be deleted"


class IdentityLost(Protocol):
    """Somebody else has written under this node's origin; ``forked``: and told others."""

    def __call__(self, reason: str, *, forked: bool = False) -> None: ...


class Membership:
    """The roster of one node and the task that advances it. All on the event loop."""

    def __init__(self, engine: Engine, name: str, roster: Roster, *, found: bool) -> None:
        """Go on with the roster on disk, or begin with ``roster`` (see ``founding_roster``).

        Args:
            found: serve although none of the other founders was met yet.
        """
        self.engine = engine
        self.origin = engine.replica.origin
        self.name = name
        stored = engine.log.get_record(RECORD)
        try:
            self.roster = decode_roster(stored) if stored else roster
        except BlockError as error:
            raise StorageError(f"the roster in the log is damaged: {error}") from error
        if not stored:
            engine.log.put_record(RECORD, encode_roster(roster))
        self.raw = encode_roster(self.roster)
        self.raw_hash = roster_hash(self.raw)
        self.returning_from = 0
        """The old origin, until a member has said that it is not running."""
        self.problem = ""
        """What keeps it from going on, if somebody has to do something about it."""
        self.leaving = False
        self.lost = ""
        """Why this node must not write under its origin any more."""
        self.seen_elsewhere_by: set[str] = set()
        """Peers that are connected to another process under this node's origin."""
        self.makes_again = False
        """Whether lost writes wait to be made again (``reissuing.py``)."""
        self.contests = Contests(engine)
        self.apart = ""
        """Why it stays apart from others although its history lost."""
        self.on_change: Callable[[], None] = lambda: None
        self.on_contest_lost: Callable[[str, Sequence[int]], None] = self._lose_contest
        """Told why, and the origins whose lost history this node has to issue again, too."""
        self._found = found
        self.wanted = self.roster
        """What is to be the roster as soon as it is on disk."""
        self._wake = asyncio.Event()
        self._serving = asyncio.Event()
        self._settled: list[asyncio.Future[None]] = []
        self._fence()

    # ---- questions

    @property
    def place(self) -> Place:
        """See the module."""
        roster, own = self.roster, self.origin
        if own in roster.forgets or self.problem == EXPELLED:
            return "forgotten"
        if self.returning_from or self.lost or own not in roster.members:
            return "returning"
        if roster.members[own].joining:
            return "joining"
        if len(roster.members) == 1 and len(roster.founders) > 1 and not self._found:
            return "founding"
        return "leaving" if self.leaving else "serving"

    @property
    def vector(self) -> Vector:
        """What this node has."""
        return self.engine.vector

    @property
    def uninvited(self) -> bool:
        """Whether it waits for somebody to take it in."""
        return self.roster.cluster_id == NO_CLUSTER

    @property
    def contested(self) -> frozenset[int]:
        """Origins with two histories, until it is decided which one stays."""
        return self.contests.running(self.wanted)

    def waits(self) -> str:
        """What the node waits for before it serves, in words; empty if it serves."""
        roster = self.roster
        match self.place:
            case "serving":
                return ""
            case "forgotten":
                forget = roster.forgets.get(self.origin)
                return HAS_LEFT if forget and forget.by == self.origin else EXPELLED
            case "leaving":
                return "this node is leaving the cluster"
            case "returning":
                return self.lost or self.problem or "asking whether this node runs elsewhere"
            case "founding":
                return "none of its peers has answered yet"
            case "joining" if self.uninvited:
                return self.problem or f"waits to be taken in: kvnode join {self.name}=HOST:PORT"
            case "joining" if self.contested:
                return "members hold two histories of one node, and one of them has to go first"
            case "joining":
                names = [
                    roster.members[one].name
                    for one in roster.waits_for(self.origin, self.engine.vector)
                ]
                return "has to catch up with " + ", ".join(names) if names else "is almost there"

    def refusal(self) -> Refused | None:
        """Why clients' calls are not taken now."""
        place = self.place
        if place == "serving":
            if not self.seen_elsewhere_by:
                return None
            return Refused(
                Reason.NODE_FENCED,
                f"{min(self.seen_elsewhere_by)} is connected to another process under this node's "
                "identity: one of the two is a copy and has to be stopped",
            )
        reason = Reason.FORGOTTEN if place == "forgotten" else Reason.JOINING
        waits = self.waits()
        state = waits if waits == HAS_LEFT else f"is {place}: {waits}"
        return Refused(reason, f"node {self.name!r} {state}")

    def counted(self) -> frozenset[int] | None:
        """Others whose reports decide what is stable and what may leave the log."""
        if self.place in ("founding", "returning") or self.uninvited or self.makes_again:
            return None
        return self.roster.counted(self.origin, self.engine.vector)

    # ---- changes

    def merge(self, raw: bytes) -> bool:
        """Take a roster from elsewhere; True if all of it is on this node's disk.

        Raises:
            Refused: it is not of this cluster, or no roster.
        """
        if raw == self.raw:
            return True
        try:
            other = decode_roster(raw)
        except BlockError as error:
            raise Refused(Reason.BAD_REQUEST, str(error)) from error
        mine = self.wanted
        if mine.cluster_id == NO_CLUSTER and self.origin in other.members:
            mine = Roster(other.cluster_id, members=mine.members)
        if mine.cluster_id != other.cluster_id:
            if other.cluster_id == NO_CLUSTER or mine.cluster_id == NO_CLUSTER:
                return False
            raise Refused(
                Reason.WRONG_CLUSTER,
                "that node belongs to another cluster of the same name: a new node is taken in "
                "with kvnode join, and nodes that found a cluster have to name each other",
            )
        self.want(mine.merge(other))
        return self.roster.cluster_id == other.cluster_id and (
            self.roster.merge(other) == self.roster
        )

    def displaced(self) -> None:
        """The cluster knows another origin under this name: wait to be taken in."""
        if self.place == "founding":
            row = self.roster.members[self.origin]
            logger.warning("the cluster knows %r under another identity: waiting", self.name)
            self.problem = (
                f"the cluster knows another node {self.name!r}: if this one lost its data, run "
                f"kvnode replace {self.name} at a member; else give it another name"
            )
            self.want(Roster(NO_CLUSTER, members={self.origin: row._replace(joining=True)}))

    def lose(self, reason: str, *, forked: bool = False) -> None:  # noqa: ARG002 - for the node
        """Take no more calls: somebody else has written under this node's origin."""
        if not self.lost:
            logger.error("no more calls are taken: %s", reason)
            self.lost = reason

    def _lose_contest(self, reason: str, _inherited: Sequence[int]) -> None:
        self.lose(reason, forked=True)

    def resume(self, retired: Sequence[int]) -> None:
        """Find which retired origin of this directory the cluster still knows as this node."""
        known = [old for old in retired if old in self.roster.members]
        if self.origin in self.roster.members or not known:
            return
        if known[-1] in self.roster.forgets:
            self.expelled()
        else:
            self.returning_from = known[-1]

    def expelled(self) -> None:
        """The origin this directory wrote under was forgotten while it was away."""
        self.problem = EXPELLED

    async def return_as(self, address: str) -> None:
        """Take the place of the retired origin, whose process is known not to run."""
        old, own = self.returning_from, self.origin
        self.returning_from = 0
        if self.uninvited:
            row = Member(1, self.name, address, joining=True)
            await self.change(lambda _: Roster(NO_CLUSTER, members={own: row}))
            return
        alone = self.roster.remaining() == [old]
        row = Member(1, self.name, address, joining=not alone)
        forget = Forget(self.engine.ambient.wall_ms(), own, own)

        def alter(roster: Roster) -> Roster:
            return roster.with_forget(old, forget).with_member(own, row)

        await self.change(alter)

    def want(self, roster: Roster) -> None:
        """Let this be the roster as soon as it is on disk."""
        if roster != self.wanted:
            self.wanted = roster
            self._fence()
            self._wake.set()

    async def change(self, alter: Callable[[Roster], Roster]) -> None:
        """Alter the roster; returns when the change is on disk and shown."""
        self.want(alter(self.wanted))
        settled: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._settled.append(settled)
        self._wake.set()
        await settled

    async def introduce_as(self, address: str) -> None:
        """Let others know where to reach this node."""
        row = self.wanted.members.get(self.origin)
        if row and row.address != address:
            row = row._replace(version=row.version + 1, address=address)
            await self.change(lambda roster: roster.with_member(self.origin, row))

    async def wait_serving(self) -> None:
        """Return when clients' calls are taken."""
        if self.place != "serving":
            await self._serving.wait()

    def look_again(self) -> None:
        """The vector grew: something may be due."""
        self._wake.set()

    async def run(self) -> None:
        """Advance until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            waiting, self._settled = self._settled, []
            while (roster := await self._next()) != self.roster:
                await self._keep(roster)
            for settled in waiting:
                if not settled.done():
                    settled.set_result(None)
            self._abide()

    def _abide(self) -> None:
        """Give up this identity if the history it builds on lost."""
        if self.place not in ("serving", "joining", "leaving"):
            return
        lost = self.contests.lost(self.roster)
        apart = lost.apart if lost else ""
        if apart and apart != self.apart:
            logger.error("%s", apart)
        self.apart = apart
        if lost and not apart:
            self.on_contest_lost(lost.reason, lost.inherited)

    async def _keep(self, roster: Roster) -> None:
        raw = encode_roster(roster)
        before = self.place
        while True:
            try:
                await self.engine.in_log(lambda log: log.put_record(RECORD, raw))
                break
            except DiskFullError as error:
                logger.error("the roster cannot be written: %s", error)
                await asyncio.sleep(RETRY_AFTER_S)
        self.roster, self.raw, self.raw_hash = roster, raw, roster_hash(raw)
        if self.wanted.cluster_id == roster.cluster_id:  # else it was taken in meanwhile
            self.want(self.wanted.merge(roster))
        self.contests.taken(roster)
        self._fence()
        if self.problem == EXPELLED and self.origin in roster.remaining():
            self.problem = ""  # others have let it come back before they heard of the forget
        if self.place == "serving":
            self._serving.set()
        if self.place != before:
            logger.info("this node is %s now", self.place)
        self.on_change()

    async def _next(self) -> Roster:
        """What is wanted, with this node's duties done."""
        roster, own = self.wanted, self.origin
        if roster.cluster_id == NO_CLUSTER or self.place in ("returning", "forgotten"):
            return roster
        if roster.acks.get(own, {}).keys() != roster.forgets.keys():
            await self.engine.between_rounds()
            if self.lost:
                return self.roster
            durable = self.engine.replica.durable
            held = {
                origin: Held(durable.vector.get(origin, 0), durable.chains.get(origin, bytes(16)))
                for origin in roster.forgets
            }
            roster = roster.with_acknowledgement(own, held)
        if self.contests.due(roster):
            self._fence()
            await self.engine.between_rounds()
            if self.lost:
                return self.roster
        roster = self.contests.take_stands(roster, votes=self._votes())
        for newcomer in self.roster.remaining():
            if (
                newcomer != own
                and self.roster.members[newcomer].joining
                and own not in roster.admissions.get(newcomer, {})
                and newcomer not in roster.forgets
                and roster.members[newcomer].joining
            ):
                roster = roster.with_admission(newcomer, own, self.engine.vector)
        row = self.roster.members.get(own)
        if (
            row is not None
            and row.joining
            and len(self.roster.remaining()) > 1
            and own in self.roster.remaining()
            and not self.roster.waits_for(own, self.engine.vector)
            and roster.members[own].joining
            and not self.contests.running(roster)
        ):
            done = row._replace(version=row.version + 1, joining=False)
            roster = roster.with_member(own, done)
        return roster

    def _fence(self) -> None:
        """Let the replica take no more of forgotten origins than a member has acknowledged."""
        self.engine.replica.limit(self.contests.limits(self.wanted))

    def _votes(self) -> bool:
        row = self.roster.members.get(self.origin)
        return row is not None and not row.joining
