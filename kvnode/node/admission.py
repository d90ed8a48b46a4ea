"""Changes of the membership that an operator asks for: join, replace, forget, leave.

Each is a check, a preview in words, and one change of this node's roster (``core/roster.py``),
which then spreads by itself. Nothing here waits for other nodes but ``leave``.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from kvnode.core.dots import covers, missing_ops
from kvnode.core.errors import BlockError, Reason, Refused
from kvnode.core.report import Hello
from kvnode.core.roster import Forget, Member, Roster, decode_roster
from kvnode.node.founding import NO_CLUSTER
from kvnode.rpc.link import LinkError

if TYPE_CHECKING:
    from kvnode.node.replicator import Replicator

HANDOVER_LOOK_S = 0.05
"""How often ``leave`` looks whether the others have everything, ``replace`` whether the old node
was heard again."""


class Admission:
    """The operator's hand on one node's roster."""

    def __init__(self, replicator: Replicator) -> None:
        self._replicator = replicator
        self._membership = replicator.membership
        self._config = replicator.engine.config
        self._ambient = replicator.engine.ambient

    async def join(self, name: str, address: str, *, preview: bool) -> list[str]:
        """Take in the node that waits at ``address``; Refused if that cannot be."""
        self._check_serving()
        roster = self._membership.roster
        hello = await self._newcomer(name, address)
        if roster.named(name):
            raise Refused(
                Reason.NAME_TAKEN,
                f"there is a member {name!r} already: choose another name, or kvnode replace "
                f"{name} if that one has lost its data",
            )
        lines = [
            f"node {name} ({hello.origin:016x}) at {address} becomes a member",
            *self._what_a_newcomer_does(roster, leaving_out=0),
        ]
        if not preview:
            row = Member(1, name, address, joining=True)
            await self._membership.change(lambda now: now.with_member(hello.origin, row))
        return lines

    async def replace(self, name: str, address: str, *, preview: bool) -> list[str]:
        """Let the node that waits at ``address`` take the place of member ``name``."""
        self._check_serving()
        roster = self._membership.roster
        old = self._named(name)
        address = address or roster.members[old].address
        hello = await self._newcomer(name, address)
        if not await self._has_stopped(old):
            raise Refused(
                Reason.ALREADY_RUNNING,
                f"node {name!r} ({old:016x}) is running: stop it first, or kvnode forget {name}",
            )
        lines = [
            f"node {name} ({hello.origin:016x}) at {address} takes the place of {old:016x}",
            *self._what_is_lost(old),
            *self._what_a_newcomer_does(roster, leaving_out=old),
        ]
        if not preview:
            forget = Forget(self._ambient.wall_ms(), self._membership.origin, hello.origin)
            row = Member(1, name, address, joining=True)
            await self._membership.change(
                lambda now: now.with_forget(old, forget).with_member(hello.origin, row)
            )
        return lines

    async def forget(self, name: str, *, preview: bool) -> list[str]:
        """Take nothing more from member ``name``, for good."""
        self._check_serving()
        if name in self._membership.roster.unmet():
            return await self._forget_unmet(name, preview=preview)
        old = self._named(name)
        if old == self._membership.origin:
            raise Refused(
                Reason.BAD_REQUEST,
                f"node {name!r} cannot forget itself: kvnode leave, or ask another member",
            )
        lines = [f"node {name} ({old:016x}) is no member any more, for good"]
        if self._is_running(old):
            silent_s = self._ambient.monotonic() - self._last_heard(old)
            lines.append(
                f"it was heard {silent_s:.1f} s ago; if it runs, it stops serving as soon as it "
                "hears of it"
            )
        lines += self._what_is_lost(old)
        lines.append(
            "collection goes on without it when all members have acknowledged: "
            + self._members_besides(old)
        )
        if not preview:
            forget = Forget(self._ambient.wall_ms(), self._membership.origin, 0)
            await self._membership.change(lambda now: now.with_forget(old, forget))
        return lines

    async def _forget_unmet(self, name: str, *, preview: bool) -> list[str]:
        """A founder that never came: its name is taken by an origin that nobody has."""
        if not preview:
            origin = self._ambient.draw_id()
            forget = Forget(self._ambient.wall_ms(), self._membership.origin, 0)
            row = Member(1, name, "", joining=False)
            await self._membership.change(
                lambda now: now.with_member(origin, row).with_forget(origin, forget)
            )
        return [
            f"node {name} was to found the cluster and was never met: nobody waits for it any more",
            "to take it in later: start it with --join, then kvnode join",
        ]

    async def leave(self, *, preview: bool) -> list[str]:
        """Hand over everything, then be forgotten."""
        membership = self._membership
        self._check_serving()
        own = membership.origin
        others = [one for one in membership.roster.remaining() if one != own]
        if not others:
            raise Refused(Reason.BAD_REQUEST, "this node is the only member: just stop it")
        lines = [
            f"node {membership.name} takes no more calls, hands over what it has to "
            f"{self._members_besides(own)}, and is forgotten",
            "then it can be stopped and its data directory deleted",
        ]
        if preview:
            return lines
        membership.leaving = True
        try:
            lines.append(await self._hand_over())
        except BaseException:
            membership.leaving = False
            raise
        forget = Forget(self._ambient.wall_ms(), own, 0)
        await membership.change(lambda now: now.with_forget(own, forget))
        lines.append(await self._tell())
        return lines

    # ---- parts

    async def _tell(self) -> str:
        """Wait until somebody else knows that this node has left."""
        deadline = self._ambient.monotonic() + self._config.leave_timeout_ms / 1000
        while self._ambient.monotonic() < deadline:
            shown = self._membership.raw_hash
            told = [p.name for p in self._replicator.peers.values() if p.shown_hash == shown]
            if told:
                return "they know: " + ", ".join(sorted(told))
            await asyncio.sleep(HANDOVER_LOOK_S)
        return "nobody has heard of it yet: keep this node running until kvnode members shows it"

    async def _hand_over(self) -> str:
        """Wait until every reachable member has all this node has; at least one must."""
        replicator = self._replicator
        await replicator.engine.all_answered()
        deadline = self._ambient.monotonic() + self._config.leave_timeout_ms / 1000
        while True:
            vector = replicator.engine.vector
            peers = [peer for peer in replicator.peers.values() if peer.state == "connected"]
            have = [peer.name for peer in peers if covers(peer.vector, vector)]
            if have and len(have) == len(peers):
                return "all it had is on " + ", ".join(sorted(have))
            if self._ambient.monotonic() > deadline:
                missing = sorted({peer.name for peer in replicator.peers.values()} - {*have})
                raise Refused(
                    Reason.PEERS_BEHIND,
                    f"nothing was changed: {', '.join(missing)} did not take over everything in "
                    f"{self._config.leave_timeout_ms} ms. See kvnode peers, and try again",
                )
            await asyncio.sleep(HANDOVER_LOOK_S)

    async def _newcomer(self, name: str, address: str) -> Hello:
        """Who waits at the address; Refused if it is not ``name``, waiting to be taken in."""
        link = self._replicator.connections.open_link(address)
        try:
            deadline_s = self._config.peer_timeout_ms / 1000
            hello = (await link.meet(self._replicator.hello(), (0, 0), deadline_s)).hello
            theirs = decode_roster(hello.roster)
        except (LinkError, BlockError) as error:
            raise Refused(
                Reason.NO_NEWCOMER,
                f"no node that can be taken in waits at {address}: {error}. Start it with an empty "
                f"data directory: kvnode serve --join --cluster {self._config.cluster} "
                f"--name {name} --listen {address} --data DIRECTORY",
            ) from error
        finally:
            await link.close()
        if hello.name != name:
            raise Refused(Reason.NO_NEWCOMER, f"at {address} is node {hello.name!r}, not {name!r}")
        if theirs.cluster_id != NO_CLUSTER:
            raise Refused(
                Reason.NO_NEWCOMER,
                f"node {name!r} at {address} belongs to a cluster already: start it with "
                "kvnode serve --join and a new data directory",
            )
        return hello

    def _named(self, name: str) -> int:
        roster = self._membership.roster
        origin = roster.named(name)
        if not origin:
            names = ", ".join(roster.members[one].name for one in roster.remaining())
            raise Refused(Reason.BAD_REQUEST, f"there is no member {name!r}: there are {names}")
        return origin

    def _check_serving(self) -> None:
        refusal = self._membership.refusal()
        if refusal:
            raise refusal

    async def _has_stopped(self, origin: int) -> bool:
        """Whether it says nothing more. One that was just stopped is waited for until it counts as
        silent; one that runs says something within a heartbeat.
        """
        before = self._last_heard(origin)
        while self._is_running(origin):
            if self._last_heard(origin) > before:
                return False
            await asyncio.sleep(HANDOVER_LOOK_S)
        return True

    def _last_heard(self, origin: int) -> float:
        peers = self._replicator.peers.values()
        return max((peer.heard for peer in peers if peer.origin == origin), default=0.0)

    def _is_running(self, origin: int) -> bool:
        return self._replicator.is_running(origin)

    def _members_besides(self, origin: int) -> str:
        roster = self._membership.roster
        names = [roster.members[one].name for one in roster.remaining() if one != origin]
        return ", ".join(names)

    def _what_is_lost(self, old: int) -> list[str]:
        here = self._replicator.engine.vector.get(old, 0)
        stability, roster = self._replicator.engine.stability, self._membership.roster
        reports = [stability.last(one) or {} for one in roster.remaining() if one != old]
        told = max([report.get(old, 0) for report in reports], default=0)
        lost = [f"of its own writes the members have those up to {max(here, told)}"]
        lost.append("what it wrote after that, and told nobody, is lost to the cluster")
        return lost

    def _what_a_newcomer_does(self, roster: Roster, *, leaving_out: int) -> list[str]:
        replicator = self._replicator
        names = []
        for origin in roster.remaining():
            if origin == leaving_out:
                continue
            name = roster.members[origin].name
            connected = origin == self._membership.origin or self._is_running(origin)
            names.append(name if connected else f"{name} (not reachable now)")
        operations = missing_ops({}, replicator.engine.vector)
        return [
            f"it gets what the cluster has ({operations} operations so far) and takes no calls "
            "until then",
            "it serves when every member has acknowledged it: " + ", ".join(names),
        ]
