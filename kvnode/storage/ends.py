"""Rows of the log's index: where a block ends, and what there is to know of it without reading it.

A wrong chain value here would make an honest block look like a second history, for which an origin
is fenced for good; a wrong arrival would give a peer another block. So each row has a checksum.
"""

from __future__ import annotations

from struct import Struct
from typing import Any, NamedTuple

from kvnode.core.dots import Dot
from kvnode.storage.interfaces import DamagedPages
from kvnode.storage.seal import CRC_BYTES, sealed, unsealed

FIELDS = Struct(">Q16sQQ")


class End(NamedTuple):
    """One row; its key is the dot."""

    arrival: int
    """0: it came with a snapshot, the block never was here."""
    chain: bytes
    upto_bytes: int
    """Size of all the origin's blocks up to and with this one."""
    wall_ms: int

    def row(self, key: bytes) -> bytes:
        """As stored under ``key``."""
        return sealed(key, FIELDS.pack(*self))


def end_of(key: bytes, row: bytes) -> End:
    """The row stored under ``key``; DamagedPages."""
    value = unsealed(key, row, "a row of the log's index")
    if len(row) != FIELDS.size + CRC_BYTES:
        raise DamagedPages("a row of the log's index is of unknown form")
    return End._make(FIELDS.unpack(value))


def end_key(origin: int, seq: int) -> bytes:
    """Under which the row of a block that ends there is stored."""
    return origin.to_bytes(8, "big") + seq.to_bytes(8, "big")


def find_arrival(txn: Any, table: Any, arrival: int, likely: Dot) -> tuple[Dot, End | None]:
    """The row of the block that arrived so, ``likely`` under this dot; None if there is none."""
    row = txn.get(end_key(*likely), db=table)
    if row is not None and (end := end_of(end_key(*likely), row)).arrival == arrival:
        return likely, end
    with txn.cursor(table) as cursor:
        found = cursor.first()
        while found:
            key, row = map(bytes, cursor.item())
            if (end := end_of(key, row)).arrival == arrival:
                return dot_of(key), end
            found = cursor.next()
    return likely, None


def dot_of(key: bytes) -> Dot:
    """The dot in a row's key."""
    return number_of(key[:8]), number_of(key[8:])


def number_of(key: bytes) -> int:
    """The number in a key, or a part of one."""
    return int.from_bytes(key, "big")
