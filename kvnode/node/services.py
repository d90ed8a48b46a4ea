"""All gRPC services of a node, over the parts of it that do the work."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kvnode.node.admission import Admission
from kvnode.rpc.admin_service import AdminService
from kvnode.rpc.gc_service import GcService
from kvnode.rpc.journal_service import JournalService
from kvnode.rpc.kv_codec import KvCodec
from kvnode.rpc.kv_service import KvService
from kvnode.rpc.membership_service import MembershipService
from kvnode.rpc.quarantine_service import QuarantineService
from kvnode.rpc.replication_service import ReplicationService
from kvnode.rpc.server import Handlers
from kvnode.rpc.snapshot_service import SnapshotService
from kvnode.rpc.verification_service import VerificationService
from kvnode.rpc.watch_service import WatchService

if TYPE_CHECKING:
    from kvnode.node.node import Node


def services_of(node: Node) -> Handlers:
    """Their handlers; calls go to the node as it is then."""
    config = node.config
    codec = KvCodec(config.token_secret, config.limits, node.name_of)
    return (
        KvService(node, codec, config.limits).handler(),
        AdminService(node, codec, config.limits).handler(),
        MembershipService(node.membership, Admission(node.replicator)).handler(),
        ReplicationService(node.replicator).handler(),
        SnapshotService(node.snapshots).handler(),
        GcService(node).handler(),
        JournalService(node.journal, codec).handler(),
        QuarantineService(node, node.name_of).handler(),
        VerificationService(node.verification).handler(),
        WatchService(node, node.watching, codec, config.watch_heartbeat_ms).handler(),
    )
