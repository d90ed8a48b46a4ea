"""What a checkpoint has to know of a stored entry, told from its bytes without decoding it.

Problem: a checkpoint subtracts from the digests what was stored under a key and adds what is stored
now. Decoding an entry and encoding its live form again takes some ten times as long as the hash.

Idea: almost every entry is *plain*: one value (siblings or LWW) that does not expire, with nothing
deleted beside it. Its live form is then in the stored form already, in one piece or with a byte
left out, so it can be hashed as it stands. A plain entry is in no conflict and leaves no garbage
either, and it has no deadline: there is nothing else to keep about it.

Stored (``entry.py``, behind version and checksum), msgpack, ``ints`` being three of them:

- siblings: ``92 04 92 | 91 94 ints value | 90``, live ``92 04 | 91 94 ints value``;
- LWW: ``92 03 94 ints value``, and live the same.

Whether it is just that is told by the lengths the bytes give. Whatever else is there is no plain
entry, and has to be decoded.
"""

from __future__ import annotations

from zlib import crc32

from kvnode.core.digest import sum_of
from kvnode.core.types import LWW_REGISTER, SIBLINGS

VERSION = b"\x01"
_SIBLINGS = bytes((0x92, SIBLINGS, 0x92, 0x91, 0x94))
_LWW = bytes((0x92, LWW_REGISTER, 0x94))
_BEYOND = 1 << 40
_NUMBER_BYTES = [
    1 if first < 0x80 else {0xCC: 2, 0xCD: 3, 0xCE: 5, 0xCF: 9}.get(first, _BEYOND)
    for first in range(256)
]
"""Of a number that begins with this byte; what is none leads beyond the entry."""


def passes(key: bytes, raw: bytes) -> bool:
    """Whether a stored entry, plain or not, has its right checksum."""
    return raw[:1] == VERSION and raw[1:5] == crc32(raw[5:], crc32(key)).to_bytes(4, "big")


def plain_sum(key: bytes, raw: bytes) -> int | None:
    """The sum of the digest of a plain entry, at any time; None: it is not plain.

    Args:
        raw: as stored, with a checksum that was found to be right.
    """
    if raw[5:10] == _SIBLINGS:
        end = _value_end(raw, 10)
        if end != len(raw) - 1 or raw[end] != 0x90:
            return None
        return sum_of(key, raw[5:7] + raw[8:end])
    if raw[5:8] == _LWW and _value_end(raw, 8) == len(raw):
        return sum_of(key, raw[5:])
    return None


def _value_end(raw: bytes, at: int) -> int:
    """Where three numbers and bytes end that begin there; 0 if there is something else."""
    try:  # a line for each: this runs for every key of a checkpoint
        at += _NUMBER_BYTES[raw[at]]
        at += _NUMBER_BYTES[raw[at]]
        at += _NUMBER_BYTES[raw[at]]
        first = raw[at]
        if first == 0xC4:
            return at + 2 + raw[at + 1]
    except IndexError:
        return 0
    if first == 0xC5:
        return at + 3 + int.from_bytes(raw[at + 1 : at + 3], "big")
    return at + 5 + int.from_bytes(raw[at + 1 : at + 5], "big") if first == 0xC6 else 0
