"""Watches: places in the log, moved on as their readers take what is there.

What a watch shows and what its token means stands in ``core/watch.py``. Here is what follows for a
running node.

**Nothing is queued for a watch.** It is a generator that reads a step from the log when its reader
asks for the next one (gRPC's flow control asks), and otherwise a vector. A thousand readers that
do not read cost a thousand vectors, and nobody waits for them. The price is that the log goes on
being cut: no watch pins it, since a reader that sleeps for a week must not fill the disk. Who
falls below the log's floor gets WATCH_BEHIND with its last token.

**The floor also tells of snapshots.** What a merge (``resync.py``) brings is in no block; it
raises the floor to what it stands for, so a watch that was below is behind, and told so.

Most readers keep up, so they are all at one place: what the first one reads there is kept for the
others, one step of blocks for all watches together.

A commit wakes who waits; who has nothing to be told gets a sign of life and its token now and
then. The token moves on over blocks without keys of its prefix too, else a quiet prefix would fall
behind.

A block that is in the log may still be waiting for its round to become visible: the vector says.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from kvnode.core.block import decode_block
from kvnode.core.dots import Vector, covers
from kvnode.core.entry import Entry, visible_types
from kvnode.core.errors import Reason, Refused
from kvnode.core.ranges import prefix_end
from kvnode.core.watch import Cursor, Writes, gather
from kvnode.node.clocks import now_ms
from kvnode.storage.interfaces import BelowFloor, DamagedBlock

if TYPE_CHECKING:
    from kvnode.core.block import Block
from kvnode.node.engine import Engine

STEP_BYTES = 256 << 10
"""Of blocks per step, or one block: how long the event loop is busy with one watch."""
STEP_KEYS = 256
"""Keys per step of those that were there before."""


class Look(NamedTuple):
    """What a reader that was shown ``shown`` lacks next of a node with ``vector``."""

    shown: Vector
    vector: Vector
    blocks: Sequence[Block]


class Watching:
    """The watches of one engine."""

    def __init__(self, engine: Engine, check_place: Callable[[], None]) -> None:
        """``check_place`` raises Refused when clients have no business here."""
        self.count = 0
        """Watches that are open."""
        self._engine = engine
        self._check_place = check_place
        self._news = asyncio.Event()
        """Set, and replaced, with the next commit."""
        self._looked = Look({}, {}, [])
        """The last look at the log: most watches are at the same place, and ask next."""
        self._closed = False

    def committed(self) -> None:
        """Something may have become visible."""
        if self.count:
            self._wake()

    def close(self) -> None:
        """End all watches."""
        self._closed = True
        self._wake()

    def now(self) -> Cursor:
        """A place behind all that this node has."""
        vector = self._engine.vector
        return Cursor(vector, vector)

    async def follow(
        self, cursor: Cursor, prefix: bytes, heartbeat_s: float
    ) -> AsyncIterator[Writes]:
        """What comes behind the cursor, which has moved when a step is given; empty: still there.

        Keys without writes were there before. The caller tells the cursor what it shows
        (``Cursor.saw``). While the node lacks what the cursor has seen, steps are empty.

        Raises:
            Refused: WATCH_BEHIND, WATCH_AHEAD, TOO_MANY_WATCHES, STOPPING, STATE_DAMAGED and what
                clients are told in general.
        """
        if self.count >= self._engine.config.watches_max:
            raise Refused(
                Reason.TOO_MANY_WATCHES,
                f"this node has {self.count} watches open, which is all it takes (watches_max)",
                limit=str(self._engine.config.watches_max),
            )
        self.count += 1
        try:
            self._check(cursor)
            yield {}
            async for writes in self._arrival(cursor, heartbeat_s):
                yield writes
            while cursor.scanned is not None:
                self._check(cursor)
                yield self._scan(cursor, prefix)
                await asyncio.sleep(0)
            async for writes in self._changes(cursor, prefix, heartbeat_s):
                yield writes
        finally:
            self.count -= 1

    async def _arrival(self, cursor: Cursor, heartbeat_s: float) -> AsyncIterator[Writes]:
        """Wait until this node has what the cursor has seen."""
        loop = asyncio.get_running_loop()
        until = loop.time() + self._engine.config.watch_wait_ms / 1000
        while not covers(self._engine.vector, cursor.seen):
            left_s = until - loop.time()
            if left_s <= 0:
                raise self._ahead(cursor)
            if not await self._woken(self._news, min(left_s, heartbeat_s)):
                yield {}
            self._check(cursor)

    async def _changes(
        self, cursor: Cursor, prefix: bytes, heartbeat_s: float
    ) -> AsyncIterator[Writes]:
        loop = asyncio.get_running_loop()
        beat = loop.time() + heartbeat_s
        while True:
            self._check(cursor)
            news = self._news
            blocks = self._lacking(cursor)
            writes = gather(blocks, prefix)
            cursor.advance(blocks)
            if not writes and loop.time() < beat:
                if blocks:
                    await asyncio.sleep(0)
                else:
                    await self._woken(news, beat - loop.time())
                continue
            yield writes
            beat = loop.time() + heartbeat_s

    def _lacking(self, cursor: Cursor) -> Sequence[Block]:
        """The next visible blocks."""
        vector = self._engine.vector
        if covers(cursor.shown, vector):
            return []
        looked = self._looked
        if looked.vector is vector and looked.shown == cursor.shown:
            return looked.blocks
        try:
            raws, _ = self._engine.log.lacking(cursor.shown, STEP_BYTES)
        except BelowFloor as error:
            raise _behind(str(error)) from error
        except DamagedBlock as error:
            raise Refused(
                Reason.STATE_DAMAGED, f"a block of this node's log is damaged: {error}"
            ) from error
        blocks: list[Block] = []
        for raw in raws:
            block = decode_block(raw)
            if block.last_seq > vector.get(block.origin, 0):
                break
            blocks.append(block)
        self._looked = Look(cursor.shown, vector, blocks)
        return blocks

    def _scan(self, cursor: Cursor, prefix: bytes) -> Writes:
        """The next keys that are visible, without writes."""
        found: Writes = {}
        now = now_ms(self._engine.replica.durable, self._engine.ambient.wall_ms())

        def accept(key: bytes, entry: Entry) -> bool:
            if len(found) >= STEP_KEYS:
                return False
            if visible_types(entry, now):
                found[key] = []
            return True

        assert cursor.scanned is not None
        start = cursor.scanned + b"\0" if cursor.scanned else prefix
        cursor.scanned = self._engine.memtable.scan(start, prefix_end(prefix), accept)
        return found

    def _check(self, cursor: Cursor) -> None:
        if self._closed:
            raise Refused(Reason.STOPPING, "the node is stopping: go on at another one")
        self._check_place()
        floor = self._engine.log.floor
        if not covers(cursor.shown, floor):
            pausing = self._engine.pausing
            if pausing is not None:  # a merge: the log is ahead of what this node has to show
                raise Refused(pausing.reason, pausing.message)
            raise _behind("this node's log begins later")

    def _ahead(self, cursor: Cursor) -> Refused:
        limits = self._engine.replica.limits
        lost = {o: seq for o, seq in cursor.seen.items() if seq > limits.get(o, seq)}
        if lost and covers(self._engine.vector, {**cursor.seen, **{o: limits[o] for o in lost}}):
            return _behind("it has seen writes of a forgotten node that the cluster does not have")
        return Refused(
            Reason.WATCH_AHEAD,
            "the watch has seen writes that this node does not have yet: go on at another node, "
            "or try again when they can reach each other",
        )

    async def _woken(self, news: asyncio.Event, within_s: float) -> bool:
        """Wait for the next commit; whether it came in time."""
        try:
            async with asyncio.timeout(within_s):
                await news.wait()
        except TimeoutError:
            return False
        return True

    def _wake(self) -> None:
        self._news.set()
        self._news = asyncio.Event()


def _behind(why: str) -> Refused:
    return Refused(
        Reason.WATCH_BEHIND,
        f"what the watch should go on with is no longer in the log of this node: {why}. Ask "
        "another node, or begin anew with the keys that are there",
    )
