"""What a checkpoint has to know of an entry, written or stored, without the way through its types.

Problem: a checkpoint subtracts from the digests what was stored under a key and adds what is stored
now. Decoding an entry and encoding its live form again takes some ten times as long as the hash.

Idea: almost every entry is *plain*: one value (siblings or LWW) that does not expire, or a counter,
with nothing deleted beside it. Its live form is then its stored form, so what is stored is hashed
as it stands. A plain entry is in no conflict and leaves no garbage either, and it has no deadline:
there is nothing else to keep about it.

Stored (``entry.py``, behind version and checksum), msgpack, ``ints`` being three of them:

- siblings: ``92 04 92 | 91 94 ints value | 90``;
- LWW: ``92 03 94 ints value``;
- counters: ``92 type [origin, birth, inc, dec, 0, 0, hlc, ...]``: without a baseline, and unless
  both totals of a slot are 0.

Whether stored bytes are just that is told by the lengths they give. Whatever else is there is no
plain entry, and has to be decoded. For most of them one call tells it all: where origin and hlc
have 8 bytes, seq has 4 and the value's length 1, all that is not a number's or the value's own is
at a fixed place (``_common_...``).
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from functools import lru_cache

import msgpack

from kvnode.core.entry import (
    BIN8,
    CHECKSUM_BYTES,
    HEAD_BYTES,
    NO_AWAITED,
    REGISTER_LIST,
    REGISTERS,
    SIBLING_LIST,
    SIBLING_VALUES,
    UINT32,
    UINT64,
    VERSION,
    Entry,
    entry_hash,
)
from kvnode.core.types import COUNTERS, LWW_REGISTER, SIBLINGS
from kvnode.core.types.slots import Slots

PackValue = Callable[[int, int, bytes], bytes]
"""From sequence number, tick and value to the packed entry of a value that is all there is."""
Pack = Callable[[object], bytes]
"""Of a ``msgpack.Packer`` that is used again: to make one takes longer than to pack an entry."""

SIBLINGS_HEAD = bytes((0x92, SIBLINGS, 0x92, 0x91))
REGISTER_HEAD = bytes((0x92, LWW_REGISTER))
NONE_AWAITED = bytes((NO_AWAITED,))
_BYTES_MIN = 13
"""Version, checksum, and a register with three small numbers and an empty value."""
UINT8_MAX, UINT16_MAX, UINT32_MAX = 2**8 - 1, 2**16 - 1, 2**32 - 1
_register32, _sibling32 = REGISTERS[UINT32].pack, SIBLING_VALUES[UINT32].pack
_SLOT = 7
"""Numbers of a counter slot."""
_common_lww = struct.Struct(">5s3sB8xB8xB4xBB").unpack_from
"""Version and checksum, lists, (hlc, origin, seq and value begin), the value's length: 33 bytes."""
_common_siblings = struct.Struct(">5s5sB8xB4xB8xBB").unpack_from
"""Likewise with origin, seq, hlc: 35 bytes."""
_BEYOND = 1 << 40
_NUMBER_BYTES = [
    1 if first < 0x80 else {0xCC: 2, 0xCD: 3, 0xCE: 5, 0xCF: 9}.get(first, _BEYOND)
    for first in range(256)
]
"""Of a number that begins with this byte; what is none leads beyond the entry."""


@lru_cache(maxsize=1_000)
def value_packer(kind: int, origin: int) -> PackValue:
    """Packs what ``origin`` writes as siblings or a register."""
    row: Pack = msgpack.Packer().pack

    def any_register(seq: int, hlc: int, value: bytes) -> bytes:
        return REGISTER_HEAD + row((hlc, origin, seq, value))

    def any_sibling(seq: int, hlc: int, value: bytes) -> bytes:
        return SIBLINGS_HEAD + row((origin, seq, hlc, value)) + NONE_AWAITED

    def register(seq: int, hlc: int, value: bytes) -> bytes:
        size = len(value)
        if size > UINT8_MAX or not UINT16_MAX < seq <= UINT32_MAX < hlc:
            return any_register(seq, hlc, value)
        head = _register32(REGISTER_LIST, UINT64, hlc, UINT64, origin, UINT32, seq, BIN8, size)
        return head + value

    def sibling(seq: int, hlc: int, value: bytes) -> bytes:
        size = len(value)
        if size > UINT8_MAX or not UINT16_MAX < seq <= UINT32_MAX < hlc:
            return any_sibling(seq, hlc, value)
        head = _sibling32(SIBLING_LIST, UINT64, origin, UINT32, seq, UINT64, hlc, BIN8, size)
        return head + value + NONE_AWAITED

    if origin <= UINT32_MAX:  # chosen at random of 64 bits: only tests have such
        return any_register if kind == LWW_REGISTER else any_sibling
    return register if kind == LWW_REGISTER else sibling


def plain_packed(entry: Entry, pack: Pack) -> bytes | None:
    """The stored form of a plain entry, behind version and checksum; None: it is not plain."""
    if len(entry) != 1:
        return None
    if SIBLINGS in entry:
        held, awaited = entry[SIBLINGS]
        if awaited or len(held) != 1:
            return None
        [(dot, value)] = held.items()
        row = dot + value
        return SIBLINGS_HEAD + pack(row) + NONE_AWAITED if len(row) == 4 else None
    if LWW_REGISTER in entry:
        state = entry[LWW_REGISTER]
        return REGISTER_HEAD + pack(state) if len(state) == 4 and state[3] is not None else None
    [(kind, slots)] = entry.items()
    flat = _flat(slots)
    return pack((kind, flat)) if flat else None


def _flat(slots: Slots) -> list[int]:
    """A counter's numbers, as ``slots.encode`` has them; none if it is not plain."""
    flat: list[int] = []
    for slot in sorted(slots):
        inc, dec, base_inc, base_dec, hlc, _, _ = slots[slot]
        if base_inc or base_dec or not (inc or dec):
            return []
        flat += (slot[0], slot[1], inc, dec, 0, 0, hlc)
    return flat


def plain_hash(key: bytes, raw: bytes) -> bytes | None:
    """``entry_hash`` of the key and what is stored live; None: it is not plain, or damaged."""
    hashed = entry_hash(key, raw[HEAD_BYTES:])
    return hashed if is_plain(raw, VERSION + hashed[:CHECKSUM_BYTES]) else None


def is_plain(raw: bytes, head: bytes) -> bool:
    """Whether the stored entry is plain; ``head``: the version and checksum it has to bear."""
    size = len(raw)
    if size < _BYTES_MIN:
        return False
    kind = raw[6]
    if kind == SIBLINGS:
        common = (
            size > 35
            and raw[-1] == NO_AWAITED
            and _common_siblings(raw)
            == (head, SIBLING_LIST, UINT64, UINT32, UINT64, BIN8, size - 36)
        )
    else:
        common = (
            kind == LWW_REGISTER
            and size > 32
            and _common_lww(raw) == (head, REGISTER_LIST, UINT64, UINT64, UINT32, BIN8, size - 33)
        )
    return common or (raw[:HEAD_BYTES] == head and _is_plain(kind, raw[HEAD_BYTES:]))


def _is_plain(kind: int, packed: bytes) -> bool:
    end = len(packed)
    try:
        if kind in COUNTERS:
            return packed[0] == 0x92 and _slots_end(packed) == end
        if kind == LWW_REGISTER:
            return packed[0] == 0x92 and _value_end(packed, 2) == end
        held = packed.startswith(SIBLINGS_HEAD) and _value_end(packed, 4) == end - 1
        return held and packed[-1] == NO_AWAITED
    except IndexError:
        return False


def _value_end(packed: bytes, at: int) -> int:
    """Where a list of three numbers and bytes ends that begins there; 0: it is something else."""
    if packed[at] != 0x94:
        return 0
    at += 1  # a line for each: this runs for every key of a checkpoint
    at += _NUMBER_BYTES[packed[at]]
    at += _NUMBER_BYTES[packed[at]]
    at += _NUMBER_BYTES[packed[at]]
    first = packed[at]
    if first == 0xC4:
        return at + 2 + packed[at + 1]
    if first == 0xC5:
        return at + 3 + int.from_bytes(packed[at + 1 : at + 3], "big")
    return at + 5 + int.from_bytes(packed[at + 1 : at + 5], "big") if first == 0xC6 else 0


def _slots_end(packed: bytes) -> int:
    """Where a counter's slots end; 0 if any has a baseline or two totals of 0."""
    at, numbers = 3, packed[2] - 0x90
    if packed[2] == 0xDC:
        at, numbers = 5, int.from_bytes(packed[3:5], "big")
    elif not 0 < numbers < 16:
        return 0
    if numbers % _SLOT:
        return 0
    for _ in range(numbers // _SLOT):
        at += _NUMBER_BYTES[packed[at]]
        at += _NUMBER_BYTES[packed[at]]
        inc = packed[at]
        at += _NUMBER_BYTES[inc]
        dec = packed[at]
        at += _NUMBER_BYTES[dec]
        if packed[at] or packed[at + 1] or not (inc or dec):
            return 0
        at += 2
        at += _NUMBER_BYTES[packed[at]]
    return at
