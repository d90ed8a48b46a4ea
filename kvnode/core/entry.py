"""Everything kept under one key: ``{type: state}``, almost always of one type.

One record per key, whatever its types, so that one look-up tells a write all it must know and
the store's order is the keys' order. Entries are never changed in place.

Stored form, version 2: ``0x02 | checksum, 4 bytes | msgpack [type, state, ...]`` with types
ascending: equal entries have equal bytes. The checksum is the beginning of ``entry_hash``, over key
and rest: an entry under another key is found out, and who has to know the hash for the digest
(``digest.py``) has checked the entry too. In messages, which name the key beside it, the key is
left out.
"""

from __future__ import annotations

from collections.abc import Container
from struct import Struct
from typing import Any

import msgpack
from xxhash import xxh3_128_digest

from kvnode.core.dots import Dot, Vector
from kvnode.core.errors import StateError
from kvnode.core.types import LWW_REGISTER, SIBLINGS, TYPES, State, siblings, slots

Entry = dict[int, State]
Held = Entry | bytes
"""An entry as it waits for a checkpoint: in its parts, or *packed*, which is the stored form behind
version and checksum. A plain value (``plain.py``) is kept packed: one object where it has five, a
third of the memory, nothing for Python's garbage collector to look at, and what the checkpoint
writes. The parts are made when somebody asks for them (``opened``)."""

NOTHING: Entry = {}
VERSION = b"\2"
CHECKSUM_BYTES = 4
HEAD_BYTES = 5
"""Version and checksum."""
UINT64, UINT32, UINT16, BIN8 = 0xCF, 0xCE, 0xCD, 0xC4
"""What msgpack puts before a number, or before a length and bytes."""
REGISTERS = {UINT32: Struct(">3sBQBQBIBB"), UINT16: Struct(">3sBQBQBHBB")}
REGISTER_LIST = bytes((0x92, LWW_REGISTER, 0x94))
SIBLING_VALUES = {UINT32: Struct(">5sBQBIBQBB"), UINT16: Struct(">5sBQBHBQBB")}
SIBLING_LIST = bytes((0x92, SIBLINGS, 0x92, 0x91, 0x94))
NO_AWAITED = 0x90
"""The forms of ``plain.py`` up to the value, by how long the sequence number is."""
PLAIN_BYTES_MIN = 30
"""No shorter than any of them."""
_MERGE = {kind: module.merge for kind, module in TYPES.items()}
_VISIBLE = {kind: module.visible for kind, module in TYPES.items()}
_DECODE = {kind: module.decode for kind, module in TYPES.items()}
_EMPTY = {kind: module.EMPTY for kind, module in TYPES.items()}


def plain_value(entry: Entry) -> tuple[int, int, int, int, bytes] | None:
    """(type, hlc, origin, seq, value) if that is all there is to see in the entry, at any time.

    So it is for almost all. None: there is more to look at, or nothing.
    """
    if len(entry) != 1:
        return None
    for kind, state in entry.items():
        if kind == LWW_REGISTER:
            if len(state) == 4 and state[3] is not None:
                return kind, state[0], state[1], state[2], state[3]
        elif kind == SIBLINGS and len(state[0]) == 1:
            for dot, held in state[0].items():
                if len(held) == 2:
                    return kind, held[0], dot[0], dot[1], held[1]
    return None


def only_value(entry: Entry, now: int) -> tuple[int, int | bytes] | None:
    """(type, sum or value) of what a reader sees at ``now``, (0, b"") of nothing.

    None: there is more than one value to see.
    """
    shown = visible_types(entry, now)
    if not shown:
        return 0, b""
    if len(shown) > 1:
        return None
    (kind,) = shown
    cell = entry[kind]
    if kind == LWW_REGISTER:
        return kind, cell[3]
    if kind != SIBLINGS:
        return kind, slots.value(cell)
    held = list(siblings.shown(cell, now).values())
    return (kind, held[0][1]) if len(held) == 1 else None


def visible_types(entry: Entry, now: int) -> list[int]:
    """The types that show a reader something at ``now`` (Unix ms), ascending."""
    if len(entry) == 1:  # almost always, and this runs for every read
        for kind, state in entry.items():
            return [kind] if _VISIBLE[kind](state, now) else []
    return [kind for kind in sorted(entry) if _VISIBLE[kind](entry[kind], now)]


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


def entry_hash(key: bytes, packed: bytes) -> bytes:
    """XXH3-128 over the key and what is stored behind version and checksum.

    The key's length is the seed, so that it is clear where the key ends.
    """
    return xxh3_128_digest(key + packed, len(key))


def encode_entry(entry: Entry, key: bytes = b"") -> bytes:
    """The stored form."""
    flat: list[Any] = []
    for kind in sorted(entry):
        flat += (kind, TYPES[kind].encode(entry[kind]))
    packed: bytes = msgpack.packb(flat)
    return VERSION + entry_hash(key, packed)[:CHECKSUM_BYTES] + packed


def decode_entry(raw: bytes, key: bytes = b"") -> Entry:
    """The inverse of ``encode_entry``; raises ``StateError`` on any damage.

    The order inside a state is not looked at: what has the right checksum was encoded by a node,
    and this runs for every read.
    """
    packed = raw[HEAD_BYTES:]
    if raw[:HEAD_BYTES] != VERSION + xxh3_128_digest(key + packed, len(key))[:CHECKSUM_BYTES]:
        unknown = len(raw) <= HEAD_BYTES or raw[:1] != VERSION
        raise StateError(f"entry {'of an unknown version' if unknown else 'fails its checksum'}")
    return plain_entry(packed) or unpacked_entry(packed)


def checked_entry(raw: bytes, key: bytes) -> Held:
    """The same as it is held: still packed if it is a plain value, so that it can be opened later.

    Almost all are, and it takes half the time.
    """
    packed = raw[HEAD_BYTES:]
    if (lone_sibling(packed) or lone_register(packed)) and raw[:HEAD_BYTES] == (
        VERSION + xxh3_128_digest(key + packed, len(key))[:CHECKSUM_BYTES]
    ):
        return packed
    return decode_entry(raw, key)


def opened(held: Held) -> Entry:
    """The entry in its parts."""
    if isinstance(held, bytes):
        return plain_entry(held) or unpacked_entry(held)
    return held


def plain_entry(packed: bytes) -> Entry | None:
    """An entry of one value that does not expire, its numbers as long as most are; else None.

    A look at all bytes but the value, and no more: less than half the time of unpacking.
    """
    sibling = lone_sibling(packed)
    if sibling is not None:
        dot, hlc, size = sibling
        return {SIBLINGS: ({dot: (hlc, packed[-1 - size : -1])}, siblings.NO_DOTS)}
    register = lone_register(packed)
    if register is not None:
        hlc, origin, seq, size = register
        return {LWW_REGISTER: (hlc, origin, seq, packed[len(packed) - size :])}
    return None


def packed_value(packed: bytes) -> tuple[int, bytes] | None:
    """Type and value, where ``plain_entry`` gives an entry: nothing else is made."""
    sibling = lone_sibling(packed)
    if sibling is not None:
        return SIBLINGS, packed[-1 - sibling[2] : -1]
    register = lone_register(packed)
    if register is not None:
        return LWW_REGISTER, packed[len(packed) - register[3] :]
    return None


def lone_sibling(packed: bytes) -> tuple[Dot, int, int] | None:
    """Dot, tick and bytes of the value, where ``plain_entry`` gives an entry of siblings."""
    if len(packed) < PLAIN_BYTES_MIN:
        return None
    form = SIBLING_VALUES.get(packed[14])
    if form is None:
        return None
    head, a, origin, _, seq, b, hlc, c, size = form.unpack_from(packed)
    if (
        head == SIBLING_LIST
        and a == b == UINT64
        and c == BIN8
        and size == len(packed) - form.size - 1
        and packed[-1] == NO_AWAITED
    ):
        return (origin, seq), hlc, size
    return None


def lone_register(packed: bytes) -> tuple[int, int, int, int] | None:
    """Tick, origin, sequence number and bytes of the value, where it gives a register."""
    if len(packed) < PLAIN_BYTES_MIN:
        return None
    form = REGISTERS.get(packed[21])
    if form is None:
        return None
    head, a, hlc, b, origin, _, seq, c, size = form.unpack_from(packed)
    if head == REGISTER_LIST and a == b == UINT64 and c == BIN8 and size == len(packed) - form.size:
        return hlc, origin, seq, size
    return None


def unpacked_entry(packed: bytes) -> Entry:
    """Any entry; raises ``StateError``."""
    try:
        flat = msgpack.unpackb(packed)
    except Exception as error:
        raise StateError(f"entry is not msgpack: {error}") from error
    if type(flat) is not list or len(flat) % 2:
        raise StateError("entry of unknown form")
    entry: Entry = {}
    each = iter(flat)
    for kind, state in zip(each, each, strict=True):
        decode = _DECODE.get(kind) if type(kind) is int else None
        if decode is None:
            raise StateError(f"entry of unknown type {kind!r}")
        if kind in entry:
            raise StateError(f"entry with two states of type {kind}")
        entry[kind] = decode(state)
    return entry
