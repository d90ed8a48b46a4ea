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
from kvnode.storage import fields

VERSION = b"\x01"


def encode_loser(loser: Loser) -> bytes:
    """A row of the journal; without a deadline the last field is left out."""
    values = list(astuple(loser))
    return _packed(values if loser.deadline else values[:-1])


def decode_loser(raw: bytes) -> Loser:
    """The inverse of ``encode_loser``; raises ``StateError``."""
    try:
        key, value, hlc, dot, winner_hlc, winner, deleted, *deadline = _unpacked(raw, 7, 8)
        loser = Loser(
            fields.octets(key),
            fields.octets(value),
            fields.number(hlc),
            fields.dot(dot),
            fields.number(winner_hlc),
            fields.dot(winner),
            fields.flag(deleted),
            *map(fields.number, deadline),
        )
    except ValueError as error:
        raise StateError(f"row of unknown form: {error}") from error
    if encode_loser(loser) != raw or not (loser.deadline == 0 or is_time_ms(loser.deadline)):
        raise StateError("row that is not in order")
    return loser


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
    try:
        source, peer, reason, *numbers, awaits, kept, raw_bytes = _unpacked(raw, 12)
        first_ms, last_ms, times, origin, first_seq, last_seq = map(fields.number, numbers)
        record = Record(
            number,
            fields.text(source),
            fields.text(peer),
            fields.text(reason),
            first_ms,
            last_ms,
            times,
            origin,
            first_seq,
            last_seq,
            fields.vector(awaits),
            fields.octets(kept),
            fields.number(raw_bytes),
        )
    except ValueError as error:
        raise StateError(f"row of unknown form: {error}") from error
    if encode_record(record) != raw:
        raise StateError("row that is not in order")
    return record


def _packed(values: list[Any]) -> bytes:
    packed: bytes = msgpack.packb(values)
    return VERSION + crc32(packed).to_bytes(4, "big") + packed


def _unpacked(raw: bytes, *sizes: int) -> list[Any]:
    packed = raw[5:]
    if raw[:1] != VERSION or crc32(packed).to_bytes(4, "big") != raw[1:5]:
        raise StateError("row of an unknown version, or it fails its checksum")
    return fields.unpacked(packed, *sizes)
