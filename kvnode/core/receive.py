"""What to do with a block from elsewhere: the causal receive rule.

====================================  =========================================================
the block                             verdict
====================================  =========================================================
ends at or below what is here         SEEN (its chain value must be the one on record, unless
                                      the record of that far back was given up)
starts inside what is here            FORK: blocks are immutable and applied whole
fits, and all it depends on is here   APPLIED, if its chain value proves that its predecessor
                                      and its dependencies are the very ones applied here;
                                      else FORK
a gap before it, or something it      HELD until the missing comes, in a bounded buffer;
depends on is missing                 DROPPED when that is full (repair brings it again)
own origin, above what is here        AHEAD: somebody wrote under this identity and this
                                      replica does not know it (an old copy of the directory
                                      was put back, or there are two copies)
of a forgotten origin, above what a   FORGOTTEN: no member had it when it acknowledged the
member has acknowledged               forget (``roster.py``), so no replica may take it
====================================  =========================================================

After a FORK nothing of that origin is taken any more. Its blocks may be innocent: one that depends
on the other branch of somebody else's fork does not fit here either, and to tell who wrote twice
takes both branches, which one replica does not have. Repair sends blocks in the sender's arrival
order, which is a causal order, so repair never waits in the buffer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from heapq import heappop, heappush

from kvnode.core.block import GENESIS, Block, chain_value
from kvnode.core.dots import Dot, Vector, covers


class Verdict(Enum):
    """See the table above.

    MALFORMED: an operation in it is not well formed. DAMAGED: what is stored here under a key that
    it changes fails its checksum, so it cannot be merged.
    """

    SEEN = "seen"
    APPLIED = "applied"
    HELD = "held"
    DROPPED = "dropped"
    FORK = "fork"
    AHEAD = "ahead"
    FORGOTTEN = "forgotten"
    MALFORMED = "malformed"
    DAMAGED = "damaged"


@dataclass(frozen=True, slots=True)
class Judgement:
    """The verdict on one block and why, where something is wrong: for AHEAD, MALFORMED, DAMAGED,
    and for the first FORK of an origin.
    """

    verdict: Verdict
    block: Block
    reason: str = ""


class HoldBuffer:
    """Blocks that wait for others: soft state, bounded in bytes; dropping one loses nothing.

    Of each origin only the first one held can be next, so looking for what is ready costs a look
    per origin, however many blocks wait.
    """

    def __init__(self, bytes_max: int) -> None:
        self.bytes_max = bytes_max
        self.bytes_held = 0
        self._blocks: dict[int, dict[int, Block]] = {}
        self._order: dict[int, list[int]] = {}
        """origin -> heap of the first seqs held."""

    def __len__(self) -> int:
        return sum(map(len, self._blocks.values()))

    def hold(self, block: Block) -> bool:
        """Keep it; False if there is no room."""
        blocks = self._blocks.setdefault(block.origin, {})
        if block.first_seq in blocks:
            return True
        if self.bytes_held + len(block.raw) > self.bytes_max:
            return False
        blocks[block.first_seq] = block
        heappush(self._order.setdefault(block.origin, []), block.first_seq)
        self.bytes_held += len(block.raw)
        return True

    def take_ready(self, vector: Vector) -> list[Block]:
        """Per origin the first block, if ``vector`` lets it in now or has made it useless."""
        ready = []
        for origin, order in list(self._order.items()):
            block = self._blocks[origin][order[0]]
            if block.first_seq <= vector.get(origin, 0) + 1 and covers(vector, block.deps):
                heappop(order)
                del self._blocks[origin][block.first_seq]
                self.bytes_held -= len(block.raw)
                ready.append(block)
                if not order:
                    self.drop(origin)
        return ready

    def drop_above(self, origin: int, limit: int) -> None:
        """Forget what is held of an origin behind ``limit``: it is not taken any more."""
        kept = [one for one in self._blocks.get(origin, {}).values() if one.last_seq <= limit]
        self.drop(origin)
        for block in kept:
            self.hold(block)

    def drop(self, origin: int) -> None:
        """Forget what is held of an origin."""
        blocks = self._blocks.pop(origin, {})
        self._order.pop(origin, None)
        self.bytes_held -= sum(len(block.raw) for block in blocks.values())


def never_pruned(_: Dot) -> bool:
    """Of a replica that keeps every record."""
    return False


def judge(
    block: Block,
    *,
    own_origin: int,
    vector: Vector,
    chain_at: Callable[[Dot], bytes | None],
    pruned: Callable[[Dot], bool] = never_pruned,
) -> Judgement:
    """The verdict on ``block`` for a replica that has ``vector``; HELD stands for any wait.

    Args:
        chain_at: the chain value on record for the block that ends at a dot, None if none does.
        pruned: whether the record at that dot may have been given up, so that None says nothing.
    """
    have = vector.get(block.origin, 0)
    if block.last_seq <= have:
        recorded = chain_at(block.end)
        if recorded == block.chain or (recorded is None and pruned(block.end)):
            return Judgement(Verdict.SEEN, block)
        return _fork(block, "another history is on record")
    if block.origin == own_origin:
        return Judgement(
            Verdict.AHEAD,
            block,
            f"a peer has {block.origin:016x}:{block.last_seq} of this node's own origin, "
            f"which itself has only up to {have}",
        )
    if block.first_seq <= have:
        return _fork(block, f"it overlaps with {block.origin:016x}:{have}, which is on record")
    if block.first_seq > have + 1 or not covers(vector, block.deps):
        return Judgement(Verdict.HELD, block)
    previous = chain_at((block.origin, have)) if have else GENESIS
    assert previous is not None, f"no chain value for {block.origin:016x}:{have}"
    dep_chains = []
    for dot in sorted(block.deps.items()):
        chain = chain_at(dot)
        if chain is None:
            return _fork(block, f"it depends on {dot[0]:016x}:{dot[1]}, where no block ends here")
        dep_chains.append(chain)
    if chain_value(previous, dep_chains, block.body) != block.chain:
        return _fork(block, "its chain value does not follow from what is on record here")
    return Judgement(Verdict.APPLIED, block)


def _fork(block: Block, why: str) -> Judgement:
    first, last = block.first_seq, block.last_seq
    return Judgement(
        Verdict.FORK, block, f"block {block.origin:016x}:{first}-{last} does not fit: {why}"
    )
