"""A node: directory, engine, replication and server, put together; start and stop."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from pathlib import Path

from kvnode.config import Config
from kvnode.core.accepted import Accepted
from kvnode.core.dots import Vector
from kvnode.core.entry import Entry
from kvnode.core.quarantine import Record
from kvnode.core.replica import Request, Round
from kvnode.core.requests import Remembered
from kvnode.node.ambient import MACHINE, Ambient
from kvnode.node.clocks import TimePassed, now_ms
from kvnode.node.collector import Collector
from kvnode.node.engine import Engine
from kvnode.node.founding import founding_roster
from kvnode.node.gc_status import collection_status
from kvnode.node.handshake import Handshake
from kvnode.node.journal import Journal
from kvnode.node.last_calls import callers_gone
from kvnode.node.levels import Levels
from kvnode.node.membership import RETRY_AFTER_S, Membership
from kvnode.node.quarantine import NodeQuarantine, retry
from kvnode.node.queues import room
from kvnode.node.reissuing import Reissuing
from kvnode.node.replicator import Replicator
from kvnode.node.resync import Resync
from kvnode.node.returning import Returning
from kvnode.node.scrub import Scrub
from kvnode.node.services import services_of
from kvnode.node.snapshots import Snapshots
from kvnode.node.status import node_status
from kvnode.node.verification import Verification
from kvnode.node.watching import Watching
from kvnode.rpc.link import OpenLink
from kvnode.rpc.replication_service import SERVICE as REPLICATION
from kvnode.rpc.server import Server
from kvnode.storage.directory import DataDirectory
from kvnode.storage.ending import FORMAT
from kvnode.storage.incoming import Incoming
from kvnode.storage.interfaces import StorageError
from kvnode.storage.memtable import Memtable
from kvnode.v1 import admin_pb2, gc_pb2

logger = logging.getLogger(__name__)


class Reborn(Exception):
    """The node has to start again: its directory has a new identity now."""


class Node:
    """One running node, on the current event loop."""

    def __init__(
        self,
        config: Config,
        *,
        ambient: Ambient = MACHINE,
        open_link: OpenLink | None = None,
        directory: DataDirectory | None = None,
    ) -> None:
        """Open the data directory and recover; StorageError if that is not possible.

        Args:
            config: what the operator wants.
            ambient: time, chance and threads.
            open_link: how to reach the node at an address; a gRPC channel by default.
            directory: the opened data directory; by default that of the configuration.
        """
        self.config = config
        self.started = ambient.monotonic()
        self.closing = asyncio.Event()
        self.failure: BaseException | None = None
        self._failed = asyncio.Event()
        self.directory = directory or DataDirectory(
            Path(config.data),
            cluster=config.cluster,
            name=config.name,
            now_ms=ambient.wall_ms(),
            draw=ambient.chance.randbytes,
            looker=ambient.looker(),
        )
        try:
            origin = self.directory.identity.origin_id
            self.engine = Engine(config, origin, self.directory.log, self.directory.state, ambient)
            roster = founding_roster(
                origin,
                config.name,
                config.cluster,
                list(config.peers),
                join=config.join,
                chance=ambient.chance,
            )
            self.membership = Membership(
                self.engine, config.name, roster, found=config.found or not config.peers
            )
        except BaseException as error:
            self.directory.close(error)
            raise
        self.membership.resume([int(old, 16) for old in self.directory.identity.retired])
        self.reissuing = Reissuing(self.directory, self.engine, self.membership)
        handshake = Handshake(config.cluster, self.membership, config.token_secret)
        self.replicator = Replicator(self.engine, self.membership, handshake, open_link)
        self.verification = Verification(self.replicator)
        passed = TimePassed(self.replicator.peers.values, config)
        self.collector = Collector(
            self.engine,
            self.membership.counted,
            lambda: passed.look(ambient.wall_ms(), ambient.monotonic()),
        )
        self.scrub = Scrub(config, ambient, self.directory, self._fail)
        self.watching = Watching(self.engine, self._check_place)
        self.levels = Levels(self.engine, self.replicator)
        self.engine.on_commit = self._committed
        self.replicator.on_report = self.levels.look
        self.engine.on_failure = self._fail
        self.replicator.on_identity_lost = self._lose_identity
        self.membership.on_contest_lost = self._lose_contest
        self._begins_anew = False
        self._address = ""
        """Where others reach this node."""
        self._background: list[asyncio.Task[None]] = []
        folder = self.directory.path / FORMAT
        store = int(self.directory.identity.store, 16)
        self.snapshots = Snapshots(
            self.engine,
            self.replicator,
            self.directory.state,
            folder / "snapshots",
            store=store,
            pins=self.replicator.retention.pins,
        )
        self.resync = Resync(
            self.engine, self.replicator, self.directory.state, Incoming(folder / "incoming", store)
        )
        self.replicator.repair.instead_of_pulling = self._look_at_snapshots
        self._server: Server | None = None
        self.services = services_of(self)
        self._health: set[asyncio.Task[None]] = set()

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
        self._server = Server(self.config.listen, self.services, self.config.tls)
        self._server.export(self.config.metrics, self.status)
        await self._server.start()
        await self._show_health()
        self.engine.quarantine.on_change = self._health_changed
        listening = f"{self.config.listen.rpartition(':')[0]}:{self.port}"
        await self.run(self.config.advertise or listening)

    async def run(self, address: str) -> None:
        """Replicate, and do all else that serving takes but listening at ``address``."""
        self._address = address
        self.engine.checkpoints.begin()
        reissues = self.reissuing.begin()  # before anybody may ask what is stable
        self.replicator.start()
        self._run(self.collector.run(), "collection")
        self._run(self.verification.run(), "comparison")
        self._run(self.scrub.run(), "scrub")
        if self.membership.returning_from:
            self._run(self._return(), "return")
        else:
            await self._unless_failed(self.membership.introduce_as(address))

        if reissues:
            self._run(self.reissuing.run(), "reissue")

    async def wait_failed(self) -> None:
        """Return when the node cannot go on; ``failure`` says why."""
        await self._failed.wait()

    async def close(self) -> None:
        """Answer what runs, write a checkpoint, close everything."""
        self.closing.set()
        self.watching.close()
        for task in self._background:
            task.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)
        await self.replicator.close()
        await self.resync.close()
        if self._server:
            await self._server.retire()
        self.verification.close()
        await self.scrub.close()
        await self.engine.close()  # answers all that waits, refuses what comes
        if self._server:
            await callers_gone(self.engine)
            await self._server.stop(self.config.stop_grace_ms / 1000)
        await self.snapshots.close()
        if self._begins_anew:
            aside = self.directory.set_aside()
            logger.warning("the old data directory is %s now", aside)
        self.directory.close(self.failure)

    # ---- what the services call

    def enqueue(self, request: Request, size: int) -> asyncio.Future[tuple[Accepted, Vector]]:
        """Queue what a client asks for; Refused if nothing of it was or will be done."""
        self._check_place()
        return self.engine.enqueue(request, size)

    def busy_s(self) -> float:
        """Seconds since the start for which something waited for the disk."""
        return self.engine.idle.busy_s()

    def buffered_lost(self, operations: int) -> None:
        """So many operations that were acknowledged from the queue came to nothing."""
        self.engine.counts.buffered_lost += operations

    async def room(self) -> None:
        """Return when the queue may have moved."""
        await room(self.engine)

    def remembered(self, request_id: bytes) -> Remembered | None:
        """Where a request went, if it is known here."""
        self._check_place()
        return self.engine.replica.durable.requests.get(request_id)

    def read(self, key: bytes) -> Entry:
        """What is kept under the key."""
        self._check_place()
        return self.engine.memtable.read(key)

    def now_ms(self) -> int:
        """What has a deadline till then has expired, for readers and new deadlines."""
        return now_ms(self.engine.replica.durable, self.engine.ambient.wall_ms())

    def entries(self) -> Memtable:
        """All that is kept, for looks at more than one key; Refused as ``read``."""
        self._check_place()
        return self.engine.memtable

    def status(self) -> admin_pb2.StatusResponse:
        """The node as it is now."""
        return node_status(self)

    def _committed(self, round_: Round) -> None:
        self.replicator.committed(round_)
        self.watching.committed()
        self.levels.look()

    def _look_at_snapshots(self) -> bool:
        self.snapshots.tidy()
        return self.resync.look()

    def collection_status(self) -> gc_pb2.CollectionStatusResponse:
        """What waits for being collected, and for whom."""
        return collection_status(self)

    @property
    def quarantine(self) -> NodeQuarantine:
        """Blocks that could not be taken."""
        return self.engine.quarantine

    async def retry(self, record: Record) -> str:
        """Try to take a quarantined block; why not, empty if that worked."""
        return await retry(self.engine, record)

    def journal(self) -> Journal:
        """The values that were lost here; Refused if clients have no business here now."""
        self._check_place()
        return self.engine.journal

    def _health_changed(self) -> None:
        task = asyncio.create_task(self._show_health())
        self._health.add(task)
        task.add_done_callback(self._health.discard)

    async def _show_health(self) -> None:
        """The node as a whole is well as long as it serves clients; its replication may not be."""
        assert self._server is not None
        await self._server.show(REPLICATION, serving=not self.engine.quarantine)

    def _check_place(self) -> None:
        refusal = self.membership.refusal()
        if refusal:
            raise refusal

    def name_of(self, origin: int) -> str:
        """The name an origin writes or wrote under; empty if it was never met."""
        return self.engine.names.get(origin, "")

    def _run(self, work: Coroutine[None, None, None], name: str) -> None:
        """Do something beside serving; if it fails the node does."""

        def ended(task: asyncio.Task[None]) -> None:
            error = None if task.cancelled() else task.exception()
            if error is not None:
                self._fail(error)

        task = asyncio.create_task(work, name=name)
        task.add_done_callback(ended)
        self._background.append(task)

    async def _unless_failed(self, work: Coroutine[None, None, None]) -> None:
        """Wait for it, but no longer than the node can go on: it might never end."""
        working = asyncio.create_task(work)
        failing = asyncio.create_task(self._failed.wait())
        try:
            await asyncio.wait((working, failing), return_when=asyncio.FIRST_COMPLETED)
            if working.done():
                working.result()
        finally:
            failing.cancel()
            working.cancel()

    async def _return(self) -> None:
        """Come back under a new identity (``returning.py``)."""
        directory = self.directory
        if self.membership.roster.remaining() == [self.membership.returning_from]:
            await self._return_alone()
            return
        identity = directory.identity
        returning = Returning(self.replicator, forked=identity.forked, pristine=identity.pristine)
        match await returning.ask():
            case "welcome":
                await self.membership.return_as(self._address)
                directory.settled()  # not sooner: a crash in between must not forget what it says
            case "forgotten":
                self.membership.expelled()
            case "running":
                directory.mark_copy()
                self._fail(
                    StorageError(
                        f"{directory.path} is a copy of the directory of node "
                        f"{self.config.name!r}, which is running: delete it. A new node starts "
                        "with an empty directory and its own name (kvnode serve --join)"
                    )
                )
            case "forked":
                self._begins_anew = True
                self._fail(
                    Reborn(
                        "the cluster knows another history of what this directory wrote: it is "
                        "set aside, and its own writes are issued again"
                    )
                )

    async def _return_alone(self) -> None:
        """Nobody is there to ask: the operator has to know that nobody else ever joined."""
        if not (self.config.found or self.membership.uninvited):
            self.membership.problem = (
                "this directory was copied, and when it was, the node was alone. If it still is, "
                "start it with --found; if others have joined it since, start it with an empty "
                "directory and --join"
            )
            logger.warning("%s", self.membership.problem)
            return
        self.directory.settled()
        await self.membership.return_as(self._address)

    def _lose_contest(self, reason: str, inherited: Sequence[int]) -> None:
        """What this node wrote builds on a history that lost: give it up, begin anew."""
        self._lose_identity(reason, forked=True, inherited=inherited)

    def _lose_identity(
        self, reason: str, *, forked: bool = False, inherited: Sequence[int] = ()
    ) -> None:
        """Somebody else wrote under this node's origin: go on under a new one."""
        membership = self.membership
        if membership.lost or membership.place not in ("serving", "joining", "leaving"):
            return
        membership.lose(reason)
        mint = partial(self.directory.mint_anew, forked=forked, inherited=inherited)
        self._run(self._begin_as_another(mint, reason), "new identity")

    async def _begin_as_another(self, mint: Callable[[], None], reason: str) -> None:
        """Start again, as soon as the new identity is on disk; no calls are taken meanwhile."""
        while True:
            try:
                mint()
                break
            except OSError as error:
                self.membership.lost = f"{reason}; the new identity cannot be written: {error}"
                logger.error("%s", self.membership.lost)
                await asyncio.sleep(RETRY_AFTER_S)
        self._fail(Reborn(reason))

    def _fail(self, error: BaseException) -> None:
        self.failure = self.failure or error
        self._failed.set()
