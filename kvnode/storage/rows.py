"""Stored forms of the journal's and the quarantine's rows.

Version 1: ``0x01 | crc32 of the rest | msgpack list`` of the fields in their order.
"""

from __future__ import annotations

from dataclasses import astuple
from typing import Any
from zlib import crc32

import msgpack

from kvnode.core.errors import StateError
from kvnode.core.hlc import is_time_ms
from kvnode.core.losers import Loser
from kvnode.core.quarantine import Record

VERSION = b"\x01"


def encode_loser(loser: Loser) -> bytes:
    """A row of the journal; without a deadline the last field is left out."""
    fields = list(astuple(loser))
    return _packed(fields if loser.deadline else fields[:-1])


def decode_loser(raw: bytes) -> Loser:
    """The inverse of ``encode_loser``; raises ``StateError``."""
    match _unpacked(raw):
        case [
            bytes(key),
            bytes(value),
            int(hlc),
            [int(origin), int(seq)],
            int(winner_hlc),
            [int(winner_origin), int(winner_seq)],
            bool(deleted),
            *deadline,
        ] if not deadline or (len(deadline) == 1 and is_time_ms(deadline[0])):
            return Loser(
                key, value, hlc, (origin, seq), winner_hlc, (winner_origin, winner_seq), deleted,
                *deadline,
            )  # fmt: skip
    raise StateError("row of unknown form")


def encode_record(record: Record) -> bytes:
    """A row of the quarantine, without its number."""
    return _packed(
        [
            record.source,
            record.peer,
            record.reason,
            record.first_ms,
            record.last_ms,
            record.times,
            record.origin,
            record.first_seq,
            record.last_seq,
            sorted(record.awaits.items()),
            record.raw,
            record.raw_bytes,
        ]
    )


def decode_record(number: int, raw: bytes) -> Record:
    """The inverse of ``encode_record``; raises ``StateError``."""
    fields = _unpacked(raw)
    if type(fields) is not list or len(fields) != 12:
        raise StateError("row of unknown form")
    fields[9] = dict(fields[9])
    return Record(number, *fields)


def _packed(fields: list[Any]) -> bytes:
    packed: bytes = msgpack.packb(fields)
    return VERSION + crc32(packed).to_bytes(4, "big") + packed


def _unpacked(raw: bytes) -> Any:
    packed = raw[5:]
    if raw[:1] != VERSION or crc32(packed).to_bytes(4, "big") != raw[1:5]:
        raise StateError("row of an unknown version, or it fails its checksum")
    return msgpack.unpackb(packed)
