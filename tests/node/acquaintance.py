"""Replicators and hellos of nodes that are played by a test."""

from __future__ import annotations

from kvnode.core.report import PROTOCOL, Hello
from kvnode.core.roster import Member, decode_roster, encode_roster, roster_hash
from kvnode.node.engine import Engine
from kvnode.node.founding import founding_roster
from kvnode.node.handshake import Handshake
from kvnode.node.membership import Membership
from kvnode.node.peers import Peer
from kvnode.node.replicator import Replicator
from kvnode.rpc.link import OpenLink

CLUSTER = "default"


def replicator_of(engine: Engine, name: str, open_link: OpenLink | None = None) -> Replicator:
    """The replicator of a node that founds a cluster with its configured peers."""
    roster = founding_roster(
        engine.replica.origin, name, CLUSTER, list(engine.config.peers), join=False
    )
    membership = Membership(engine, name, roster, found=True)
    return Replicator(engine, membership, Handshake(CLUSTER, membership), open_link)


def acquaint(replicator: Replicator, name: str, origin: int) -> Peer:
    """Let the replicator have met this member, as its roster on disk says."""
    membership = replicator.membership
    membership.raw = with_member(membership.raw, name, origin)
    membership.roster, membership.raw_hash = (
        decode_roster(membership.raw),
        roster_hash(membership.raw),
    )
    membership.wanted = membership.roster
    replicator.reconcile()
    return replicator.peers[name]


def hello_of(
    name: str,
    origin: int,
    founders: str = "abc",
    *,
    knows: dict[str, int] | None = None,
    cluster: str = CLUSTER,
    protocol: int = PROTOCOL,
    incarnation: int = 1,
) -> Hello:
    """The hello of a founder that has met the members it ``knows``."""
    others = [founder for founder in founders if founder != name]
    roster = founding_roster(origin, name, CLUSTER, others, join=False)
    for other, other_origin in (knows or {}).items():
        roster = roster.with_member(other_origin, Member(1, other, "", joining=False))
    return Hello(cluster, name, origin, incarnation, encode_roster(roster), protocol)


def with_member(raw: bytes, name: str, origin: int) -> bytes:
    """A roster with one more serving member."""
    row = Member(1, name, "", joining=False)
    return encode_roster(decode_roster(raw).with_member(origin, row))
