"""How a key's state is made whole again from what members hold.

*Damaged here* (``caught_up``). A member's entry is what all writes its vector covers made of the
key. This node may have writes that member lacks; they are in its own log. Merging those operations
into the member's entry, in the order of the log, gives the entry that this node must have.

The member may also have writes this node has not applied, and perhaps cannot apply as long as the
key is damaged: blocks that touch it are refused. So the entry is taken although it is ahead of this
node's vector. The blocks arrive later and are merged again, which changes nothing: counters and
registers take maxima, a sibling that is held already stays one. Only *removed* siblings need care:
one that the member has seen removed would come back when its block arrives here, and what removed
it may have been applied here long ago. So the member says which of its writes ahead are removed
already (``removed_ahead``), and they are awaited here, as any dot removed before it arrived. For
the same reason ``seen`` is what *both* have.

*Different under one vector* (``union``). Both sides say they have applied the same writes, so one
of them is wrong, and nothing tells which. Joined as replicas do, "absent here and covered by my
vector" would mean "removed here": each side would delete what the other lost. So nothing counts as
seen: every sibling either side holds stays, every counter slot has the larger totals and baselines,
of registers the later write wins, as always. At worst a deleted sibling is back and is deleted
again by whoever sees it; no value that any member holds is lost.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from kvnode.core.block import Block
from kvnode.core.dots import Covered, Dot, Vector
from kvnode.core.entry import Entry, merge_delta
from kvnode.core.types import COUNTERS, LWW_REGISTER, SIBLINGS, TYPES, siblings


def common(a: Mapping[int, int], b: Mapping[int, int]) -> Vector:
    """What both vectors cover."""
    return {origin: min(seq, b[origin]) for origin, seq in a.items() if b.get(origin)}


def removed_ahead(key: bytes, entry: Entry, blocks: Iterable[Block]) -> list[Dot]:
    """The siblings that ``blocks`` wrote and that are gone from the key, at the member.

    Args:
        blocks: what the other node lacks.
    """
    held = entry.get(SIBLINGS, siblings.EMPTY)[0]
    written = [
        (block.origin, block.first_seq + position)
        for block in blocks
        for position, delta in enumerate(block.deltas())
        if delta is not None and delta[0] == key and delta[1] == SIBLINGS and delta[2][0]
    ]
    return [dot for dot in written if dot not in held]


def caught_up(
    key: bytes, entry: Entry, removed: Iterable[Dot], seen: Vector, blocks: Iterable[Block]
) -> Entry:
    """A member's entry with what ``blocks`` did to the key.

    Args:
        removed: ``removed_ahead``, as the member told.
        seen: what the member and this node both have (``common``).
        blocks: what the member lacks, in this node's log order.
    """
    ahead = frozenset(removed)
    if ahead:
        held, awaited = entry.get(SIBLINGS, siblings.EMPTY)
        entry = {**entry, SIBLINGS: (held, awaited | ahead)}
    vector = dict(seen)
    covered = Covered(vector)
    for block in blocks:
        seq = block.first_seq
        for delta in block.deltas():
            if delta is not None and delta[0] == key:
                entry = merge_delta(entry, delta[1], delta[2], covered, (block.origin, seq))
            vector[block.origin] = seq
            seq += 1
        vector[block.origin] = block.last_seq
    return entry


def union(a: Entry, b: Entry, vector: Mapping[int, int]) -> Entry:
    """All that either entry holds; ``vector`` is what this node has received."""
    joined = {
        kind: TYPES[kind].merge(
            a.get(kind, TYPES[kind].EMPTY), b.get(kind, TYPES[kind].EMPTY), (), ()
        )
        for kind in sorted(a.keys() | b.keys())
    }
    if SIBLINGS in joined:
        # what one side held and the other only awaits stays; what arrived is not awaited
        held = {**a.get(SIBLINGS, siblings.EMPTY)[0], **b.get(SIBLINGS, siblings.EMPTY)[0]}
        covered = Covered(vector)
        awaited = frozenset(
            dot for dot in joined[SIBLINGS][1] if dot not in covered and dot not in held
        )
        joined[SIBLINGS] = (held, awaited)
    return {kind: state for kind, state in joined.items() if state != TYPES[kind].EMPTY}


def latest_hlc(entry: Entry) -> int:
    """The latest time in the entry: a clock that shows it must not be behind it."""
    latest = 0
    for kind, state in entry.items():
        if kind in COUNTERS:
            latest = max(latest, 0, *(slot[4] for slot in state.values()))
        elif kind == LWW_REGISTER:
            latest = max(latest, state[0])
        else:
            latest = max(latest, 0, *(value[0] for value in state[0].values()))
    return latest


def touches(block: Block, keys: frozenset[bytes]) -> set[bytes]:
    """Which of the keys the block's operations write."""
    return {delta[0] for delta in block.deltas() if delta is not None} & keys
