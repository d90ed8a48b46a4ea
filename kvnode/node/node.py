"""A node: directory, engine, replication and server, put together; start and stop."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from kvnode.config import Config
from kvnode.core.dots import Vector
from kvnode.core.entry import Entry
from kvnode.core.operations import Operation
from kvnode.core.replica import Request
from kvnode.core.report import Hello
from kvnode.core.writer import Accepted
from kvnode.node.collector import Collector
from kvnode.node.engine import Engine
from kvnode.node.gc_status import collection_status
from kvnode.node.replicator import Replicator
from kvnode.node.resync import Resync
from kvnode.node.snapshots import Snapshots
from kvnode.node.status import node_status
from kvnode.rpc.admin_service import AdminService
from kvnode.rpc.gc_service import GcService
from kvnode.rpc.kv_codec import KvCodec
from kvnode.rpc.kv_service import KvService
from kvnode.rpc.replication_service import ReplicationService
from kvnode.rpc.server import Server
from kvnode.rpc.snapshot_service import SnapshotService
from kvnode.storage.directory import FORMAT, DataDirectory
from kvnode.storage.incoming import Incoming
from kvnode.v1 import admin_pb2, gc_pb2

logger = logging.getLogger(__name__)


class Node:
    """One running node, on the current event loop."""

    def __init__(self, config: Config) -> None:
        """Open the data directory and recover; StorageError if that is not possible."""
        self.config = config
        self.started = time.monotonic()
        self.stopping = False
        self.failure: BaseException | None = None
        self._failed = asyncio.Event()
        self.directory = DataDirectory(
            Path(config.data),
            cluster=config.cluster,
            name=config.name,
            now_ms=time.time_ns() // 1_000_000,
        )
        try:
            origin = self.directory.identity.origin_id
            self.engine = Engine(config, origin, self.directory.log, self.directory.state)
        except BaseException:
            self.directory.close()
            raise
        self.replicator = Replicator(self.engine, Hello(config.cluster, config.name, origin))
        self.collector = Collector(self.engine, self.replicator.counted)
        self._collecting: asyncio.Task[None] | None = None
        self.engine.on_commit = lambda _: self.replicator.committed()
        self.engine.on_failure = self._fail
        folder = self.directory.path / FORMAT
        self.snapshots = Snapshots(
            self.engine,
            self.replicator,
            self.directory.state,
            folder / "snapshots",
            stable=self.replicator.stable,
            pins=self.replicator.retention.pins,
        )
        self.resync = Resync(
            self.engine,
            self.replicator,
            self.directory.state,
            Incoming(folder / "incoming", origin),
            lost=lambda _key, _loser, _winner: None,
        )
        self.replicator.instead_of_pulling = self._look_at_snapshots
        self._server: Server | None = None

    @property
    def vector(self) -> Vector:
        """What this node has, synced and applied."""
        return self.engine.vector

    @property
    def port(self) -> int:
        """The port it listens on."""
        assert self._server is not None
        return self._server.port

    async def start(self) -> None:
        """Listen and replicate; OSError if the address cannot be had."""
        codec = KvCodec(self.config.token_secret, self.config.limits, self._name)
        limits = self.config.limits
        self._server = Server(
            self.config.listen,
            (
                KvService(self, codec, limits).handler(),
                AdminService(self, codec, limits).handler(),
                ReplicationService(self.replicator).handler(),
                SnapshotService(self.snapshots).handler(),
                GcService(self).handler(),
            ),
        )
        await self._server.start()
        self.replicator.start()
        self._collecting = asyncio.create_task(self.collector.run(), name="collection")
        self._collecting.add_done_callback(self._collecting_ended)

    async def wait_failed(self) -> None:
        """Return when the node cannot go on; ``failure`` says why."""
        await self._failed.wait()

    async def close(self) -> None:
        """Answer what runs, write a checkpoint, close everything."""
        self.stopping = True
        if self._collecting:
            self._collecting.cancel()
        await self.replicator.close()
        await self.resync.close()
        if self._server:
            await self._server.retire()
        await self.engine.close()  # answers all that waits, refuses what comes
        if self._server:
            await self._server.stop(self.config.stop_grace_ms / 1000)
        await self.snapshots.close()
        self.directory.close()

    # ---- what the services call

    async def write(
        self, operations: Sequence[Operation], request_id: bytes, size: int
    ) -> tuple[Accepted, Vector]:
        """Commit a client's batch; Refused if nothing of it was done."""
        return await self.engine.submit(Request(operations, request_id), size)

    def read(self, key: bytes) -> Entry:
        """What is kept under the key."""
        return self.engine.memtable.read(key)

    def scan(
        self,
        start: bytes,
        end: bytes,
        accept: Callable[[bytes, Entry], bool],
        *,
        conflicts: bool = False,
    ) -> bytes | None:
        """See ``Memtable.scan``."""
        return self.engine.memtable.scan(start, end, accept, conflicts=conflicts)

    def status(self) -> admin_pb2.StatusResponse:
        """The node as it is now."""
        return node_status(self)

    def _look_at_snapshots(self) -> bool:
        self.snapshots.tidy()
        return self.resync.look()

    def collection_status(self) -> gc_pb2.CollectionStatusResponse:
        """What waits for being collected, and for whom."""
        return collection_status(self)

    def _collecting_ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled():  # a bug, or a disk that fails
            error = task.exception()
            assert error is not None
            self.engine.on_failure(error)

    def _name(self, origin: int) -> str:
        return self.engine.names.get(origin, "")

    def _fail(self, error: BaseException) -> None:
        self.failure = self.failure or error
        self._failed.set()
