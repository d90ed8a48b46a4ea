"""Writes of a history that lost a fork, as requests to be made again.

Problem: a node wrote under an origin under which another process wrote too. The cluster has the
other history. What this node acknowledged and the cluster does not have must not be lost, and
what both have must not be done twice.

Idea: the chain values tell where the two histories part: every block of the lost log up to the
last one that the cluster has too, with the same chain value, is common. What comes after is read
operation by operation and becomes a request under the new origin:

- an increment is the difference between its slot's totals and those before it;
- a siblings put or delete names the dots it replaced; dots of the lost part are translated to
  those their values have now;
- a register write is made again only if it would still win: it was concurrent with whatever has a
  later stamp now, and lost;
- a counter's deletion takes away what its deleter had seen, but of the forked origin's own slots
  no more than the common part.

One client request stays one request with its id, so that the client's own retry is recognised.
Other operations get an id made from their old dot, and the caller keeps how far it has got: a
crash half way repeats nothing.

Limit: an increment whose slot has no earlier operation in the log (which was cut) has an unknown
amount. It is not guessed: it is counted as ``unclear`` and stays in the set-aside log.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b

from kvnode.core.block import Block, Op
from kvnode.core.context import Context
from kvnode.core.dots import Dot
from kvnode.core.entry import Entry
from kvnode.core.operations import Delete, Increment, Operation, Put
from kvnode.core.types import COUNTERS, LWW_REGISTER, SIBLINGS

Totals = tuple[int, int]


@dataclass(slots=True)
class Parted:
    """A lost log's blocks of the forked origin: the common part, and what only it has."""

    common: list[Block]
    lost: list[Block]


def part(blocks: Sequence[Block], known: Callable[[Dot], bytes | None], have: int) -> Parted | None:
    """Where the histories part; None if that cannot be told.

    Args:
        blocks: the forked origin's blocks in the lost log, in order.
        known: the cluster's chain value at a dot, None if no block it knows of ends there.
        have: the last seq of that origin the cluster has.
    """
    last = -1
    for number, block in enumerate(blocks):
        if known(block.end) == block.chain:
            last = number
    if last < 0 and have and blocks and known(blocks[0].end) is None:
        return None  # one of the two logs was cut above the place
    return Parted(list(blocks[: last + 1]), list(blocks[last + 1 :]))


@dataclass(slots=True)
class Again:
    """One request to be made again, and the old dots of its operations."""

    request_id: bytes
    operations: list[Operation]
    dots: list[Dot]


@dataclass(slots=True)
class Reissue:
    """Turns the lost part into requests, in order. ``done`` has to be told of each."""

    parted: Parted
    read: Callable[[bytes], Entry]
    after: int = 0
    """Requests that begin at or below this seq were carried out before a crash."""
    unclear: int = 0
    """Increments of unknown amount."""
    outdone: int = 0
    """Register writes that a later one has beaten meanwhile."""
    _totals: dict[Dot, Totals] = field(default_factory=dict)
    _common: dict[Dot, Totals] = field(default_factory=dict)
    _now: dict[Dot, Dot] = field(default_factory=dict)
    """Old dot -> dot of the same write made again."""

    def __post_init__(self) -> None:
        for block in self.parted.common:
            for _, op in _operations(block):
                self._count(block.origin, op)
        self._common = dict(self._totals)

    def requests(self) -> Iterator[Again]:
        """One after the other; carry each out, and call ``done``, before the next."""
        for block in self.parted.lost:
            covered: set[int] = set()
            for request_id, first, count in block.requests:
                indices = range(first, first + count)
                covered.update(indices)
                yield from self._request(block, list(indices), request_id)
            for index in range(len(block.ops)):
                if index not in covered:
                    dot = (block.origin, block.first_seq + index)
                    yield from self._request(block, [index], _own_id(dot))

    def done(self, again: Again, origin: int, first_seq: int) -> None:
        """The request was carried out from this dot on."""
        for offset, dot in enumerate(again.dots):
            self._now[dot] = (origin, first_seq + offset)

    def _request(self, block: Block, indices: list[int], request_id: bytes) -> Iterator[Again]:
        again = Again(request_id, [], [])
        done = block.first_seq + indices[0] <= self.after
        for index in indices:
            op = block.ops[index]
            if isinstance(op, list):
                operation = self._operation(block, index, op)
                if operation is not None and not done:
                    again.operations.append(operation)
                    again.dots.append((block.origin, block.first_seq + index))
        if again.operations:
            yield again

    def _operation(self, block: Block, index: int, op: list[object]) -> Operation | None:
        kind, key = op[0], op[1]
        assert isinstance(kind, int)
        assert isinstance(key, bytes)
        if kind in COUNTERS and len(op) == 5:
            return self._increment(block.origin, kind, key, op)
        if kind in COUNTERS:
            return self._counter_delete(block.origin, kind, key, op)
        value = op[2]
        assert value is None or isinstance(value, bytes)
        if kind == LWW_REGISTER:
            stamp = (block.hlc + index, block.origin, block.first_seq + index)
            if self.read(key).get(LWW_REGISTER, (0, 0, 0, None))[:3] > stamp:
                self.outdone += 1
                return None
            if value is None:
                return Delete(key, LWW_REGISTER, None)
            return Put(key, value, LWW_REGISTER)
        flat = op[3]
        assert isinstance(flat, list)
        numbers = iter(flat)
        dots = zip(numbers, numbers, strict=True)
        seen = frozenset(self._now.get(dot, dot) for dot in dots)
        context = Context(siblings=seen, types=(SIBLINGS,))
        if value is None:
            return Delete(key, SIBLINGS, context)
        return Put(key, value, SIBLINGS, context)

    def _increment(self, origin: int, kind: int, key: bytes, op: list[object]) -> Operation | None:
        _, _, birth, inc, dec = op
        assert isinstance(birth, int)
        assert isinstance(inc, int)
        assert isinstance(dec, int)
        before = self._totals.get((origin, birth))
        self._count(origin, op)
        oldest = (self.parted.common or self.parted.lost)[0]
        if before is None and birth < oldest.first_seq:
            self.unclear += 1
            return None
        was_inc, was_dec = before or (0, 0)
        return Increment(key, inc - was_inc - (dec - was_dec), kind)

    def _counter_delete(
        self, origin: int, kind: int, key: bytes, op: list[object]
    ) -> Operation | None:
        flat = op[2]
        assert isinstance(flat, list)
        numbers = iter(flat)
        seen: dict[Dot, Totals] = {}
        for slot_origin, birth, inc, dec in zip(numbers, numbers, numbers, numbers, strict=True):
            slot = (slot_origin, birth)
            if slot_origin == origin:
                common = self._common.get(slot, (0, 0))
                seen[slot] = (min(inc, common[0]), min(dec, common[1]))
            else:
                seen[slot] = (inc, dec)
        seen = {slot: totals for slot, totals in seen.items() if any(totals)}
        context = Context(counters={kind: seen}, types=(kind,))
        return Delete(key, kind, context) if seen else None

    def _count(self, origin: int, op: Op) -> None:
        if isinstance(op, list) and op[0] in COUNTERS and len(op) == 5:
            self._totals[(origin, op[2])] = (op[3], op[4])


def _operations(block: Block) -> Iterator[tuple[int, list[object]]]:
    return ((index, op) for index, op in enumerate(block.ops) if isinstance(op, list))


def _own_id(dot: Dot) -> bytes:
    origin, seq = dot
    raw = origin.to_bytes(8, "big") + seq.to_bytes(8, "big")
    return blake2b(raw, digest_size=16, person=b"kvnode.reissue").digest()
