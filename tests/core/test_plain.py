"""What is told of stored bytes is what decoding them tells."""

from __future__ import annotations

from itertools import product

import pytest

from kvnode.core.digest import key_digest
from kvnode.core.entry import Entry, deadlines, encode_entry, garbage_dots, in_conflict
from kvnode.core.plain import passes, plain_sum
from kvnode.core.types import LWW_REGISTER, PN_COUNTER, SIBLINGS
from kvnode.core.types.slots import NO_DOT

NONE: frozenset[tuple[int, int]] = frozenset()
NUMBERS = (0, 1, 127, 128, 255, 256, 2**16 - 1, 2**16, 2**32 - 1, 2**32, 2**64 - 1)
SIZES = (0, 1, 31, 32, 255, 256, 65_535, 65_536)
VALUES = (b"\xc0", *(b"\x90" * size for size in SIZES))
SEQ = 0x90
"""Ends like an empty list."""
DEADLINE = 1_700_000_000_000
ONE: Entry = {SIBLINGS: ({(1, 2): (3, b"v")}, NONE)}

NOT_PLAIN: dict[str, Entry] = {
    "two siblings": {SIBLINGS: ({(1, 2): (3, b"v"), (2, 2): (3, b"w")}, NONE)},
    "one that expires": {SIBLINGS: ({(1, 2): (3, b"v", DEADLINE)}, NONE)},
    "an awaited dot": {SIBLINGS: ({(1, 2): (3, b"v")}, frozenset({(SEQ, SEQ)}))},
    "an awaited dot alone": {SIBLINGS: ({}, frozenset({(SEQ, SEQ)}))},
    "a tombstone": {LWW_REGISTER: (3, 1, 2, None)},
    "a register that expires": {LWW_REGISTER: (3, 1, 2, b"v", DEADLINE)},
    "two types": {**ONE, LWW_REGISTER: (3, 1, 2, b"v")},
    "a counter": {PN_COUNTER: {(1, 2): (3, 0, 0, 0, 5, NO_DOT, NO_DOT)}},
}


@pytest.mark.parametrize("value", VALUES, ids=lambda value: str(len(value)))
def test_plain_entries_have_the_digest_of_what_they_hold(value: bytes) -> None:
    for origin, seq, hlc in product(NUMBERS, NUMBERS, (0, 2**63)):
        entries: list[Entry] = [
            {SIBLINGS: ({(origin, seq): (hlc, value)}, NONE)},
            {LWW_REGISTER: (hlc, origin, seq, value)},
        ]
        for entry in entries:
            raw = encode_entry(entry, b"key")
            assert passes(b"key", raw)
            assert plain_sum(b"key", raw) == key_digest(b"key", entry, DEADLINE).sum
            assert not any((deadlines(entry), garbage_dots(entry), in_conflict(entry, 0)))


@pytest.mark.parametrize("name", NOT_PLAIN)
def test_what_may_need_more_is_not_plain(name: str) -> None:
    assert plain_sum(b"key", encode_entry(NOT_PLAIN[name], b"key")) is None


def test_cut_or_changed_bytes_fail_their_checksum_and_harm_nobody() -> None:
    whole = encode_entry(ONE, b"key")
    assert not passes(b"other", whole)
    for at in range(len(whole)):
        changed = whole[:at] + bytes([whole[at] ^ 0x84]) + whole[at + 1 :]
        for raw in (whole[:at], changed):
            plain_sum(b"key", raw)
            assert not passes(b"key", raw)
