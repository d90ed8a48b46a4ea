"""The status of a node's collection, gathered in one place."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kvnode.node.peers import Peer
from kvnode.v1 import admin_pb2
from kvnode.v1 import gc_pb2 as pb

if TYPE_CHECKING:
    from kvnode.node.node import Node


def collection_status(node: Node) -> pb.CollectionStatusResponse:
    """What ``Collection.Status`` answers."""
    names, stable = node.engine.names, node.collector.stable
    state = node.engine.checkpoints.state
    waiting = state.waiting()
    return pb.CollectionStatusResponse(
        name=node.config.name,
        origin=node.replicator.origin,
        rows_waiting=sum(waiting.values()),
        waiting=[
            pb.WaitingRows(origin=origin, node=names.get(origin, ""), rows=rows)
            for origin, rows in sorted(waiting.items())
        ],
        entries_collected=node.collector.entries_collected,
        stable=[
            admin_pb2.OriginStatus(origin=origin, node=names.get(origin, ""), seq=seq)
            for origin, seq in sorted(stable.items())
        ],
        members=_members(node),
        to_expire=state.to_expire(),
        horizon_ms=node.engine.replica.durable.horizon,
        held_up=node.reissuing.holds_up,
    )


def _members(node: Node) -> list[pb.MemberReport]:
    """Who counts, the one whose report covers least first."""
    peers = {peer.origin: peer for peer in node.replicator.peers.values() if peer.origin}
    counted = node.membership.counted()
    met = [_member(node, origin, peers.get(origin)) for origin in counted or peers]
    unmet = [
        pb.MemberReport(node=name, own_ops=sum(node.engine.vector.values()))
        for name in node.membership.roster.unmet()
    ]
    return sorted([*unmet, *met], key=lambda member: (member.covered_ops, member.node))


def _member(node: Node, origin: int, peer: Peer | None) -> pb.MemberReport:
    own, stability = node.engine.vector, node.engine.stability
    usable, last = stability.reports.get(origin), stability.last(origin)
    covered = sum(min(seq, (usable or {}).get(other, 0)) for other, seq in own.items())
    heard = peer.heard if peer else 0
    return pb.MemberReport(
        origin=origin,
        node=node.engine.names.get(origin, ""),
        covered_ops=covered,
        own_ops=sum(own.values()),
        reported=last is not None,
        usable=last is not None and last is usable,
        silent_ms=round((node.engine.ambient.monotonic() - heard) * 1000) if heard else 0,
    )
