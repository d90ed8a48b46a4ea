"""Chunks of a snapshot to the wire, in pieces, and back."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from kvnode.core.snapshot import CHUNK_BYTES, Chunk, Section
from kvnode.v1 import snapshot_pb2 as pb


@dataclass(frozen=True, slots=True)
class Offer:
    """What a sender says of a snapshot."""

    snapshot: bytes
    """Its id."""
    keys_total: int
    bytes_total: int


@dataclass(frozen=True, slots=True)
class Fetched:
    """One answer of a fetch: nothing yet, or a chunk."""

    offer: Offer | None = None
    chunk: Chunk | None = None
    last: bool = False


def to_wire(offer: Offer, chunk: Chunk, *, last: bool) -> Iterator[pb.SnapshotChunk]:
    """The messages that carry a chunk: one, unless a row is larger than a message should be."""
    for offset in range(0, len(chunk.rows), 2 * CHUNK_BYTES):
        yield pb.SnapshotChunk(
            snapshot=offer.snapshot,
            section=int(chunk.section),  # type: ignore[arg-type]
            first_key=chunk.first_key,
            last_key=chunk.last_key,
            rows=chunk.rows[offset : offset + 2 * CHUNK_BYTES],
            offset=offset,
            size=len(chunk.rows),
            crc=chunk.crc,
            last=last,
            keys_total=offer.keys_total,
            bytes_total=offer.bytes_total,
        )


@dataclass(slots=True)
class Assembler:
    """Puts the pieces of chunks together again."""

    chunk_bytes_max: int
    _pieces: list[bytes] = field(default_factory=list)
    _size: int = 0

    def add(self, message: pb.SnapshotChunk) -> Fetched:
        """What the message completes; ``ValueError`` if it does not follow the one before."""
        if not message.size:
            return Fetched()
        if message.size > self.chunk_bytes_max:
            raise ValueError(
                f"a chunk of {message.size} bytes, the limit is {self.chunk_bytes_max}"
            )
        if message.offset != self._size or not message.rows:
            raise ValueError(f"a piece at {message.offset} where {self._size} was expected")
        self._pieces.append(message.rows)
        self._size += len(message.rows)
        offer = Offer(message.snapshot, message.keys_total, message.bytes_total)
        if self._size < message.size:
            return Fetched(offer)
        rows = b"".join(self._pieces)
        self._pieces.clear()
        self._size = 0
        if len(rows) != message.size:
            raise ValueError(f"{len(rows)} bytes where {message.size} were announced")
        section = Section(message.section)  # ValueError for one this version does not know
        chunk = Chunk(section, message.first_key, message.last_key, rows, message.crc)
        return Fetched(offer, chunk, message.last)
