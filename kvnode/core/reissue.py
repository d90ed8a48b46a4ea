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
  later stamp now, and lost. Writes made again before it do not count, it came after them. It is
  looked at once more when its turn comes (``unless_after``): the node takes other writes meanwhile;
- a value that expires keeps its deadline: that is a time, not a span from when it was written;
- a counter's deletion takes away what its deleter had seen: of a lost history's slots the common
  part, and what was made again of the rest, wherever that is now.

More than one origin's history may be lost at once (``contest.py``): that of the node itself and,
if it is the heir, that of a node that is gone. Their lost blocks are taken in the order they had
arrived in, so that each operation finds what it had seen. What another node makes again
(``elsewhere``) has dots that nobody here can know: a put does not replace it, a deletion does not
take it away. It is there, beside, instead of being lost: and its old dots are never named, for
they are those of other writes now.

One client request stays one request with its id, so that the client's own retry is recognised.
Other operations get an id made from their old dot, and the caller keeps how far it has got: a
crash half way repeats nothing. A request
made once more must look as it did the first time, so what is not to be done any more is replaced by
an operation that changes nothing.

Limit: an increment whose slot has no earlier operation in the log (which was cut) has an unknown
amount. It is not guessed: it is counted as ``unclear`` and stays in the set-aside log. So does one
that would take its counter beyond 64 bits now (``Again.leave_out``).
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
from kvnode.core.types.lww import EMPTY, Stamp

Totals = tuple[int, int]


@dataclass(slots=True)
class Parted:
    """A lost log's blocks of the forked origins: the common part, and what only it has."""

    common: list[Block]
    lost: list[Block]
    elsewhere: dict[int, int] = field(default_factory=dict)
    """Origin -> the first seq of a lost part that is not made again here."""


def part(
    blocks: Sequence[Block],
    known: Callable[[Dot], bytes | None],
    have: int,
    *,
    whole: bool = False,
) -> Parted | None:
    """Where the histories part; None if that cannot be told.

    Args:
        blocks: the forked origin's blocks in the lost log, in order.
        known: the cluster's chain value at a dot, None if no block it knows of ends there.
        have: the last seq of that origin the cluster has.
        whole: ``known`` tells of all its blocks, from the first on.
    """
    last = -1
    for number, block in enumerate(blocks):
        if known(block.end) == block.chain:
            last = number
    from_the_first = whole and blocks and blocks[0].first_seq == 1
    if last < 0 and have and blocks and not from_the_first and known(blocks[0].end) is None:
        # One of the two logs was cut above the place; or they differ from the first block on, and
        # have their operations in blocks of other lengths.
        return None
    return Parted(list(blocks[: last + 1]), list(blocks[last + 1 :]))


@dataclass(slots=True)
class Again:
    """One request to be made again, and the old dots of its operations."""

    request_id: bytes
    operations: list[Operation]
    dots: list[Dot]
    outdone: int = 0
    """Its register writes that a later one has beaten meanwhile; they change nothing."""
    left_out: int = 0
    """Its operations that cannot be made again."""

    def leave_out(self, index: int) -> None:
        """Have nothing done in the operation's place: the others of the request are."""
        self.operations[index] = Delete(self.operations[index].key, 0, Context())
        self.left_out += 1


@dataclass(slots=True)
class Reissue:
    """Turns the lost part into requests, in order. ``done`` has to be told of each."""

    parted: Parted
    read: Callable[[bytes], Entry]
    unclear: int = 0
    """Increments of unknown amount."""
    made: int = 0
    """Operations made again."""
    outdone: int = 0
    """Register writes that a later one has beaten meanwhile."""
    _lost: dict[int, int] = field(default_factory=dict)
    """Origin -> the first seq of its lost part."""
    _begin: dict[int, int] = field(default_factory=dict)
    """Origin -> the first seq that the log has."""
    _totals: dict[Dot, Totals] = field(default_factory=dict)
    _common: dict[Dot, Totals] = field(default_factory=dict)
    _now: dict[Dot, Dot] = field(default_factory=dict)
    """Old dot -> dot of the same write made again."""
    _made: set[Dot] = field(default_factory=set)
    """The new dots."""
    _slots: dict[Dot, Dot] = field(default_factory=dict)
    """Old dot of an increment -> its old slot."""
    _moved: dict[Dot, dict[Dot, Totals]] = field(default_factory=dict)
    """Old slot -> new slot -> what of the one was made again in the other."""

    def __post_init__(self) -> None:
        self._lost = dict(self.parted.elsewhere)
        for block in self.parted.lost:
            self._lost.setdefault(block.origin, block.first_seq)
        for block in (*self.parted.common, *self.parted.lost):
            self._begin.setdefault(block.origin, block.first_seq)
        for block in self.parted.common:
            for _, op in _operations(block):
                self._count(block.origin, op)
        self._common = dict(self._totals)

    def requests(self) -> Iterator[Again]:
        """One after the other; carry each out, and call ``done``, before the next.

        A StateError says that a key it has to read is damaged; then the same one is next again.
        """
        return _Requests(self)

    def done(self, again: Again, origin: int, first_seq: int, *, repeated: bool = False) -> None:
        """The request was carried out from this dot on; ``repeated``: before a crash.

        Raises:
            StateError: a key it has to read is damaged; nothing was noted.
        """
        for operation in again.operations:
            if isinstance(operation, Increment):
                self.read(operation.key)
        if not repeated:
            self.made += len(again.operations) - again.outdone - again.left_out
            self.outdone += again.outdone
        for offset, (old, operation) in enumerate(zip(again.dots, again.operations, strict=True)):
            new = (origin, first_seq + offset)
            self._now[old] = new
            self._made.add(new)
            if isinstance(operation, Increment):
                self._move(self._slots[old], operation, new)

    def _move(self, slot: Dot, increment: Increment, new: Dot) -> None:
        """Note in which slot the increment made again is."""
        entry = self.read(increment.key).get(increment.type, {})
        births = [birth for origin, birth in entry if origin == new[0] and birth <= new[1]]
        if births:  # else it was deleted and collected since
            moved = self._moved.setdefault(slot, {})
            inc, dec = moved.get((new[0], max(births)), (0, 0))
            amount = increment.amount
            moved[(new[0], max(births))] = (inc + max(amount, 0), dec + max(-amount, 0))

    def request(self, block: Block, indices: list[int], request_id: bytes) -> Again:
        """What is left to be done of one request; StateError if a key is damaged."""
        for index in indices:  # before anything is counted
            op = block.ops[index]
            if isinstance(op, list) and op[0] == LWW_REGISTER:
                assert isinstance(op[1], bytes)
                self._stamp_now(op[1])
        again = Again(request_id, [], [])
        replaced = _replaced_within(block, indices)
        for index in indices:
            op = block.ops[index]
            if isinstance(op, list):
                dot = (block.origin, block.first_seq + index)
                stamp = (block.hlc + index, *dot)
                if dot in replaced:
                    operation: Operation | None = _nothing(op)
                elif op[0] == LWW_REGISTER and self._is_outdone(op, stamp):
                    again.outdone += 1
                    operation = _nothing(op)
                else:
                    operation = self._operation(dot, op, stamp)
                if operation is not None:
                    again.operations.append(operation)
                    again.dots.append(dot)
        return again

    def _is_outdone(self, op: list[object], stamp: tuple[int, int, int]) -> bool:
        """Whether somebody else has written the register later."""
        assert isinstance(op[1], bytes)
        now = self._stamp_now(op[1])
        return now > stamp and now[1:] not in self._made

    def _stamp_now(self, key: bytes) -> Stamp:
        stamp: Stamp = self.read(key).get(LWW_REGISTER, EMPTY)[:3]
        return stamp

    def _operation(self, dot: Dot, op: list[object], stamp: Stamp) -> Operation | None:
        kind, key = op[0], op[1]
        assert isinstance(kind, int)
        assert isinstance(key, bytes)
        if kind in COUNTERS and len(op) == 5:
            return self._increment(dot, kind, key, op)
        if kind in COUNTERS:
            return self._counter_delete(kind, key, op)
        value = op[2]
        assert value is None or isinstance(value, bytes)
        if kind == LWW_REGISTER:
            latest = max(stamp, self._stamp_now(key))
            if value is None:
                return Delete(key, LWW_REGISTER, unless_after=latest)
            deadline = _deadline(op, 3)
            return Put(key, value, LWW_REGISTER, deadline=deadline, unless_after=latest)
        seen = frozenset(
            self._now.get(old, old)
            for old in _dots(op[3])
            if old in self._now or not self._is_lost(old)
        )
        context = Context(siblings=seen, types=(SIBLINGS,))
        if value is None:
            return Delete(key, SIBLINGS, context)
        return Put(key, value, SIBLINGS, context, deadline=_deadline(op, 4))

    def _increment(self, dot: Dot, kind: int, key: bytes, op: list[object]) -> Operation | None:
        _, _, birth, inc, dec = op
        assert isinstance(birth, int)
        assert isinstance(inc, int)
        assert isinstance(dec, int)
        slot = (dot[0], birth)
        before = self._totals.get(slot)
        self._count(dot[0], op)
        self._slots[dot] = slot
        if before is None and birth < self._begin[dot[0]]:
            self.unclear += 1
            return None
        was_inc, was_dec = before or (0, 0)
        return Increment(key, inc - was_inc - (dec - was_dec), kind)

    def _is_lost(self, dot: Dot) -> bool:
        """Whether the cluster has another write under that dot, or none."""
        return dot[0] in self._lost and dot[1] >= self._lost[dot[0]]

    def _counter_delete(self, kind: int, key: bytes, op: list[object]) -> Operation:
        flat = op[2]
        assert isinstance(flat, list)
        numbers = iter(flat)
        seen: dict[Dot, Totals] = {}
        for slot_origin, birth, inc, dec in zip(numbers, numbers, numbers, numbers, strict=True):
            slot = (slot_origin, birth)
            if slot_origin not in self._lost:
                seen[slot] = (inc, dec)
                continue
            common_inc, common_dec = self._common.get(slot, (0, 0))
            seen[slot] = (min(inc, common_inc), min(dec, common_dec))
            left_inc, left_dec = max(inc - common_inc, 0), max(dec - common_dec, 0)
            for moved, (moved_inc, moved_dec) in self._moved.get(slot, {}).items():
                seen[moved] = (min(left_inc, moved_inc), min(left_dec, moved_dec))
                left_inc, left_dec = left_inc - seen[moved][0], left_dec - seen[moved][1]
        seen = {slot: totals for slot, totals in seen.items() if any(totals)}
        return Delete(key, kind, Context(counters={kind: seen}, types=(kind,)))

    def _count(self, origin: int, op: Op) -> None:
        if isinstance(op, list) and op[0] in COUNTERS and len(op) == 5:
            self._totals[(origin, op[2])] = (op[3], op[4])


class _Requests(Iterator[Again]):
    """What ``Reissue.requests`` gives; where it raises, it does not lose its place."""

    def __init__(self, work: Reissue) -> None:
        self._work = work
        self._turns = (
            (block, indices, request_id)
            for block in work.parted.lost
            for request_id, indices in _requests_of(block)
        )
        self._turn: tuple[Block, list[int], bytes] | None = None

    def __next__(self) -> Again:
        while True:
            self._turn = self._turn or next(self._turns)
            again = self._work.request(*self._turn)
            self._turn = None
            if again.operations:
                return again


def _requests_of(block: Block) -> list[tuple[bytes, list[int]]]:
    """A block's requests in the order of their operations, whether they came with an id or not:
    the later ones have seen the earlier ones, and who goes on after a crash counts on it.
    """
    spans = [(first, request_id, size) for request_id, first, size in block.requests]
    covered = {index for first, _, size in spans for index in range(first, first + size)}
    spans += [
        (index, _own_id((block.origin, block.first_seq + index)), 1)
        for index in range(len(block.ops))
        if index not in covered
    ]
    return [(name, list(range(first, first + size))) for first, name, size in sorted(spans)]


def _operations(block: Block) -> Iterator[tuple[int, list[object]]]:
    return ((index, op) for index, op in enumerate(block.ops) if isinstance(op, list))


def _nothing(op: list[object]) -> Operation:
    """An operation that changes nothing, and has a dot."""
    assert isinstance(op[1], bytes)
    return Delete(op[1], 0, Context())


def _replaced_within(block: Block, indices: Sequence[int]) -> set[Dot]:
    """Siblings that the very request that put them replaced: nobody has seen them."""
    own = {(block.origin, block.first_seq + index) for index in indices}
    puts = [op for index in indices if isinstance(op := block.ops[index], list)]
    return {dot for op in puts if op[0] == SIBLINGS for dot in _dots(op[3])} & own


def _dots(flat: object) -> Iterator[Dot]:
    """Of ``[origin, seq, ...]``."""
    assert isinstance(flat, list)
    numbers = iter(flat)
    return zip(numbers, numbers, strict=True)


def _deadline(op: list[object], position: int) -> int:
    """Of a put; 0 if it has none."""
    deadline = op[position] if len(op) > position else 0
    assert isinstance(deadline, int)
    return deadline


def _own_id(dot: Dot) -> bytes:
    origin, seq = dot
    raw = origin.to_bytes(8, "big") + seq.to_bytes(8, "big")
    return blake2b(raw, digest_size=16, person=b"kvnode.reissue").digest()
