"""Whatever is told at once of a block is what its operations give one by one.

Three nodes write batches that are alike, single operations and deletes of few keys, with clocks
apart, and pull from each other now and then: so keys hold nothing, one type or several, tombstones,
concurrent values and dots that are awaited. Each block that arrives is merged both ways.

Entries are held packed, and told without being opened, where their numbers are as long as those of
nodes that have written for a while (``plain.py``): so the nodes have, in half of the cases.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from itertools import repeat
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kvnode.core.absorbing import absorb_block, changed_keys, changes_of
from kvnode.core.block import KEY_BYTES_MAX, Block, Op, decode_block, encode_block
from kvnode.core.dots import Covered, Dot, Vector
from kvnode.core.entry import (
    HEAD_BYTES,
    Entry,
    Held,
    encode_entry,
    lone_sibling,
    merge_delta,
    opened,
)
from kvnode.core.errors import BlockError
from kvnode.core.losers import Loser, loser_of
from kvnode.core.operations import Delete, Increment, Increments, Operation, Put, Puts
from kvnode.core.replica import Request
from kvnode.core.types import G_COUNTER, LWW_REGISTER, NAMES, PN_COUNTER, SIBLINGS
from tests.core.memory_node import WALL_MS, MemoryNode

KEYS = [b"a", b"b", b"c"]
DEADLINE_MS = WALL_MS + 5
keys = st.sampled_from(KEYS)
values = st.sampled_from([b"", b"1", b"22"])
put_types = st.sampled_from([SIBLINGS, LWW_REGISTER])
rows = st.lists(st.tuples(keys, values), min_size=1, max_size=4)
amounts = st.lists(st.tuples(keys, st.sampled_from([1, 2, -3])), min_size=1, max_size=5)
singles = st.one_of(
    st.builds(lambda *of: ("put", *of), keys, values, put_types, st.sampled_from([0, DEADLINE_MS])),
    st.builds(lambda *of: ("seen", *of), keys, values, st.integers(0, 2)),
    st.builds(lambda *of: ("blind", *of), keys, values),
    st.builds(lambda *of: ("count", *of), keys, st.sampled_from([G_COUNTER, PN_COUNTER])),
    st.builds(lambda *of: ("delete", *of), keys, st.sampled_from(sorted(NAMES))),
)
steps = st.one_of(
    st.builds(lambda *of: ("puts", *of), rows, put_types),
    st.builds(lambda *of: ("increments", *of), amounts),
    st.builds(lambda *of: ("singles", *of), st.lists(singles, min_size=1, max_size=3)),
    st.builds(lambda *of: ("pull", *of), st.integers(0, 2)),
    st.builds(lambda *of: ("pull", *of), st.integers(0, 2)),
)
scripts = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 3), steps), max_size=25)
saving = st.lists(
    st.tuples(st.integers(0, 2), st.integers(0, 3), steps | st.just(("save",))), max_size=25
)


def operation(nodes: list[MemoryNode], single: tuple[Any, ...]) -> Operation:
    match single:
        case "put", key, value, kind, deadline:
            return Put(key, value, kind, deadline=deadline)
        case "seen", key, value, reader:  # also of what has not arrived at the writer
            return Put(key, value, context=nodes[reader].context(key))
        case "blind", key, value:
            return Put(key, value, blind=True)
        case "count", key, kind:
            return Increment(key, 1, kind)
        case _:
            return Delete(*single[1:])


def batch(nodes: list[MemoryNode], step: tuple[Any, ...]) -> Sequence[Operation]:
    match step:
        case "puts", pairs, kind:
            return Puts([key for key, _ in pairs], [value for _, value in pairs], kind)
        case "increments", pairs:
            return Increments([key for key, _ in pairs], [by for _, by in pairs], PN_COUNTER)
        case _:
            return [operation(nodes, single) for single in step[1]]


def opened_all(overlay: Mapping[bytes, Held]) -> dict[bytes, Entry]:
    return {key: opened(held) for key, held in overlay.items()}


def one_by_one(overlay: dict[bytes, Entry], vector: Vector, block: Block) -> list[Loser]:
    """The general way, for every operation."""
    losers = []
    seen = Covered(vector)
    writer_has = {**block.deps, block.origin: block.last_seq}
    for seq, delta in enumerate(block.deltas(), block.first_seq):
        if delta is not None:
            key, kind, state = delta
            entry = overlay[key]
            held = entry.get(LWW_REGISTER)
            if kind == LWW_REGISTER and held and writer_has.get(held[1], 0) < held[2]:
                loser = loser_of(key, held, state, seen, Covered(writer_has))
                losers += [loser] if loser else []
            overlay[key] = merge_delta(entry, kind, state, seen, (block.origin, seq))
        vector[block.origin] = seq
    return losers


def receive(here: MemoryNode, there: MemoryNode) -> None:
    for raw in there.log.lacking(here.vector, 1 << 30)[0]:
        block = decode_block(raw)
        before = {key: here.entry(key) for key in KEYS if key in {*changed_keys(changes_of(block))}}
        left, vector = dict(before), dict(here.vector)
        lost = one_by_one(left, vector, block)
        round_ = here.commit(blocks=[block])
        assert opened_all(round_.overlay) == left
        assert round_.losers == lost
        assert here.vector == vector
        again: dict[bytes, Held] = {**left}  # as if it had come twice
        other = dict(left)
        assert absorb_block(again, dict(vector), block, changes_of(block)) == one_by_one(
            other, dict(vector), block
        )
        assert opened_all(again) == other


FAR = 1 << 63
LONG_AGO = 70_000
"""Operations that nodes have behind them, of which nothing is left."""


def nodes_of(*, old: bool) -> list[MemoryNode]:
    origins = [FAR + number if old else number for number in (1, 2, 3)]
    nodes = [MemoryNode(origin) for origin in origins]
    for node in nodes if old else []:
        node.replica.durable.vector = dict.fromkeys(origins, LONG_AGO)
        node.replica.durable.chains = {origin: b"%16x" % origin for origin in origins}
        node.replica._chain_at = partial(chain_at, node)  # noqa: SLF001 - the log begins later
    return nodes


def chain_at(node: MemoryNode, dot: Dot) -> bytes | None:
    return b"%16x" % dot[0] if dot[1] == LONG_AGO else node.log.chain_at(dot)


@settings(max_examples=500, deadline=None)
@given(saving, st.sampled_from([False, True]).map(lambda old: nodes_of(old=old)))
def test_what_is_told_at_once_is_what_merging_gives(
    script: list[tuple[int, int, tuple[Any, ...]]], nodes: list[MemoryNode]
) -> None:
    for number, later_ms, step in script:
        node = nodes[number]
        if step[0] == "pull":
            receive(node, nodes[step[1]])
            continue
        if step[0] == "save":
            node.checkpoint()
            continue
        # taken whatever the keys hold, as after a restart elsewhere: so they come to hold it all
        node.commit([Request(batch(nodes, step), again=True)], wall_ms=WALL_MS + later_ms)
    while any(here.vector != nodes[0].vector for here in nodes):
        for here in nodes:
            for there in nodes:
                receive(here, there)
    for key in KEYS:
        assert nodes[0].entry(key) == nodes[1].entry(key) == nodes[2].entry(key)


def test_a_write_that_is_earlier_than_what_its_writer_had_seen_loses() -> None:
    """No node writes that, and all must make the same of it."""
    block = block_of([[3, b"k", b"v"]], hlc=9)
    for hlc in (8, 9, 10):
        entry = {LWW_REGISTER: (hlc, 7, 4, b"before")}
        overlay: dict[bytes, Held] = {b"k": entry}
        expected: dict[bytes, Entry] = {b"k": entry}
        assert absorb_block(overlay, {7: 4}, block, changes_of(block)) == []
        assert one_by_one(expected, {7: 4}, block) == []
        assert opened_all(overlay) == expected


S, T = (FAR + 1, LONG_AGO + 1), (FAR + 1, LONG_AGO + 2)
"""Dots."""


@pytest.mark.parametrize("held", [(), (S,), (T,), (S, T)])
@pytest.mark.parametrize("awaited", [(), ((7, 5),), ((2, 9),)])
@pytest.mark.parametrize("replaced", [[], [*S], [*T], [*S, *T], [2, 8], [2, 8, *S]])
@pytest.mark.parametrize("received", [S[1], T[1]])
def test_a_sibling_replaces_what_it_names_whatever_is_awaited(
    held: tuple[Dot, ...], awaited: tuple[Dot, ...], replaced: list[int], received: int
) -> None:
    """Also if a dot were held that was never received, which does not happen."""
    state = (dict.fromkeys(held, (HLC, b"before")), frozenset(awaited))
    entry = {SIBLINGS: state} if held or awaited else {}
    packed = encode_entry(entry)[HEAD_BYTES:]
    assert (lone_sibling(packed) is not None) == (len(held) == 1 and not awaited)
    block = block_of([[4, b"k", b"v", replaced]])
    assert block.columns() is not None
    expected: dict[bytes, Entry] = {b"k": entry}
    one_by_one(expected, {S[0]: received, 7: 4}, block)
    for before in (entry, packed) if entry else (entry,):
        overlay: dict[bytes, Held] = {b"k": before}
        absorb_block(overlay, {S[0]: received, 7: 4}, block, changes_of(block))
        assert opened_all(overlay) == expected


HLC = WALL_MS << 16


@pytest.mark.parametrize("hlc", [HLC - 1, HLC, HLC + 1])
@pytest.mark.parametrize("seq", [LONG_AGO, LONG_AGO + 1])
@pytest.mark.parametrize("value", [b"before", None])
def test_a_register_replaces_what_its_writer_had_and_is_earlier(
    hlc: int, seq: int, value: bytes | None
) -> None:
    entry = {LWW_REGISTER: (hlc, S[0], seq, value)}
    block = block_of([[3, b"k", b"v"]], hlc=HLC, deps={S[0]: LONG_AGO})
    expected: dict[bytes, Entry] = {b"k": entry}
    lost = one_by_one(expected, {S[0]: LONG_AGO + 1, 7: 4}, block)
    for before in (entry, encode_entry(entry)[HEAD_BYTES:]):
        overlay: dict[bytes, Held] = {b"k": before}
        assert absorb_block(overlay, {S[0]: LONG_AGO + 1, 7: 4}, block, changes_of(block)) == lost
        assert opened_all(overlay) == expected


def block_of(ops: list[Op], hlc: int = 1 << 60, deps: Vector | None = None) -> Block:
    deps = deps or {}
    return encode_block(
        origin=7, first_seq=5, hlc=hlc, wall_ms=0, deps=deps, ops=ops, requests=[],
        previous=bytes(16), dep_chains=[bytes(16) for _ in deps],
    )  # fmt: skip


parts = st.one_of(
    st.sampled_from([0, 1, 3, 4, 300, True, None, 3.0, "k", b"", b"k", b"v", [], [3], {b"k": 1}]),
    st.sampled_from([[1, 2], [1, 2.0], [1, -2], [1, 2, 3, 4], b"x" * (KEY_BYTES_MAX + 1)]),
)
some_keys = st.sampled_from([b"k", b"l", b"x" * KEY_BYTES_MAX])
registers = st.tuples(st.just(3), some_keys, st.just(b"v")).map(list)
dots = st.sampled_from([[], [], [1, 2], [1, 2, 3, 4]])
written = st.tuples(st.just(4), some_keys, st.just(b"v"), dots).map(list)
anything = st.one_of(st.lists(parts, max_size=5), st.just(0), st.just(b"\3kv"))
changed = st.tuples(written | registers, st.integers(0, 3), parts).map(
    lambda of: [*of[0][: of[1]], of[2], *of[0][of[1] + 1 :]]
)
alike = st.one_of(st.lists(registers, max_size=4), st.lists(written, max_size=4))


@settings(max_examples=500, deadline=None)
@given(alike, st.lists(anything | changed, max_size=1))
def test_columns_are_the_deltas_and_never_of_what_is_not_well_formed(
    ops: list[Any], more: list[Any]
) -> None:
    block = block_of(ops + more)
    columns = block.columns()
    assert columns or more or not ops
    if columns is not None:
        deltas = [(key, columns.kind) for key in columns.keys]
        assert [delta and delta[:2] for delta in block.deltas()] == deltas
        dots_of = columns.replaced or repeat(None)
        states = [
            ((1 << 60) + at, 7, 5 + at, value)
            if replaced is None
            else ({(7, 5 + at): ((1 << 60) + at, value)}, replaced)
            for at, (value, replaced) in enumerate(zip(columns.values, dots_of, strict=False))
        ]
        assert [delta and delta[2] for delta in block.deltas()] == states


@pytest.mark.parametrize(
    "bad",
    [
        [3.0, b"k", b"v"],
        [True, b"k", b"v"],
        [3, b"", b"v"],
        [3, b"x" * (KEY_BYTES_MAX + 1), b"v"],
        [3, "k", b"v"],
        [3, b"k", "v"],
        [3, b"k", 1],
        [300, b"k", b"v"],
        [3, b"k"],
        [4, b"k", b"v", [1]],
        [4, b"k", b"v", [1, -2]],
        [4, b"k", b"v", [1, 2.0]],
        [4, b"k", b"v", {}],
        {3: 1, b"k": 2, b"v": 3},
        b"\3kv",
    ],
)
def test_one_operation_that_is_not_well_formed_spoils_the_columns(bad: Any) -> None:
    good: Op = [3, b"k", b"v"] if type(bad) is not list or bad[0] != 4 else [4, b"k", b"v", []]
    for ops_ in ([good, bad], [bad, good]):
        assert block_of([good, good]).columns() is not None
        assert block_of(ops_).columns() is None
        with pytest.raises(BlockError):
            block_of(ops_).deltas()


def test_other_well_formed_operations_are_no_columns() -> None:
    register: Op = [3, b"k", b"v"]
    sibling: Op = [4, b"k", b"v", []]
    for first, other in (
        (register, [3, b"k", None]),
        (register, [3, b"k", b"v", DEADLINE_MS]),
        (register, sibling),
        (sibling, register),
        (sibling, [4, b"k", None, []]),
        (sibling, [4, b"k", b"v", [], DEADLINE_MS]),
        (register, 0),
    ):
        block = block_of([first, other])
        assert block.columns() is None
        assert len(block.deltas()) == 2


@pytest.mark.parametrize("kind", [LWW_REGISTER, SIBLINGS])
def test_a_plain_value_waits_for_its_checkpoint_packed(kind: int) -> None:
    """Where it was written and where it was received, also over another one."""
    here, there = MemoryNode(1), MemoryNode(2)
    for value in (b"before", b"after"):
        written = here.commit([Request(Puts([b"k"], [value], kind))])
        assert isinstance(written.overlay[b"k"], bytes)
        received = there.commit(blocks=[here.last_block])
        assert received.overlay == written.overlay
        assert there.entry(b"k") == here.entry(b"k") == opened(written.overlay[b"k"])
