"""Snapshots this node gives to others.

A request cuts a checkpoint, copies the state (``storage/snapshot.py``) and serves the copy in
chunks. All who ask while the copy is of the newest checkpoint share it; one that nobody has asked
for in a while is removed. From the request on the log is *pinned* at the copy's arrival: what comes
behind it must still be in the log when the receiver, its merge done, pulls the rest. The pin goes
when the receiver reports that it covers the snapshot, or with the same idle time: a receiver that
has died must not hold the log for ever.

Everything that takes long runs in threads; the rate is bounded over all receivers.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from kvnode.core.dots import covers
from kvnode.core.errors import Reason, Refused
from kvnode.core.report import Hello
from kvnode.core.snapshot import START, Position
from kvnode.node.engine import Engine
from kvnode.node.replicator import Replicator
from kvnode.rpc.snapshot_codec import Fetched, Offer
from kvnode.storage.interfaces import DiskFullError
from kvnode.storage.snapshot import (
    ID_BYTES,
    NoCheckpointError,
    Snapshot,
    SnapshotGoneError,
    clear_snapshots,
    make_snapshot,
)
from kvnode.storage.state import LmdbState

logger = logging.getLogger(__name__)
SIGN_OF_LIFE_S = 1.0
"""Well below the time after which a peer gives up on a silent link."""
MADE_S = 2.0
"""A copy this young may be on its way to who asked for it."""


@dataclass(slots=True)
class Session:
    """One receiver of one snapshot."""

    snapshot: Snapshot
    asked: float
    """When it last asked for a part, monotonic seconds."""


class Snapshots:
    """The copies this node has, and who is getting them."""

    def __init__(
        self,
        engine: Engine,
        replicator: Replicator,
        state: LmdbState,
        folder: Path,
        *,
        store: int,
        pins: dict[str, int],
    ) -> None:
        """Nothing is copied yet.

        Args:
            store: what the state is marked with.
            pins: receiver -> arrival behind which its log must stay (``retention``).
        """
        self._engine = engine
        self._monotonic = engine.ambient.monotonic
        self._replicator = replicator
        self._state = state
        self._folder = folder
        self._store = store
        self._pins = pins
        self._copies: dict[bytes, Snapshot] = {}
        self._made: dict[bytes, float] = {}
        """Copy -> when it was made, monotonic seconds."""
        self._sessions: dict[str, Session] = {}
        self._asking: list[str] = []
        """Who waits for a copy that is being made."""
        self._making: asyncio.Task[Snapshot] | None = None
        self._free_at = 0.0
        """When the next chunk may go out, monotonic seconds."""
        clear_snapshots(folder)

    async def fetch(
        self, hello: Hello, snapshot: bytes, position: Position, bytes_max: int
    ) -> AsyncGenerator[Fetched]:
        """The chunks behind ``position``, about ``bytes_max`` of them.

        Raises:
            Refused: what a handshake refuses, SNAPSHOT_GONE, DISK_FULL (no room for the copy),
                STOPPING.
        """
        if hello.origin in self._replicator.membership.roster.forgets:
            raise Refused(Reason.FORGOTTEN, f"node {hello.name!r} was forgotten")
        peer = self._replicator.introduce(hello)
        if not snapshot:
            position = START
            self._pins.setdefault(peer.name, self._engine.checkpoints.covered)
            self._asking.append(peer.name)
            try:
                making = self._newest()
                while not making.done():
                    yield Fetched()
                    await asyncio.wait((making,), timeout=SIGN_OF_LIFE_S)
                copy = await making
            finally:  # a pin that no session stands for would hold the log for ever
                self._asking.remove(peer.name)
                if peer.name not in self._sessions and peer.name not in self._asking:
                    self._pins.pop(peer.name, None)
        elif snapshot in self._copies:
            copy = self._copies[snapshot]
        else:
            raise _gone()
        session = Session(copy, self._monotonic())
        self._sessions[peer.name] = session
        self._pins[peer.name] = copy.arrival
        offer = Offer(copy.id, copy.keys_total, copy.bytes_total)
        left = bytes_max or self._engine.config.pull_bytes
        try:
            chunk = await self._engine.ambient.in_thread(partial(copy.chunk_behind, position))
            while chunk is not None and left > 0 and not self._replicator.closing:
                left -= len(chunk.rows)
                await self._take_turn(len(chunk.rows))
                behind = partial(copy.chunk_behind, chunk.position)
                following = await self._engine.ambient.in_thread(behind)
                session.asked = self._monotonic()
                yield Fetched(offer, chunk, last=following is None)
                chunk = following
        except SnapshotGoneError as error:
            raise _gone() from error

    def tidy(self) -> None:
        """Let go of pins and copies that are not needed any more. To be called now and then."""
        now = self._monotonic()
        idle_s = self._engine.config.snapshot_idle_s
        for name, session in list(self._sessions.items()):
            peer = self._replicator.peers.get(name)
            done = peer is not None and covers(peer.vector, session.snapshot.vector)
            if done or now - session.asked > idle_s:
                del self._sessions[name]
                self._pins.pop(name, None)
        used = {session.snapshot.id for session in self._sessions.values()}
        unused = [
            id_
            for id_, copy in self._copies.items()
            if id_ not in used and now - self._made[id_] > MADE_S
        ]
        for id_ in unused:
            logger.info("the snapshot at arrival %d is removed", self._copies[id_].arrival)
            del self._made[id_]
            self._copies.pop(id_).remove()

    async def close(self) -> None:
        """Remove all copies."""
        if self._making is not None:
            with contextlib.suppress(Exception):
                await self._making
        for copy in self._copies.values():
            copy.remove()
        self._copies.clear()
        self._sessions.clear()

    def _newest(self) -> asyncio.Task[Snapshot]:
        """A copy of the state as it is now, one at a time for all who ask."""
        if self._making is None or self._making.done():
            self._making = asyncio.create_task(self._make(), name="snapshot")
        return self._making

    async def _make(self) -> Snapshot:
        engine = self._engine
        stable = self._replicator.stable()  # before the cut: see Log.ends
        await engine.checkpoints.flush()
        for copy in self._copies.values():
            if copy.arrival == engine.checkpoints.covered:
                return copy
        started = self._monotonic()
        ends = engine.log.ends(stable)
        try:
            copy = await engine.ambient.in_thread(
                partial(
                    make_snapshot,
                    self._folder,
                    self._state,
                    self._store,
                    ends,
                    engine.ambient.chance.randbytes(ID_BYTES),
                )
            )
        except (DiskFullError, NoCheckpointError) as error:  # put off as long as the disk is full
            raise Refused(Reason.DISK_FULL, str(error)) from error
        logger.info(
            "a snapshot at arrival %d was made: %d keys, %d bytes, %.1f s",
            copy.arrival,
            copy.keys_total,
            copy.bytes_total,
            self._monotonic() - started,
        )
        self._copies[copy.id] = copy
        self._made[copy.id] = self._monotonic()
        return copy

    async def _take_turn(self, size: int) -> None:
        now = self._monotonic()
        wait_s = self._free_at - now
        self._free_at = max(self._free_at, now) + size / self._engine.config.snapshot_bytes_per_s
        if wait_s > 0:
            await asyncio.sleep(wait_s)


def _gone() -> Refused:
    return Refused(Reason.SNAPSHOT_GONE, "that snapshot is no longer kept: ask for a new one")
