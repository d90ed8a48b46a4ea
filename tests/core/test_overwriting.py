"""A put that is told at once is what its operation, merged, gives; packed or in parts."""

from __future__ import annotations

from typing import Any

import pytest

from kvnode.core.context import Context
from kvnode.core.dots import Covered
from kvnode.core.entry import HEAD_BYTES, Entry, Held, encode_entry, merge_delta, opened
from kvnode.core.overwriting import overwriter
from kvnode.core.types import LWW_REGISTER, PN_COUNTER, SIBLINGS, TYPES

NOW_MS = 1_700_000_000_000
HLC = NOW_MS << 16
OWN, OTHER = (1 << 63) + 1, (1 << 63) + 2
SEQ = 70_000
D, E = (OWN, SEQ), (OTHER, SEQ + 1)
"""Dots."""
ENTRIES: list[Entry] = [
    {},
    {SIBLINGS: ({D: (HLC, b"held")}, frozenset())},
    {SIBLINGS: ({E: (HLC, b"held")}, frozenset())},
    {SIBLINGS: ({E: (HLC, bytes(300))}, frozenset())},
    {SIBLINGS: ({E: (HLC, b"expires", NOW_MS)}, frozenset())},
    {SIBLINGS: ({D: (HLC, b"held"), E: (HLC, b"too")}, frozenset())},
    {SIBLINGS: ({D: (HLC, b"held")}, frozenset([(OTHER, SEQ + 9)]))},
    {SIBLINGS: ({}, frozenset([(OTHER, SEQ + 9)]))},
    {LWW_REGISTER: (HLC, OTHER, SEQ, b"held")},
    {LWW_REGISTER: (HLC + 9, OTHER, SEQ, b"later")},
    {LWW_REGISTER: (HLC, OTHER, SEQ, bytes(300))},
    {LWW_REGISTER: (HLC, OTHER, SEQ, None)},
    {LWW_REGISTER: (HLC, OTHER, SEQ, b"expires", NOW_MS)},
    {LWW_REGISTER: (HLC, OTHER, SEQ, b"held"), SIBLINGS: ({D: (HLC, b"held")}, frozenset())},
    {PN_COUNTER: {D: (5, 0, 0, 0, HLC, (0, 0), (0, 0))}},
]
CONTEXTS = [None, *(Context(frozenset(dots)) for dots in ((), (D,), (E,), (D, E)))]


@pytest.mark.parametrize("kind", [SIBLINGS, LWW_REGISTER, PN_COUNTER])
@pytest.mark.parametrize("deadline", [0, NOW_MS + 1])
@pytest.mark.parametrize("context", CONTEXTS)
@pytest.mark.parametrize("entry", ENTRIES)
def test_what_is_left_is_what_merging_leaves(
    entry: Entry, context: Context | None, deadline: int, kind: int
) -> None:
    dot, hlc = (OWN, SEQ + 10), HLC + 5
    told: list[tuple[list[Any], Entry] | None] = []
    packed = encode_entry(entry)[HEAD_BYTES:]
    for held in (entry, packed) if entry else (entry,):
        made = overwrite(held, kind, deadline, context)
        told.append(made and (made[0], opened(made[1])))
    assert told[0] == told[-1], "packed and in parts"
    if told[0] is None:
        return
    op, left = told[0]
    delta = TYPES[kind].delta(op, *dot, hlc)
    seen = Covered({OWN: dot[1] - 1, OTHER: SEQ + 2})
    assert left == merge_delta(entry, kind, delta, seen, dot)
    if kind == SIBLINGS:
        shown = entry[SIBLINGS][0].keys() if entry else frozenset()
        assert context is None or context.siblings == shown, "it replaces what its reader saw"
        assert op[3] == [number for each in sorted(shown) for number in each]


def test_what_a_node_almost_always_meets_is_told() -> None:
    assert overwrite({}, SIBLINGS) is not None
    assert overwrite({}, LWW_REGISTER) is not None
    for entry in ENTRIES[1:4]:
        assert overwrite(encode_entry(entry)[HEAD_BYTES:], SIBLINGS) is not None
    for entry in (ENTRIES[8], ENTRIES[10]):
        assert overwrite(encode_entry(entry)[HEAD_BYTES:], LWW_REGISTER) is not None


def overwrite(
    held: Held, kind: int, deadline: int = 0, context: Context | None = None
) -> tuple[list[Any], Held] | None:
    make = overwriter(OWN, no_registers=False)
    return make(b"k", b"new", kind, deadline, context, held, SEQ + 10, HLC + 5)
