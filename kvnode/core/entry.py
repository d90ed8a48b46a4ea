"""Everything kept under one key: ``{type: state}``, almost always of one type.

One record per key, whatever its types, so that one look-up tells a write all it must know and
the store's order is the keys' order. Entries are never changed in place.

Stored form, version 1: ``0x01 | crc32 of key and rest, big-endian | msgpack [type, state, ...]``
with types ascending: equal entries have equal bytes. The key counts in the checksum so that an
entry under another key is found out. In messages, which name the key beside it, it is left out.
"""

from __future__ import annotations

from collections.abc import Container
from typing import Any
from zlib import crc32

import msgpack

from kvnode.core.dots import Dot, Vector
from kvnode.core.errors import StateError
from kvnode.core.types import SIBLINGS, TYPES, State, siblings

Entry = dict[int, State]

NOTHING: Entry = {}
VERSION = 1
_MERGE = {kind: module.merge for kind, module in TYPES.items()}
_EMPTY = {kind: module.EMPTY for kind, module in TYPES.items()}


def visible_types(entry: Entry, now: int) -> list[int]:
    """The types that show a reader something at ``now`` (Unix ms), ascending."""
    return [kind for kind in sorted(entry) if TYPES[kind].visible(entry[kind], now)]


def in_conflict(entry: Entry, now: int) -> bool:
    """Whether a reader sees more than one value: several siblings, or several types."""
    if not entry or (len(entry) == 1 and (SIBLINGS not in entry or len(entry[SIBLINGS][0]) < 2)):
        return False
    types = visible_types(entry, now)
    return len(types) > 1 or (types == [SIBLINGS] and len(siblings.shown(entry[SIBLINGS], now)) > 1)


def merge_delta(entry: Entry, kind: int, delta: State, seen: Container[Dot], dot: Dot) -> Entry:
    """``entry`` with one operation merged in.

    Args:
        seen: what the replica had received before this operation.
        dot: the operation's own.
    """
    empty = _EMPTY[kind]
    state = _MERGE[kind](entry.get(kind, empty), delta, seen, (dot,))
    if state != empty and (not entry or (len(entry) == 1 and kind in entry)):
        return {kind: state}  # almost always, and this runs for every operation
    return _with(entry, kind, state)


def merge_entries(a: Entry, b: Entry, seen_a: Container[Dot], seen_b: Container[Dot]) -> Entry:
    """The join of two replicas' entries of one key; ``seen`` is what each replica had received."""
    merged: Entry = {}
    for kind in sorted(a.keys() | b.keys()):
        empty = _EMPTY[kind]
        state = _MERGE[kind](a.get(kind, empty), b.get(kind, empty), seen_a, seen_b)
        if state != empty:
            merged[kind] = state
    return merged


def deadlines(entry: Entry) -> list[tuple[int, Dot]]:
    """(deadline, dot) of each value in the entry that expires."""
    return [row for kind, state in entry.items() for row in TYPES[kind].deadlines(state)]


def garbage_dots(entry: Entry, past: int = 0) -> list[Dot]:
    """The deletes whose remains are in the entry, and what expired till ``past``; see ``types``."""
    return [dot for kind, state in entry.items() for dot in TYPES[kind].garbage(state, past)]


def collect_entry(entry: Entry, stable: Vector, past: int = 0) -> Entry:
    """Without those of them that ``stable`` covers; the same object if there are none."""
    for kind, state in entry.items():
        left = TYPES[kind].collect(state, stable, past)
        if left is not state:
            entry = _with(entry, kind, left)
    return entry


def live_entry(entry: Entry, past: int = 0) -> list[Any] | None:
    """[type, live form, ...], types ascending: what digests as of ``past`` see. None: nothing."""
    flat: list[Any] = []
    for kind in sorted(entry):
        seen = TYPES[kind].live(entry[kind], past)
        if seen is not None:
            flat += (kind, seen)
    return flat or None


def _with(entry: Entry, kind: int, state: State) -> Entry:
    if state == _EMPTY[kind]:
        return {other: entry[other] for other in entry if other != kind} if entry else entry
    if not entry or (len(entry) == 1 and kind in entry):
        return {kind: state}
    return {**entry, kind: state}


def encode_entry(entry: Entry, key: bytes = b"") -> bytes:
    """The stored form."""
    flat: list[Any] = []
    for kind in sorted(entry):
        flat += (kind, TYPES[kind].encode(entry[kind]))
    packed: bytes = msgpack.packb(flat)
    return b"\x01" + crc32(packed, crc32(key)).to_bytes(4, "big") + packed


def decode_entry(raw: bytes, key: bytes = b"") -> Entry:
    """The inverse of ``encode_entry``; raises ``StateError`` on any damage.

    The order inside a state is not looked at: what has the right checksum was encoded by a node,
    and this runs for every read.
    """
    if len(raw) < 6 or raw[0] != VERSION:
        raise StateError("entry of an unknown version")
    packed = raw[5:]
    if crc32(packed, crc32(key)).to_bytes(4, "big") != raw[1:5]:
        raise StateError("entry fails its checksum")
    try:
        flat = msgpack.unpackb(packed)
    except Exception as error:
        raise StateError(f"entry is not msgpack: {error}") from error
    if type(flat) is not list or len(flat) % 2:
        raise StateError("entry of unknown form")
    entry: Entry = {}
    for i in range(0, len(flat), 2):
        kind = flat[i]
        if type(kind) is not int or kind not in TYPES:
            raise StateError(f"entry of unknown type {kind!r}")
        if kind in entry:
            raise StateError(f"entry with two states of type {kind}")
        entry[kind] = TYPES[kind].decode(flat[i + 1])
    return entry
