"""The stored form of a checkpoint's parts beside the entries: its record, requests, garbage."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from zlib import crc32

import msgpack

from kvnode.core.block import CHAIN_BYTES
from kvnode.core.dots import Dot
from kvnode.core.entry import Entry, garbage_dots
from kvnode.core.errors import StateError
from kvnode.core.replica import Durable
from kvnode.core.requests import Remembered, RequestWindow, Row
from kvnode.storage import fields
from kvnode.storage.interfaces import Checkpoint
from kvnode.storage.seal import sealed, unsealed

REQUEST = struct.Struct(">16sQQI")
"""Request id, origin, first seq, count."""
NUMBER_BYTES = 8
VERSION = b"\x01"
ROW_BYTES = 64
"""What a row takes beside key and value: dots and times, checksum, LMDB's part."""
PAGE_BYTES = 4096
"""LMDB's, on most machines. In the worst case each key lies on another page."""


def encode_meta(checkpoint: Checkpoint) -> bytes:
    """The checkpoint without entries and requests."""
    durable = checkpoint.durable
    packed: bytes = msgpack.packb(
        [
            checkpoint.arrival,
            sorted(durable.vector.items()),
            sorted(durable.chains.items()),
            durable.hlc,
            sorted(durable.forks.items()),
            durable.fence,
            [(origin, sorted(seen.items())) for origin, seen in sorted(durable.reports.items())],
            sorted(checkpoint.names.items()),
            *([durable.horizon] if durable.horizon else []),
        ]
    )
    return VERSION + crc32(packed).to_bytes(4, "big") + packed


def decode_meta(raw: bytes, window: int) -> Checkpoint:
    """The inverse of ``encode_meta``; raises ``StateError``."""
    packed = raw[5:]
    if raw[:1] != VERSION or crc32(packed).to_bytes(4, "big") != raw[1:5]:
        raise StateError("the checkpoint is of an unknown version or fails its checksum")
    try:
        arrival, vector, chains, hlc, forks, fence, reports, names, *horizon = fields.unpacked(
            packed, 8, 9
        )
        durable = Durable(
            RequestWindow(window),
            fields.vector(vector),
            {fields.number(o): fields.octets(c, CHAIN_BYTES) for o, c in fields.pairs(chains)},
            fields.number(hlc),
            {fields.number(o): fields.text(reason) for o, reason in fields.pairs(forks)},
            fields.text(fence),
            {fields.number(o): fields.vector(seen) for o, seen in fields.pairs(reports)},
            *map(fields.number, horizon),
        )
        called = {fields.number(o): fields.text(name) for o, name in fields.pairs(names)}
        checkpoint = Checkpoint(fields.number(arrival), durable, called, {}, [])
    except ValueError as error:
        raise StateError(f"the checkpoint is of unknown form: {error}") from error
    if durable.vector.keys() != durable.chains.keys() or encode_meta(checkpoint) != raw:
        raise StateError("the checkpoint is not in order")
    return checkpoint


def request_row(request_id: bytes, known: Row) -> tuple[bytes, bytes]:
    """Key and value in ``requests``."""
    number, origin, first, size = known  # by name takes longer, and this is one per request
    key = number.to_bytes(NUMBER_BYTES, "big")
    return key, sealed(key, REQUEST.pack(request_id, origin, first, size))


def restore_request(checkpoint: Checkpoint, key: bytes, value: bytes) -> None:
    """Put a row of ``requests`` into a loaded checkpoint; raises ``StateError``."""
    fields = unsealed(key, value, "a remembered request")
    if len(key) != NUMBER_BYTES or len(fields) != REQUEST.size:
        raise StateError("a remembered request is of unknown form")
    request_id, origin, first, size = REQUEST.unpack(fields)
    remembered = Remembered(int.from_bytes(key, "big"), origin, first, size)
    checkpoint.requests.append((request_id, remembered))
    checkpoint.durable.requests.restore(request_id, remembered)


def garbage_rows(entries: Iterable[tuple[bytes, Entry]], horizon: int) -> list[tuple[Dot, bytes]]:
    """(delete's dot, key) of all that waits in some entries, ascending."""
    return sorted((dot, key) for key, entry in entries for dot in garbage_dots(entry, horizon))


def room_for(checkpoint: Checkpoint, pages_bytes: int) -> int:
    """Bytes that writing it takes, about; ``pages_bytes``: of the entries stored already."""
    keys = len(checkpoint.entries)
    written = checkpoint.entries_bytes + ROW_BYTES * keys
    return 2 * (written + min(pages_bytes, PAGE_BYTES * keys))
