"""A node's status, gathered in one place."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kvnode import __version__
from kvnode.core.dots import Vector, missing_ops
from kvnode.node.peers import Peer
from kvnode.v1 import admin_pb2 as pb

if TYPE_CHECKING:
    from kvnode.node.node import Node

COUNT_MAX = 2**64 - 1
"""As large as a field can be."""


def node_status(node: Node) -> pb.StatusResponse:
    """What the Status call answers."""
    engine, replicator = node.engine, node.replicator
    durable = engine.replica.durable
    quarantine = engine.quarantine
    degraded = quarantine.problem(engine.names)
    problems = [
        durable.fence,
        node.membership.waits(),
        node.membership.apart,
        node.reissuing.problem,
        node.verification.problem(),
        node.scrub.problem(),
        replicator.lww_refusal(),
        replicator.handshake.problem(),
        degraded,
    ]
    state: str = node.membership.place
    if node.closing.is_set():
        state = "stopping"
    elif durable.fence:
        state = "fenced"
    elif engine.pausing:
        state = "resyncing"
    elif state == "serving" and degraded:
        state = "degraded"
    return pb.StatusResponse(
        cluster=node.config.cluster,
        name=node.config.name,
        origin=replicator.origin,
        state=state,
        problem="; ".join(filter(None, problems)),
        version=__version__,
        data_directory=str(node.directory.path),
        uptime_ms=round((node.engine.ambient.monotonic() - node.started) * 1000),
        vector=_origins(node, engine.vector),
        peers=[_peer(node, peer) for _, peer in sorted(replicator.peers.items())],
        log=_log(node),
        checkpoint=_checkpoint(node),
        queued_requests=len(engine.queue.waiting),
        queued_bytes=engine.queue.bytes,
        operations_accepted=engine.counts.accepted,
        operations_refused=engine.counts.refused,
        buffered_lost=engine.counts.buffered_lost,
        operations_received=engine.counts.received,
        commits=engine.counts.commits,
        watches=node.watching.count,
        forks=[
            pb.Fork(origin=origin, node=engine.names.get(origin, ""), reason=reason)
            for origin, reason in sorted(durable.forks.items())
            if origin not in engine.replica.limits  # settled: it is forgotten
        ],
        clock_offset_ms=replicator.clock_offset_ms(),
        push_buffer_bytes=engine.push_buffer.bytes_held,
        anti_entropy_rounds=replicator.repair.rounds,
        quarantine=pb.QuarantineStatus(
            records=len(quarantine), bytes=quarantine.bytes_held, pushed_out=quarantine.pushed_out
        ),
        diverged=[
            pb.Divergence(peer=peer, since_ms=since_ms)
            for peer, since_ms in sorted(node.verification.diverged.items())
        ],
        sync=node.resync.status(),
    )


def _origins(node: Node, vector: Vector) -> list[pb.OriginStatus]:
    """By name."""
    names = node.engine.names
    return [
        pb.OriginStatus(origin=origin, node=names.get(origin, ""), seq=vector[origin])
        for origin in sorted(vector, key=lambda one: (names.get(one, ""), one))
    ]


def _peer(node: Node, peer: Peer) -> pb.PeerStatus:
    engine = node.engine
    own, retention = node.replicator.origin, node.replicator.retention
    oldest_ms = engine.push_buffer.oldest_unacknowledged_ms(peer.vector.get(own, 0))
    now_ms = engine.ambient.wall_ms()
    return pb.PeerStatus(
        name=peer.name,
        address=peer.address,
        origin=peer.origin,
        state=peer.state,
        problem=peer.problem,
        silent_ms=round((node.engine.ambient.monotonic() - peer.heard) * 1000) if peer.heard else 0,
        behind_ops=missing_ops(peer.vector, engine.vector),
        behind_ms=0 if oldest_ms is None else max(0, now_ms - oldest_ms),
        ahead_ops=min(missing_ops(engine.vector, peer.vector), COUNT_MAX),  # as the peer says
        clock_offset_ms=peer.clock_offset_ms or 0,
        vector=_origins(node, peer.vector),
        unanswered_messages=node.replicator.connections.unanswered(peer),
        behind_bytes=engine.log.behind(peer.vector).bytes if peer.heard else 0,
        falls_off_ms=retention.falls_off_ms(peer.vector) if peer.heard else 0,
        needs_snapshot=bool(peer.heard) and retention.needs_snapshot(peer.vector),
    )


def _log(node: Node) -> pb.LogStatus:
    config, log = node.config, node.engine.log
    usage = log.usage()
    oldest = log.heads(log.first_arrival - 1, 1)
    return pb.LogStatus(
        first_arrival=log.first_arrival,
        last_arrival=log.last_arrival,
        used_bytes=usage.used_bytes,
        map_bytes=usage.map_bytes,
        file_bytes=usage.file_bytes,
        block_bytes=usage.records_bytes,
        floor=_origins(node, log.floor),
        retention_ms=config.log_retention_s * 1000,
        retention_bytes=config.log_retention_bytes,
        bytes_max=config.log_bytes_max,
        appended_bytes_per_s=round(node.replicator.retention.rate.bytes_per_s),
        oldest_ms=oldest[0].wall_ms if oldest else 0,
    )


def _checkpoint(node: Node) -> pb.CheckpointStatus:
    engine = node.engine
    checkpoints = engine.checkpoints
    behind, usage = checkpoints.behind, checkpoints.state.usage()
    return pb.CheckpointStatus(
        arrival=checkpoints.covered,
        behind_ops=behind.operations,
        memtable_keys=behind.keys,
        memtable_bytes=behind.size,
        stored_keys=usage.records,
        used_bytes=usage.used_bytes,
        map_bytes=usage.map_bytes,
        running=checkpoints.running,
        last_ms=checkpoints.last_ms,
    )
