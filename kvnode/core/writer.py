"""From client operations to one block: the only place where dots are assigned.

Requests are added one after the other; each sees what those before it did. A request that is
refused leaves no trace: its operations are taken out of the block again, and the others' dots
stay without holes. There is no ``await`` and no I/O between reading an entry and giving the
operation its dot, so two requests can never work from one state.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from kvnode.core.accepted import Accepted
from kvnode.core.block import Op, RequestSpan
from kvnode.core.context import Context
from kvnode.core.dots import Covered, Vector
from kvnode.core.entry import Entry, Held, merge_delta, opened, visible_types
from kvnode.core.errors import Reason, Refused, StateError, quoted
from kvnode.core.kinds import check_room, check_type, counter_type
from kvnode.core.operations import Delete, Increment, Increments, Operation, Put, Puts
from kvnode.core.overwriting import overwriter
from kvnode.core.requests import RequestWindow
from kvnode.core.types import (
    COUNTERS,
    G_COUNTER,
    LWW_REGISTER,
    NAMES,
    SIBLINGS,
    TYPES,
    gcounter,
    lww,
    pncounter,
    siblings,
    slots,
)


class BlockWriter:
    """Builds the operations of one block; the caller encodes and logs it."""

    def __init__(
        self,
        *,
        origin: int,
        hlc: int,
        vector: Vector,
        overlay: dict[bytes, Held],
        read: Callable[[bytes], Held],
        requests: RequestWindow,
        siblings_max: int,
        now: int,
        lww_refusal: str = "",
    ) -> None:
        """Start a block.

        Args:
            hlc: tick of the first operation.
            vector: what the replica has; its own component advances with every operation.
            overlay: receives the new entries, key by key.
            read: what a key holds as of before this block.
            requests: the request ids known so far.
            now: wall time (Unix ms); what has expired by then is not there for conditions on what
                a key shows.
            lww_refusal: if set, why registers and deadlines cannot be written now.
        """
        self.first_seq = vector.get(origin, 0) + 1
        self.ops: list[Op] = []
        self.spans: list[RequestSpan] = []
        self._origin = origin
        self._hlc = hlc
        self._vector = vector
        self._seen = Covered(vector)
        self._overlay = overlay
        self._read = read
        self._requests = requests
        self._here: dict[bytes, tuple[int, int]] = {}
        """Request id -> first seq and operations of those in this block."""
        self._siblings_max = siblings_max
        self._now = now
        self._lww_refusal = lww_refusal
        self._overwrite = overwriter(origin, no_registers=bool(lww_refusal))
        self._request_seq = self.first_seq
        """Where the request that is being added begins."""
        self._again = False

    def add(
        self, operations: Sequence[Operation], request_id: bytes, *, again: bool = False
    ) -> Accepted:
        """Add a request's operations, all or none.

        Args:
            again: they were acknowledged before. What other nodes have made of their keys since
                is no reason to refuse them, as it is none to refuse a block from elsewhere.

        Raises:
            Refused: TYPE_CONFLICT, COUNTER_OVERFLOW, BAD_AMOUNT, BAD_REQUEST, CLOCK_OFF or
                TOO_MANY_SIBLINGS; nothing was added.
        """
        if request_id:
            known = self._repeated(request_id, len(operations))
            if known:
                return known
        start = len(self.ops)
        self._request_seq, self._again = self.first_seq + start, again
        undo: dict[bytes, Held | None] = {}
        counters: list[int | None] = []
        try:
            if type(operations) is Puts:
                self._add_puts(operations, undo)
            elif type(operations) is Increments:
                self._add_increments(operations, undo, counters)
            else:
                for operation in operations:
                    counters.append(self._add(operation, undo))  # noqa: PERF401 - one, mostly
        except StateError as damage:
            unreadable = Refused(Reason.STATE_DAMAGED, str(damage))
            raise self._taken_back(unreadable, start, undo) from damage
        except Refused as refusal:
            raise self._taken_back(refusal, start, undo) from None
        accepted = Accepted(self._origin, self.first_seq + start, self._hlc + start, counters)
        if request_id:
            self._name(request_id, start, len(self.ops) - start)
        return accepted

    def add_each(self, operations: Puts | Increments, request_ids: Sequence[bytes]) -> Accepted:
        """Add requests of one operation each, every one accepted or refused by itself.

        Mostly none is known and none is refused: then they are added at once, as a batch is.
        """
        start = len(self.ops)
        if self._are_new(request_ids):
            with suppress(Refused):  # one of them is: each by itself they tell which
                accepted = self.add(operations, b"")
                for index, request_id in enumerate(request_ids, start):
                    self._name(request_id, index, 1)
                return accepted
        each: list[Accepted | Refused] = []
        singly: Sequence[Operation] = operations
        for operation, request_id in zip(singly, request_ids, strict=True):
            try:
                each.append(self.add([operation], request_id))
            except Refused as refusal:
                each.append(refusal.with_traceback(None))  # it holds the round
        return Accepted(self._origin, 0, 0, [], each=each)

    def _are_new(self, request_ids: Sequence[bytes]) -> bool:
        ids = set(request_ids)
        alone = len(ids) == len(request_ids) and ids.isdisjoint(self._here)
        return alone and self._requests.knows_none(ids)

    def _name(self, request_id: bytes, start: int, size: int) -> None:
        self.spans.append((request_id, start, size))
        self._here[request_id] = (self.first_seq + start, size)

    def _taken_back(self, refusal: Refused, start: int, undo: dict[bytes, Held | None]) -> Refused:
        """The refusal, which leaves no trace of the operations from ``start`` on."""
        refusal.operation = len(self.ops) - start
        del self.ops[start:]
        self._vector[self._origin] = self.first_seq + start - 1
        for key, entry in undo.items():
            if entry is None:
                del self._overlay[key]
            else:
                self._overlay[key] = entry
        return refusal

    def _repeated(self, request_id: bytes, size: int) -> Accepted | None:
        here = self._here.get(request_id)
        known = self._requests.get(request_id)
        if here:
            first = (self._origin, *here)
        elif known:
            first = (known.origin, known.first_seq, known.size)
        else:
            return None
        if first[2] != size:
            raise Refused(
                Reason.BAD_REQUEST,
                f"the request id {request_id.hex()} was used before for {first[2]} operations, "
                f"not {size}: a new request needs a new id",
            )
        return Accepted(first[0], first[1], 0, [], repeated=True)

    def _add(self, operation: Operation, undo: dict[bytes, Held | None]) -> int | None:
        key = operation.key
        before = self._overlay.get(key)
        held = self._read(key) if before is None else before
        index = len(self.ops)
        seq, hlc = self.first_seq + index, self._hlc + index
        op: list[Any] | None
        left: Held = held
        counted: int | None = None
        known = None
        if type(operation) is Put and not operation.blind and operation.unless_after is None:
            _, value, kind, context, _, deadline, _ = operation
            known = self._overwrite(key, value, kind, deadline, context, held, seq, hlc)
        if known is not None:
            op, left = known
        elif isinstance(operation, Increment):
            entry = opened(held)
            kind, op = self._increment(operation, entry, seq)
            state = slots.counted(entry.get(kind, slots.EMPTY), op, self._origin, hlc)
            counted = slots.value(state)
            left = {**entry, kind: state}
        else:
            entry = opened(held)
            kind, op = self._change(operation, entry)
            if op is not None:
                delta = TYPES[kind].delta(op, self._origin, seq, hlc)
                left = merge_delta(entry, kind, delta, self._seen, (self._origin, seq))
        self.ops.append(0 if op is None else op)
        if op is not None:
            undo.setdefault(key, before)
            self._overlay[key] = left
        self._vector[self._origin] = seq
        return counted

    def _add_puts(self, puts: Puts, undo: dict[bytes, Held | None]) -> None:
        """What ``_add`` does, of each in turn, without an object for it."""
        kind, deadline = puts.type, puts.deadline
        overlay, add, vector = self._overlay, self.ops.append, self._vector
        read, overwrite, first_of = self._read, self._overwrite, undo.setdefault
        seq, hlc = self.first_seq + len(self.ops), self._hlc + len(self.ops)
        for key, value in zip(puts.keys, puts.values, strict=True):
            before = overlay.get(key)
            held = read(key) if before is None else before
            known = overwrite(key, value, kind, deadline, None, held, seq, hlc)
            if known is None:
                vector[self._origin] = seq - 1
                self._add(Put(key, value, kind, deadline=deadline), undo)
            else:
                op, overlay[key] = known
                add(op)
                first_of(key, before)
            seq += 1
            hlc += 1
        vector[self._origin] = seq - 1

    def _add_increments(
        self,
        increments: Increments,
        undo: dict[bytes, Held | None],
        counters: list[int | None],
    ) -> None:
        """What ``_add`` does, of each in turn; an entry is made once for all increments of a key.

        The first of a key says what there is to know: type, slot and sum. While the sums stay
        within 64 bits the next one goes on in the same slot, which is the newest, is this node's
        and was not touched by a delete.
        """
        ops = self.ops
        newest: dict[bytes, tuple[list[Any], int]] = {}
        """Key -> its newest operation, and the sum after it."""
        behind: dict[bytes, int] = {}
        """Key whose entry lacks its newest operation -> the tick of that."""
        for key, amount in zip(increments.keys, increments.amounts, strict=True):
            last = newest.get(key)
            op = slots.onward(*last, amount) if last is not None else None
            if last is None or op is None:
                if last is not None:
                    self._catch_up(newest, behind)
                counted = self._add(Increment(key, amount, increments.type), undo)
                made = ops[-1]
                assert counted is not None, "an increment without a sum"
                assert type(made) is list, "an increment that changed nothing"
                newest[key] = (made, counted)
            else:
                behind[key] = self._hlc + len(ops)
                counted = last[1] + amount
                newest[key] = (op, counted)
                ops.append(op)
            counters.append(counted)
        self._catch_up(newest, behind)
        self._vector[self._origin] = self.first_seq + len(ops) - 1

    def _catch_up(
        self, newest: dict[bytes, tuple[list[Any], int]], behind: dict[bytes, int]
    ) -> None:
        """Make the entries of ``behind``."""
        for key, hlc in behind.items():
            op, _ = newest[key]
            entry = opened(self._overlay[key])
            self._overlay[key] = {
                **entry,
                op[0]: slots.counted(entry[op[0]], op, self._origin, hlc),
            }
        behind.clear()

    def _increment(self, increment: Increment, entry: Entry, seq: int) -> tuple[int, list[Any]]:
        given = increment.type if self._again else 0
        kind = given or counter_type(increment, entry, self._now)
        mutate = gcounter.increment if kind == G_COUNTER else pncounter.increment
        state = entry.get(kind, slots.EMPTY)
        return kind, mutate(state, increment.key, increment.amount, self._origin, seq)

    def _change(self, operation: Put | Delete, entry: Entry) -> tuple[int, list[Any] | None]:
        """Its type and what is logged, None if it changes nothing."""
        stamp = operation.unless_after
        if stamp is not None and self._is_outdone(stamp, entry):
            return 0, None
        if type(operation) is Put:
            return operation.type, self._put(operation, entry)
        assert type(operation) is Delete
        return self._delete(operation, entry)

    def _is_outdone(self, stamp: lww.Stamp, entry: Entry) -> bool:
        now = entry.get(LWW_REGISTER, lww.EMPTY)[:3]
        mine = now[1] == self._origin and now[2] >= self._request_seq
        return now > stamp and not mine

    def _put(self, put: Put, entry: Entry) -> list[Any]:
        if entry and not self._again:
            check_type(put.key, put.type, entry, self._now)
        if self._lww_refusal and (put.type == LWW_REGISTER or put.deadline):
            raise Refused(Reason.CLOCK_OFF, self._lww_refusal)
        if put.type == LWW_REGISTER:
            return lww.assign(put.key, put.value, put.deadline)
        state = entry.get(SIBLINGS, siblings.EMPTY)
        replaced = self._replaced(state, put.context, blind=put.blind)
        if len(state[0]) >= self._siblings_max and not self._again:
            check_room(put.key, state, replaced, self._siblings_max, self._now)
        return siblings.write(put.key, put.value, replaced, put.deadline)

    def _replaced(
        self, state: siblings.Siblings, context: Context | None, *, blind: bool = False
    ) -> list[tuple[int, int]]:
        if blind:
            return []
        if context is None:
            return list(state[0])
        return siblings.replaced(state, context.siblings, self._seen)

    def _delete(self, delete: Delete, entry: Entry) -> tuple[int, list[Any] | None]:
        context = delete.context
        shown = visible_types(entry, self._now) if context is None else list(context.types)
        if delete.type:
            # With a context only what it showed: who saw no value deletes none.
            shown = (
                [kind for kind in shown if kind == delete.type]
                if context is not None
                else [delete.type]
            )
        if len(shown) > 1:
            raise Refused(
                Reason.TYPE_CONFLICT,
                f"the key {quoted(delete.key)} is {' and '.join(NAMES[t] for t in shown)}: "
                "say which type to delete",
                types=",".join(NAMES[t] for t in shown),
            )
        if not shown:
            return 0, None
        kind = shown[0]
        state = entry.get(kind, TYPES[kind].EMPTY)
        if kind in COUNTERS:
            totals = None if context is None else context.counters.get(kind, {})
            remove = gcounter.remove if kind == G_COUNTER else pncounter.remove
            return kind, remove(state, delete.key, totals, self._seen)
        if kind == LWW_REGISTER:
            if self._lww_refusal:
                raise Refused(Reason.CLOCK_OFF, self._lww_refusal)
            stamp = None if context is None else (context.register or (0, 0, 0))
            return kind, lww.remove(state, delete.key, stamp, self._seen, self._now)
        replaced = self._replaced(state, context)
        return kind, siblings.write(delete.key, None, replaced) if replaced else None
