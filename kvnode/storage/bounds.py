"""Where a log begins: what left it at the front, and what a snapshot put in its place."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from zlib import crc32

import msgpack

from kvnode.core.dots import Dot, Vector
from kvnode.storage import fields

CRC_BYTES = 4


@dataclass(frozen=True, slots=True)
class Bounds:
    """Where the log begins, per arrival and per origin; see ``interfaces.Log``."""

    first_arrival: int = 1
    floor: Vector = field(default_factory=dict)
    pruned: Vector = field(default_factory=dict)

    def encode(self) -> bytes:
        """As stored."""
        packed: bytes = msgpack.packb(
            [self.first_arrival, sorted(self.floor.items()), sorted(self.pruned.items())]
        )
        return crc32(packed).to_bytes(CRC_BYTES, "big") + packed

    @staticmethod
    def decode(raw: bytes) -> Bounds:
        """The inverse of ``encode``; ValueError if it is damaged."""
        packed = raw[CRC_BYTES:]
        if crc32(packed).to_bytes(CRC_BYTES, "big") != raw[:CRC_BYTES]:
            raise ValueError("the log's floor fails its checksum")
        first, floor, pruned = fields.unpacked(packed, 3)
        bounds = Bounds(fields.number(first), fields.vector(floor), fields.vector(pruned))
        if bounds.encode() != raw:
            raise ValueError("the log's floor is not in order")
        return bounds


def adopted_rows(
    here: Vector, floor: Vector, ends: Iterable[tuple[Dot, bytes]]
) -> tuple[Vector, list[tuple[Dot, bytes]]]:
    """The maximum of both floors, and the rows of a snapshot, sorted.

    Raises:
        ValueError: a row above that floor, where blocks are to come.
    """
    merged = {o: max(floor.get(o, 0), here.get(o, 0)) for o in floor.keys() | here.keys()}
    rows = sorted(ends)
    for (origin, seq), _ in rows:
        if seq > merged.get(origin, 0):
            raise ValueError(f"block end {origin:016x}:{seq} is above the floor")
    return merged, rows


def adopted_pruned(
    pruned: Vector,
    floor: Vector,
    rows: Sequence[tuple[Dot, bytes]],
    tails: Vector,
) -> Vector:
    """Below what block ends may be unknown after adopting a floor with these rows, sorted.

    ``tails``: the last row here of each origin.

    A snapshot has the rows its sender still had: between the last row here and the first of those
    there may be others that nobody here knows of.
    """
    first: Vector = {}
    for (origin, seq), _ in rows:
        if seq > tails.get(origin, 0):
            first.setdefault(origin, seq)
    raised = {
        origin: first.get(origin, seq + 1)
        for origin, seq in floor.items()
        if seq > tails.get(origin, 0)
    }
    return {**pruned, **raised}
