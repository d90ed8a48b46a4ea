"""Catching up by a snapshot, when no log holds what is missing.

A node needs one when every connected peer that has more has cut what this node lacks from its log;
and a node that has nothing yet takes one when the log would be longer than what it tells about. It
is fetched from one peer, the most advanced, staged (``storage/incoming.py``) and merged
(``storage/merging.py``). What the log behind it brings is pulled afterwards as always.

**While it is being staged the node works as usual**: it takes writes, receives and pulls what it
can, and collects. That is safe because nothing staged is visible, and because the merge is a join
of two states with their vectors, whatever they have become by then: writes that came here
meanwhile are not covered by the snapshot's vector, so their absence there says nothing, and what
was collected here is absent and covered, so the snapshot's copy of it goes. A snapshot never gets
too old to be merged; it only covers less.

**The merge itself is a barrier.** The round that runs is finished, client writes and blocks are
refused (RESYNCING), what is in memory goes into a checkpoint. Then a thread rewrites the state in
one transaction while readers are served from what was before; when it is durable the event loop
takes the new state and vector up in one step, so that no reader, peer or session token sees a
vector without its entries or entries without their vector, or half a batch (trap 13).

A crash before the commit leaves the state as it was and what is staged to go on with; after it, a
merge that is done and is done again without effect.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from functools import partial

from kvnode.core.dots import covers, missing_ops
from kvnode.core.errors import Reason, Refused, StateError
from kvnode.core.snapshot import START, Chunk, ContradictionError
from kvnode.node.engine import Engine
from kvnode.node.peers import Peer
from kvnode.node.replicator import Replicator
from kvnode.rpc.link import LinkError
from kvnode.rpc.snapshot_codec import Offer
from kvnode.storage.incoming import Incoming, Source
from kvnode.storage.interfaces import Checkpoint, DiskFullError
from kvnode.storage.merging import Losers, Merge
from kvnode.storage.state import LmdbState
from kvnode.v1 import admin_pb2

logger = logging.getLogger(__name__)
TOLD_EVERY_S = 5.0
CONTRADICTED_S = 600.0
"""After two histories were found: the next snapshot has them too, until somebody has looked."""
BREAKS_MAX = 6
"""A node that has nothing yet then takes the log after all."""
GIVEN_UP_MAX = 2
"""Of the pauses that double while one is given up after the other: most often there is no room for
it, and each attempt has the sender copy its whole state."""
RESUME_AFTER_S = 0.5
"""After a broken link: the sender keeps its copy for much longer."""
RESYNCING = Refused(
    Reason.RESYNCING,
    "this node is merging a snapshot of another one and takes no writes for the moment: use "
    "another node, or try again in a few seconds",
)


@dataclass(slots=True)
class Progress:
    """Of the snapshot being fetched or merged."""

    state: str
    """"requested", "receiving" or "merging"."""
    peer: str


class Resync:
    """Decides about, fetches and merges snapshots; one at a time."""

    def __init__(
        self,
        engine: Engine,
        replicator: Replicator,
        state: LmdbState,
        incoming: Incoming,
    ) -> None:
        config = engine.config
        self.losers = Losers(config.journal_rows_max, config.journal_bytes_max)
        """Told, in a thread, of register values that a merge drops."""
        self.progress: Progress | None = None
        self.incoming = incoming
        self._engine = engine
        self._replicator = replicator
        self._state = state
        self._task: asyncio.Task[None] | None = None
        self._instead = False
        """Whether the one that runs stands in for pulls."""
        self._not_before = 0.0
        self._told = 0.0
        self._resuming = False
        """Whether pulls should wait for the next attempt."""
        self._breaks = 0
        """Broken links since something came."""
        self._given_up = 0
        """Attempts in a row."""
        self._monotonic = engine.ambient.monotonic
        self._worker = engine.ambient.worker("kvnode-incoming")

    def look(self) -> bool:
        """Start what is needed; whether pulls should wait for it. Called each round."""
        if self._task is not None:
            return self._instead or self._engine.pausing is not None
        if self._replicator.closing:
            return False
        if self._monotonic() < self._not_before:
            return self._resuming
        source = self.incoming.source
        if source is not None and source.complete:  # the process ended before the merge did
            name = self._engine.names.get(source.peer) or f"{source.peer:016x}"
            self._begin(name, self._merge(name))
        elif (peer := self._choose()) is not None:
            self._instead = not self._engine.vector
            self._begin(peer.name, self._catch_up(peer))
        elif source is not None and self._is_of_no_use(source):
            logger.info("what is staged of a snapshot is not needed any more, and removed")
            self._begin("a peer", self._staging(self.incoming.discard))
        return self._task is not None and self._instead

    def status(self) -> admin_pb2.Sync | None:
        """How far the snapshot is that is being fetched or merged, if one is."""
        if self.progress is None:
            return None
        sync = admin_pb2.Sync(state=self.progress.state)
        setattr(sync, "from", self.progress.peer)
        source = self.incoming.source
        if source is not None:
            sync.received_keys, sync.received_bytes = source.keys, source.bytes
            sync.total_keys, sync.total_bytes = source.keys_total, source.bytes_total
            sync.started_ms = source.started_ms
        return sync

    async def close(self) -> None:
        """Give up a transfer; a merge that runs is finished first."""
        if self._task is not None:
            if self._engine.pausing is None:
                self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await self._task
        await self._staging(self.incoming.close)
        self._worker.close()

    # ---- when

    def _choose(self) -> Peer | None:
        """Whose snapshot is needed, if one is."""
        if self._replicator.membership.contested:
            return None  # it may be the losing history
        vector = self._engine.vector
        ahead: list[Peer] = []
        served = False
        for peer in self._replicator.peers.values():
            have = self._replicator.repair.vector_to_ask_with(peer)
            if peer.state == "connected" and peer.missing(have, now=True):
                ahead.append(peer)
                served = served or not peer.is_below_floor(have)
        if not ahead:
            return None
        source = self.incoming.source
        advanced = max(ahead, key=lambda peer: missing_ops(vector, peer.vector))
        staged = [peer for peer in ahead if source and peer.origin == source.peer]
        most = (staged or [advanced])[0]
        if not served:
            return most
        instead_ops = self._engine.config.snapshot_instead_of_log_ops
        if not vector and missing_ops(vector, most.vector) > instead_ops:
            return most
        return None

    def _is_of_no_use(self, source: Source) -> bool:
        """Whether all that its sender has came otherwise, or its sender is no member."""
        if source.peer not in self._replicator.membership.roster.remaining():
            return True
        return any(
            peer.vector and covers(self._engine.vector, peer.vector)
            for peer in self._replicator.peers.values()
            if peer.origin == source.peer and peer.state == "connected"
        )

    # ---- fetching

    async def _catch_up(self, peer: Peer) -> None:
        await self._fetch(peer)
        await self._merge(peer.name)

    def _begin(self, name: str, work: Coroutine[None, None, None]) -> None:
        self._task = asyncio.create_task(self._guard(name, work), name=f"snapshot of {name}")
        self._task.add_done_callback(self._ended)

    async def _guard(self, name: str, work: Coroutine[None, None, None]) -> None:
        """Do it; what the world can do to it is logged, and it is tried again later."""
        self._resuming = False
        retry_s: float = self._engine.config.snapshot_retry_s
        try:
            await work
            self._given_up = 0
        except LinkError as error:
            logger.warning("the snapshot of %s was interrupted: %s", name, error)
            if error.refused:
                await self._staging(self.incoming.discard)
            else:  # the same one, if it is still there; else _choose decides anew
                retry_s = min(retry_s, RESUME_AFTER_S * 2.0**self._breaks)
                self._breaks = min(self._breaks + 1, BREAKS_MAX)
                self._resuming = not self._engine.vector and self._breaks < BREAKS_MAX
            self._not_before = self._monotonic() + retry_s
        except (StateError, DiskFullError) as error:
            logger.error("the snapshot of %s is given up: %s", name, error)
            await self._staging(self.incoming.discard)
            self._not_before = self._monotonic() + retry_s * 2.0**self._given_up
            self._given_up = min(self._given_up + 1, GIVEN_UP_MAX)
        except ContradictionError as error:
            logger.error("the snapshot of %s is refused: %s", name, error)
            await self._staging(self.incoming.discard)
            self._contradict(error)
            self._not_before = self._monotonic() + CONTRADICTED_S
        finally:
            self.progress = None

    async def _staging(self, job: Callable[..., None], *arguments: object) -> None:
        """Run a job of the staging area in its thread: one after the other, also when the task
        that asked is cancelled meanwhile.
        """
        await self._worker.result(partial(job, *arguments))

    async def _fetch(self, peer: Peer) -> None:
        """Stage the peer's snapshot, going on with what is staged of it already."""
        incoming, config = self.incoming, self._engine.config
        if incoming.source is not None and incoming.source.peer != peer.origin:
            await self._staging(incoming.discard)
        link = self._replicator.connections.link(peer)
        if link is None:
            raise LinkError(f"the address of {peer.name} is not known any more")
        self.progress = Progress("requested", peer.name)
        if incoming.source is not None:
            logger.info("snapshot of %s: going on behind %d keys", peer.name, incoming.source.keys)
        while incoming.source is None or not incoming.source.complete:
            snapshot = incoming.source.snapshot if incoming.source else b""
            parts = link.fetch(
                self._replicator.hello(),
                snapshot,
                incoming.position if snapshot else START,
                config.pull_bytes,
                config.peer_timeout_ms / 1000,
            )
            before = incoming.position
            async with contextlib.aclosing(parts):
                async for part in parts:
                    if part.offer is not None and part.chunk is not None:
                        await self._stage(peer, part.offer, part.chunk, last=part.last)
            if incoming.position == before:
                raise LinkError(f"{peer.name} sent nothing of its snapshot")

    async def _stage(self, peer: Peer, offer: Offer, chunk: Chunk, *, last: bool) -> None:
        incoming = self.incoming
        if incoming.source is None:
            now_ms = self._engine.ambient.wall_ms()
            source = Source(
                peer.origin,
                offer.snapshot,
                offer.keys_total,
                offer.bytes_total,
                started_ms=now_ms,
            )
            await self._staging(incoming.begin, source)
            logger.info("snapshot of %s: about %d keys to come", peer.name, offer.keys_total)
        assert incoming.source is not None
        if offer.snapshot != incoming.source.snapshot:
            raise LinkError(f"{peer.name} sent another snapshot than asked for", refused=True)
        await self._staging(partial(incoming.add, chunk, last=last))
        self._breaks = 0
        self.progress = Progress("receiving", peer.name)
        if last or self._monotonic() - self._told > TOLD_EVERY_S:
            self._told = self._monotonic()
            source = incoming.source
            logger.info(
                "snapshot of %s: %d of about %d keys, %d bytes",
                peer.name,
                source.keys,
                source.keys_total,
                source.bytes,
            )

    # ---- merging

    async def _merge(self, name: str) -> None:
        engine, started = self._engine, self._monotonic()
        self.progress = Progress("merging", name)
        await engine.pause(RESYNCING)
        if self._replicator.membership.contested:
            engine.pausing = None
            raise LinkError("members hold two histories of one node", refused=True)
        try:
            await engine.checkpoints.flush()
            if len(engine.memtable):
                raise DiskFullError("no room for the checkpoint before the merge")
            before = engine.vector
            engine.checkpoints.hold()
            self._state.pin()
            try:
                saved = await self._join()
            finally:
                # From here on one step of the event loop: the new state, and its vector.
                self._state.unpin()
            self._reload(saved)
        finally:
            engine.pausing = None
            engine.checkpoints.release()
        await self._staging(self.incoming.discard)
        logger.info(
            "the snapshot of %s is merged: %d operations came with it, %.1f s without writes",
            name,
            missing_ops(before, engine.vector),
            self._monotonic() - started,
        )
        self._replicator.look_again()

    async def _join(self) -> Checkpoint:
        """Join what is staged into log and state, each in the thread that writes it."""
        engine = self._engine
        mine = Checkpoint(
            engine.applied_arrival, engine.replica.durable, dict(engine.names), {}, []
        )
        window, origin = engine.config.requests_remembered, engine.replica.origin
        merge = await engine.checkpoints.run(
            lambda: Merge(self.incoming, mine, engine.log.chain_at, origin=origin, window=window)
        )
        await engine.in_log(merge.adopt_history)
        first_row = engine.journal.next_number
        return await engine.checkpoints.run(
            lambda: merge.rewrite(self._state, self.losers, first_row)
        )

    def _reload(self, saved: Checkpoint) -> None:
        """Go on from the state on disk. What was learned meanwhile, and the state on disk does not
        know of, is kept: the fence, and the members' reports to this node.
        """
        engine = self._engine
        assert not len(engine.memtable), "reload over what no checkpoint has"
        before, after = engine.replica.durable, saved.durable
        after.fence = before.fence or after.fence
        after.reports = before.reports
        engine.replica.reload(after)
        engine.memtable.drop_frozen()
        engine.names.update(saved.names)
        engine.checkpoints.reload(saved.arrival)
        engine.journal.adopt(self.losers.found)
        engine.quarantine.settle(engine.vector)

    def _contradict(self, error: ContradictionError) -> None:
        """Take nothing of the origin any more: there are two histories of it."""
        engine = self._engine
        if error.origin == engine.replica.origin:
            engine.fence(str(error))
        else:
            engine.replica.durable.forks.setdefault(error.origin, str(error))
            engine.checkpoints.start()

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._task = None
        self._instead = False
        self._replicator.look_again()
        if not task.cancelled() and task.exception() is not None:
            # Not one of the errors above: what is on disk may be half known.
            self._engine.on_failure(task.exception() or AssertionError())
