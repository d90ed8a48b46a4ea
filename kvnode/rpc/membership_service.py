"""The Membership service over a node."""

from __future__ import annotations

from typing import Protocol

import grpc

from kvnode.core.dots import Vector
from kvnode.core.roster import Roster
from kvnode.rpc.handlers import unary
from kvnode.v1 import membership_pb2 as pb

SERVICE = "kvnode.v1.Membership"


class Changes(Protocol):
    """What an operator may ask for; each returns lines for people."""

    async def join(self, name: str, address: str, *, preview: bool) -> list[str]: ...
    async def replace(self, name: str, address: str, *, preview: bool) -> list[str]: ...
    async def forget(self, name: str, *, preview: bool) -> list[str]: ...
    async def leave(self, *, preview: bool) -> list[str]: ...


class Membership(Protocol):
    """What the service shows of a node's membership."""

    name: str
    roster: Roster

    @property
    def place(self) -> str: ...
    @property
    def vector(self) -> Vector: ...
    def waits(self) -> str: ...


class MembershipService:
    """Translates and calls the node."""

    def __init__(self, membership: Membership, changes: Changes) -> None:
        self._membership = membership
        self._changes = changes

    def handler(self) -> grpc.GenericRpcHandler:
        """For ``grpc.aio.Server.add_generic_rpc_handlers``."""
        return grpc.method_handlers_generic_handler(
            SERVICE,
            {
                "Members": unary(pb.MembersRequest, self.members),
                "Join": unary(pb.JoinRequest, self.join),
                "Replace": unary(pb.ReplaceRequest, self.replace),
                "Forget": unary(pb.ForgetRequest, self.forget),
                "Leave": unary(pb.LeaveRequest, self.leave),
            },
        )

    async def members(self, request: pb.MembersRequest) -> pb.MembersResponse:  # noqa: ARG002
        """Everybody who is or was a member, by name."""
        membership = self._membership
        roster = membership.roster
        by_name = sorted(roster.members, key=lambda one: (roster.members[one].name, one))
        return pb.MembersResponse(
            cluster_id=roster.cluster_id,
            members=[self._member(origin) for origin in by_name],
            unmet=roster.unmet(),
            name=membership.name,
            place=membership.place,
            waits=membership.waits(),
        )

    async def join(self, request: pb.JoinRequest) -> pb.ChangeResponse:
        """Take in a new node."""
        lines = await self._changes.join(request.name, request.address, preview=request.preview)
        return pb.ChangeResponse(lines=lines, done=not request.preview)

    async def replace(self, request: pb.ReplaceRequest) -> pb.ChangeResponse:
        """Let a new node take an old one's place."""
        lines = await self._changes.replace(request.name, request.address, preview=request.preview)
        return pb.ChangeResponse(lines=lines, done=not request.preview)

    async def forget(self, request: pb.ForgetRequest) -> pb.ChangeResponse:
        """Forget a member."""
        lines = await self._changes.forget(request.name, preview=request.preview)
        return pb.ChangeResponse(lines=lines, done=not request.preview)

    async def leave(self, request: pb.LeaveRequest) -> pb.ChangeResponse:
        """Leave the cluster."""
        lines = await self._changes.leave(preview=request.preview)
        return pb.ChangeResponse(lines=lines, done=not request.preview)

    def _member(self, origin: int) -> pb.MemberStatus:
        roster, vector = self._membership.roster, self._membership.vector
        member = roster.members[origin]
        shown = pb.MemberStatus(origin=origin, name=member.name, address=member.address)
        forget = roster.forgets.get(origin)
        if forget is not None:
            shown.place = "forgotten"
            shown.limit = roster.limit(origin)
            shown.successor = forget.successor
            shown.forgotten_ms = forget.at_ms
            shown.complete = origin not in roster.pending(vector)
            waits_for = roster.unacknowledged()
        elif member.joining:
            shown.place = "joining"
            waits_for = roster.waits_for(origin, vector)
        else:
            shown.place, waits_for = "serving", []
        shown.waits_for.extend(roster.members[one].name for one in waits_for)
        return shown
