"""What a node says of its own state to whoever verifies, and what it does when asked to heal.

Digests and parts of ranges come from the last checkpoint, read by a thread of their own while
rounds go on. Single keys are told as they are now, in memory, together with the vector of the same
moment: no ``await`` lies between the two.

Digests are as of a time (``storage/deadlines.py``): the one asked for, or what this node has let go
already if that is later; the answer says which.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TypeVar

from kvnode.core.block import Block, decode_block
from kvnode.core.digest import Digest, key_digest, live_dots
from kvnode.core.dots import Vector
from kvnode.core.entry import Entry, decode_entry, encode_entry
from kvnode.core.errors import Reason, Refused, StateError
from kvnode.core.repair import removed_ahead
from kvnode.core.types import TYPES
from kvnode.node.engine import Engine
from kvnode.rpc.replication_codec import vector_from_wire, vector_to_wire
from kvnode.storage.digest_reading import CheckedSegment, Digests, check_segment, range_digests
from kvnode.storage.interfaces import BelowFloor, DamagedBlock, Moved, StateStore
from kvnode.v1 import types_pb2
from kvnode.v1 import verify_pb2 as pb

PARTS = 16
"""Into so many a range is cut that differs."""
LEAF_KEYS = 32
"""So few keys are compared one by one."""
LISTED_MAX = 1_000
"""Damaged keys a check lists."""
REPORT_EVERY = 16
"""Segments between two words about a check's progress."""
MESSAGE_BYTES_MAX = 8 << 20
LACKING_BYTES = 4 << 20
LACKING_BYTES_MAX = 256 << 20
"""Of the log that is read to catch up one key: beyond, let replication catch up first."""
TRIES = 20
"""To read something that checkpoints keep moving."""

Range = tuple[bytes, bytes]
T = TypeVar("T")


@dataclass(slots=True)
class Checked:
    """What reading the whole stored state has found so far."""

    keys: int = 0
    damaged: list[bytes] = field(default_factory=list)
    miscounted: list[bytes] = field(default_factory=list)
    """Segments whose digest was wrong."""
    complete: bool = False

    def message(self) -> pb.CheckReply:
        """For the wire."""
        return pb.CheckReply(
            keys=self.keys,
            damaged=self.damaged[:LISTED_MAX],
            damaged_count=len(self.damaged),
            miscounted=len(self.miscounted),
            complete=self.complete,
        )


class Verifier:
    """This node as one of those that are compared."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._worker = engine.ambient.worker("kvnode-verify")

    def close(self) -> None:
        """End the thread."""
        self._worker.close()

    @property
    def store(self) -> StateStore:
        """Of the checkpoints."""
        return self.engine.checkpoints.state

    async def run(self, job: Callable[[], T]) -> T:
        """Run a short job in the reading thread."""
        return await self._worker.result(job)

    # ---- ranges, as of a checkpoint

    async def digests(self, ranges: Sequence[Range], past: int = 0) -> Digests:
        """The digests of ranges, as of ``past`` or later. Moved if checkpoints come too fast."""
        return await self.run(lambda: range_digests(self.store, ranges, past))

    async def compare(self, request: pb.CompareRequest) -> pb.CompareReply:
        """Digests, and parts or keys of the ranges that differ from the caller's."""
        if request.fresh:
            await self.engine.checkpoints.current()
        try:
            return await self.run(lambda: _answer(self.store, request))
        except Moved:
            return pb.CompareReply(moved=True)

    async def keys(self, start: bytes, end: bytes, past: int) -> list[pb.KeyDigest]:
        """The keys of a range that the caller knows to be small, and their digests."""
        return await self.run(lambda: _keys(self.store, start, end, past))

    async def check(self) -> AsyncGenerator[pb.CheckReply]:
        """Read all that is stored; wrong digests are counted anew."""
        async with aclosing(self.checked()) as segments:
            async for checked in segments:
                yield checked.message()

    async def checked(self) -> AsyncGenerator[Checked]:
        """Read all that is stored, segment by segment; the same object, again and again."""
        checked = Checked()
        await self.engine.checkpoints.current()
        start, segments = b"", 0
        while segments == 0 or start:
            found = await self._check_segment(start)
            checked.keys += found.keys
            checked.damaged += found.damaged
            if found.miscounted:
                checked.miscounted.append(start)
            start, segments = found.next, segments + 1
            if start and segments % REPORT_EVERY == 0:
                yield checked
        if checked.miscounted:
            await self.engine.checkpoints.current(checked.miscounted)
        checked.complete = True
        yield checked

    async def _check_segment(self, start: bytes) -> CheckedSegment:
        for _ in range(TRIES):
            try:
                return await self.run(lambda: check_segment(self.store, start))
            except Moved:
                continue
        raise Refused(Reason.QUEUE_FULL, "checkpoints come too fast to read the state between them")

    # ---- keys, as they are now

    def read(self, key: bytes) -> Entry | None:
        """What is kept under the key now, None if it is damaged."""
        try:
            return self.engine.memtable.read(key)
        except StateError:
            return None

    @property
    def horizon(self) -> int:
        """What is kept now may lack whatever had a deadline till then."""
        return self.engine.replica.durable.horizon

    def digest_of(self, key: bytes, past: int) -> pb.KeyDigest:
        """Of the key now, as of ``past``, with the dots of what is live."""
        return key_message(key, self.read(key), past, dots=True)

    async def fetch(self, request: pb.FetchRequest) -> pb.FetchReply:
        """Digests or entries of keys, and the vector of the same moment."""
        past = max(request.as_of_ms, self.horizon)
        reply = pb.FetchReply(vector=vector_to_wire(self.engine.vector), as_of_ms=past)
        ahead: list[Block] = []
        if request.entries:
            ahead = self.lacking(vector_from_wire(request.vector))
        size = 0
        for key in request.keys:
            entry = self.read(key)
            fetched = pb.FetchedKey(digest=key_message(key, entry, past, dots=True))
            if request.entries and entry is not None:
                fetched.entry = encode_entry(entry) if entry else b""
                fetched.removed.extend(
                    types_pb2.Dot(origin=origin, seq=seq)
                    for origin, seq in removed_ahead(key, entry, ahead)
                )
            size += fetched.ByteSize()
            if reply.keys and size > MESSAGE_BYTES_MAX:
                break
            reply.keys.append(fetched)
        return reply

    def lacking(self, vector: Vector) -> list[Block]:
        """The applied blocks of the own log that ``vector`` lacks, in its order.

        While a round is being logged the log is ahead of the entries: a value that its block writes
        and no entry holds yet would be taken for one that was removed since.

        Raises:
            Refused: they are too many to be looked through, or the log has them no more.
        """
        have, found, size = dict(vector), [], 0
        applied = self.engine.vector
        while True:
            try:
                raws, complete = self.engine.log.lacking(have, LACKING_BYTES)
            except (BelowFloor, DamagedBlock) as error:
                raise Refused(
                    Reason.QUEUE_FULL, f"{error}: let the two nodes catch up first"
                ) from error
            for raw in raws:
                block = decode_block(raw)
                if block.last_seq <= applied.get(block.origin, 0):
                    found.append(block)
                have[block.origin] = block.last_seq
                size += len(raw)
            if complete:
                return found
            if size > LACKING_BYTES_MAX:
                raise Refused(
                    Reason.QUEUE_FULL, "the two nodes are too far apart: let them catch up first"
                )

    async def heal(self, request: pb.HealRequest) -> pb.HealReply:
        """Put an entry in place of another, if that is there still."""
        try:
            entry = decode_entry(request.entry) if request.entry else {}
        except StateError as error:
            raise Refused(Reason.BAD_REQUEST, f"a repair with a broken entry: {error}") from error
        if any(state == TYPES[kind].EMPTY for kind, state in entry.items()):
            raise Refused(Reason.BAD_REQUEST, "a repair with an entry that no node holds")
        healed = await self.replace(request.key, request.expected, entry)
        if healed:
            await self.engine.checkpoints.current()
        return pb.HealReply(healed=healed)

    async def replace(self, key: bytes, expected: bytes, entry: Entry) -> bool:
        """Install ``entry`` if the key's stored form is ``expected``; whether it was."""
        there: list[bool] = []

        def change() -> dict[bytes, Entry]:
            now = self.read(key)
            there.append(now is not None and (encode_entry(now) if now else b"") == expected)
            return {key: entry} if there[0] else {}

        await self.engine.adjust(change)
        return there[0]


def key_message(key: bytes, entry: Entry | None, past: int, *, dots: bool = False) -> pb.KeyDigest:
    """A key's digest as of ``past``, for the wire."""
    if entry is None:
        return pb.KeyDigest(key=key, damaged=True)
    digest = key_digest(key, entry, past)
    message = pb.KeyDigest(key=key, sum=digest.sum.to_bytes(16, "big") if digest.keys else b"")
    if dots:
        message.dots.extend(types_pb2.Dot(origin=o, seq=s) for o, s in live_dots(entry, past))
    return message


def range_message(start: bytes, end: bytes, digest: Digest) -> pb.RangeDigest:
    """A range's digest for the wire."""
    return pb.RangeDigest(
        start=start, end=end, keys=digest.keys, sum=digest.sum.to_bytes(16, "big")
    )


def digest_from(message: pb.RangeDigest) -> Digest:
    """The digest in a message."""
    return Digest(message.keys, int.from_bytes(message.sum, "big"))


def _answer(store: StateStore, request: pb.CompareRequest) -> pb.CompareReply:
    ranges = [(asked.start, asked.end) for asked in request.ranges]
    found = range_digests(store, ranges, request.as_of_ms)
    past = found.past
    reply = pb.CompareReply(vector=vector_to_wire(found.tag.vector), as_of_ms=past)
    for asked, digest in zip(request.ranges, found.digests, strict=True):
        start, end = asked.start, asked.end
        answer = reply.ranges.add(digest=range_message(start, end, digest))
        if request.digests_only or digest == digest_from(asked):
            continue
        if digest.keys <= LEAF_KEYS:
            answer.keys.extend(_keys(store, start, end, past))
        else:
            parts = _parts(store, start, end)
            digests = range_digests(store, parts, past).digests
            answer.parts.extend(
                range_message(low, high, part)
                for (low, high), part in zip(parts, digests, strict=True)
            )
    return reply


def _keys(store: StateStore, start: bytes, end: bytes, past: int) -> list[pb.KeyDigest]:
    found = []
    for key, raw in _stored(store, start, end):
        try:
            entry = decode_entry(raw, key)
        except StateError:
            found.append(pb.KeyDigest(key=key, damaged=True))
            continue
        message = key_message(key, entry, past)
        if message.sum:
            found.append(message)
    return found


def _stored(store: StateStore, start: bytes, end: bytes) -> Iterable[tuple[bytes, bytes]]:
    more = True
    while more:
        stored = store.stored(start, end, 512, LACKING_BYTES)
        yield from stored.rows
        more = stored.more
        if more:
            start = stored.rows[-1][0] + b"\0"


def _parts(store: StateStore, start: bytes, end: bytes) -> list[Range]:
    """The range in some ``PARTS`` pieces: between segments, or else between keys."""
    inside = [low for low, _ in store.segments(start, end).rows if low > start]
    if not inside:
        inside = [key for key, _ in _stored(store, start, end) if key > start]
    step = max(1, -(-len(inside) // PARTS))
    bounds = [start, *inside[step - 1 :: step], end]
    return list(pairwise(bounds))
