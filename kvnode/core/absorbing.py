"""Merging the operations of a block from elsewhere into the entries they are about.

What merging means is the types' business (``types``), one operation at a time. But of almost all
operations the outcome can be told at once, and is what ``merge`` and ``loser_of`` say of that case:

- a register write to a key where there is nothing, or over a value that its writer had received
  and that is earlier: the write is what is left, and nothing is lost;
- a sibling that replaces just what is held, all of it received here, where nothing is awaited: it
  is all that is left.

That takes that the operation is new here, as it is in every block that was judged to apply. It is
looked for in blocks whose operations are alike, in columns, without an object for each. Whatever
else comes goes through the merge: other types, deletes, tombstones, concurrent values.
"""

from __future__ import annotations

from collections.abc import Iterable

from kvnode.core.block import Block, Columns, Delta
from kvnode.core.dots import Covered, Dot, Vector
from kvnode.core.entry import Held, lone_register, lone_sibling, merge_delta, opened
from kvnode.core.losers import Loser, loser_of
from kvnode.core.plain import value_packer
from kvnode.core.types import LWW_REGISTER, SIBLINGS, State

Changes = Columns | list[Delta]
"""What a block's operations do: in columns if they are alike, else of each its delta."""


def changes_of(block: Block) -> Changes:
    """What is to be merged; BlockError if an operation is not well formed."""
    columns = block.columns()
    return block.deltas() if columns is None else columns


def changed_keys(changes: Changes) -> Iterable[bytes]:
    """The keys it is about, in order, maybe some of them more than once."""
    if isinstance(changes, Columns):
        return changes.keys
    return [delta[0] for delta in changes if delta is not None]


def absorb_block(
    overlay: dict[bytes, Held], vector: Vector, block: Block, changes: Changes
) -> list[Loser]:
    """Merge the block into ``overlay``, which has the entry of every key in it.

    Args:
        vector: what was received before the block; afterwards, with it.

    Returns:
        The concurrent register values that were dropped.
    """
    merger = _Merger(overlay, vector, block)
    if not isinstance(changes, Columns):
        merger.merge(changes)
    elif vector.get(block.origin, 0) >= block.first_seq:
        merger.merge(block.deltas())
    elif changes.kind == LWW_REGISTER:
        merger.put_registers(changes)
    else:
        merger.put_siblings(changes)
    vector[block.origin] = block.last_seq
    return merger.losers


class _Merger:
    """Takes one block's operations, in order."""

    def __init__(self, overlay: dict[bytes, Held], vector: Vector, block: Block) -> None:
        self.losers: list[Loser] = []
        self._overlay = overlay
        self._vector = vector
        self._seen = Covered(vector)
        self._block = block
        self._writer_has = {**block.deps, block.origin: block.last_seq}
        self._seen_by_writer = Covered(self._writer_has)

    def merge(self, deltas: list[Delta]) -> None:
        """All, the general way."""
        vector, origin = self._vector, self._block.origin
        for seq, delta in enumerate(deltas, self._block.first_seq):
            if delta is not None:
                key, kind, state = delta
                self._merge(key, kind, state, seq)
            vector[origin] = seq

    def put_registers(self, puts: Columns) -> None:
        """All of a block that is new here."""
        overlay, writer_has, origin = self._overlay, self._writer_has, self._block.origin
        ahead = self._block.hlc - self._block.first_seq
        pack = value_packer(LWW_REGISTER, origin)
        pairs = zip(puts.keys, puts.values, strict=True)
        for seq, (key, value) in enumerate(pairs, self._block.first_seq):
            hlc = seq + ahead
            held = overlay[key]
            if held:
                stamp = _stamp(held)
                if stamp is None or stamp[0] >= hlc or writer_has.get(stamp[1], 0) < stamp[2]:
                    self._vector[origin] = seq - 1
                    self._merge(key, LWW_REGISTER, (hlc, origin, seq, value), seq)
                    continue
            overlay[key] = pack(seq, hlc, value)

    def put_siblings(self, puts: Columns) -> None:
        """All of a block that is new here."""
        overlay, vector, origin = self._overlay, self._vector, self._block.origin
        ahead = self._block.hlc - self._block.first_seq
        pack = value_packer(SIBLINGS, origin)
        rows = zip(puts.keys, puts.values, puts.replaced, strict=True)
        for seq, (key, value, replaced) in enumerate(rows, self._block.first_seq):
            held = overlay[key]
            if (held or replaced) and not _is_all(held, replaced, vector):
                written = {(origin, seq): (seq + ahead, value)}
                self._merge(key, SIBLINGS, (written, replaced), seq)
            else:
                overlay[key] = pack(seq, seq + ahead, value)
            vector[origin] = seq

    def _merge(self, key: bytes, kind: int, state: State, seq: int) -> None:
        """The general way. The vector has what was received before the operation."""
        overlay, origin = self._overlay, self._block.origin
        entry = opened(overlay[key])
        if kind == LWW_REGISTER and kind in entry:
            held = entry[kind]
            if self._writer_has.get(held[1], 0) < held[2]:  # else it overwrites, as usual
                loser = loser_of(key, held, state, self._seen, self._seen_by_writer)
                if loser is not None:
                    self.losers.append(loser)
        overlay[key] = merge_delta(entry, kind, state, self._seen, (origin, seq))


def _stamp(held: Held) -> tuple[int, int, int] | None:
    """Tick, origin and sequence number of a register's value that is all there is."""
    if isinstance(held, bytes):
        lone = lone_register(held)
        if lone is not None:
            return lone[:3]
    entry = opened(held)
    if len(entry) > 1 or LWW_REGISTER not in entry:
        return None
    state = entry[LWW_REGISTER]
    return None if state[3] is None else state[:3]


def _is_all(held: Held, replaced: frozenset[Dot], vector: Vector) -> bool:
    """Whether these dots are all that is there, and received."""
    if isinstance(held, bytes):
        lone = lone_sibling(held)
        if lone is not None:
            origin, seq = dot = lone[0]
            return len(replaced) == 1 and dot in replaced and vector.get(origin, 0) >= seq
    entry = opened(held)
    if len(entry) != 1 or SIBLINGS not in entry:
        return False
    values, awaited = entry[SIBLINGS]
    if awaited or values.keys() != replaced:
        return False
    for origin, seq in replaced:  # noqa: SIM110 - for every operation: all() takes twice as long
        if vector.get(origin, 0) < seq:
            return False
    return True
