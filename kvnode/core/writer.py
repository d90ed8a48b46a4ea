"""From client operations to one block: the only place where dots are assigned.

Requests are added one after the other; each sees what those before it did. A request that is
refused leaves no trace: its operations are taken out of the block again, and the others' dots
stay without holes. There is no ``await`` and no I/O between reading an entry and giving the
operation its dot, so two requests can never work from one state.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from kvnode.core.block import Op, RequestSpan
from kvnode.core.context import Context
from kvnode.core.dots import Covered, Vector
from kvnode.core.entry import Entry, merge_delta, visible_types
from kvnode.core.errors import Reason, Refused, StateError, quoted
from kvnode.core.operations import Delete, Increment, Operation, Put
from kvnode.core.requests import RequestWindow
from kvnode.core.types import (
    COUNTERS,
    G_COUNTER,
    LWW_REGISTER,
    NAMES,
    PN_COUNTER,
    SIBLINGS,
    TYPES,
    gcounter,
    lww,
    pncounter,
    siblings,
    slots,
)


@dataclass(slots=True)
class Accepted:
    """What became of a request: operation i has dot ``(origin, first_seq + i)``."""

    origin: int
    first_seq: int
    hlc: int
    """Tick of the first operation; 0 when ``repeated``."""
    counters: list[int | None]
    """Of each operation, the sum after it if it was an increment; empty when ``repeated``."""
    repeated: bool = False


class BlockWriter:
    """Builds the operations of one block; the caller encodes and logs it."""

    def __init__(
        self,
        *,
        origin: int,
        hlc: int,
        vector: Vector,
        overlay: dict[bytes, Entry],
        read: Callable[[bytes], Entry],
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
            read: the entry of a key as of before this block.
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
        self._here: dict[bytes, Accepted] = {}
        self._siblings_max = siblings_max
        self._now = now
        self._lww_refusal = lww_refusal
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
        undo: dict[bytes, Entry | None] = {}
        counters: list[int | None] = []
        try:
            for operation in operations:
                counters.append(self._add(operation, undo))  # noqa: PERF401 - one, almost always
        except Refused as refusal:
            refusal.operation = len(self.ops) - start
            del self.ops[start:]
            self._vector[self._origin] = self.first_seq + start - 1
            for key, entry in undo.items():
                if entry is None:
                    del self._overlay[key]
                else:
                    self._overlay[key] = entry
            raise
        accepted = Accepted(self._origin, self.first_seq + start, self._hlc + start, counters)
        if request_id:
            self.spans.append((request_id, start, len(operations)))
            self._here[request_id] = accepted
        return accepted

    def _repeated(self, request_id: bytes, size: int) -> Accepted | None:
        here = self._here.get(request_id)
        known = self._requests.get(request_id)
        if here:
            first = (self._origin, here.first_seq, len(here.counters))
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

    def _add(self, operation: Operation, undo: dict[bytes, Entry | None]) -> int | None:
        key = operation.key
        before = self._overlay.get(key)
        entry = self._current(key) if before is None else before
        index = len(self.ops)
        seq, hlc = self.first_seq + index, self._hlc + index
        op: list[Any] | None
        counted: int | None = None
        known = self._overwrite(operation, entry, seq, hlc) if type(operation) is Put else None
        if known is not None:
            op, entry = known
        elif isinstance(operation, Increment):
            kind, op = self._increment(operation, entry, seq)
            state = slots.counted(entry.get(kind, slots.EMPTY), op, self._origin, hlc)
            counted = slots.value(state)
            entry = {**entry, kind: state}
        else:
            kind, op = self._change(operation, entry)
            if op is not None:
                delta = TYPES[kind].delta(op, self._origin, seq, hlc)
                entry = merge_delta(entry, kind, delta, self._seen, (self._origin, seq))
        self.ops.append(0 if op is None else op)
        if op is not None:
            undo.setdefault(key, before)
            self._overlay[key] = entry
        self._vector[self._origin] = seq
        return counted

    def _overwrite(
        self, put: Put, entry: Entry, seq: int, hlc: int
    ) -> tuple[list[Any], Entry] | None:
        """What is logged and what is left if the put can be taken and replaces all there is.

        Almost all puts of siblings do, and spare the merge of a delta: a third of their cost here.
        """
        key, value, kind, context, blind, deadline, _ = put
        if kind != SIBLINGS or blind or (deadline and self._lww_refusal):
            return None
        held: siblings.Held = {}
        if entry:
            if len(entry) > 1 or SIBLINGS not in entry:
                return None
            held, awaited = entry[SIBLINGS]
            if awaited or (context is not None and held.keys() != context.siblings):
                return None
        elif context is not None:
            return None
        op = siblings.write(key, value, held, deadline)
        return op, {SIBLINGS: siblings.alone((self._origin, seq), hlc, value, deadline)}

    def _increment(self, increment: Increment, entry: Entry, seq: int) -> tuple[int, list[Any]]:
        given = increment.type if self._again else 0
        kind = given or _counter_type(increment, entry, self._now)
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

    def _current(self, key: bytes) -> Entry:
        try:
            return self._read(key)
        except StateError as damage:
            raise Refused(Reason.STATE_DAMAGED, str(damage)) from damage

    def _is_outdone(self, stamp: lww.Stamp, entry: Entry) -> bool:
        now = entry.get(LWW_REGISTER, lww.EMPTY)[:3]
        mine = now[1] == self._origin and now[2] >= self._request_seq
        return now > stamp and not mine

    def _put(self, put: Put, entry: Entry) -> list[Any]:
        if entry and not self._again:
            _check_type(put.key, put.type, entry, self._now)
        if self._lww_refusal and (put.type == LWW_REGISTER or put.deadline):
            raise Refused(Reason.CLOCK_OFF, self._lww_refusal)
        if put.type == LWW_REGISTER:
            return lww.assign(put.key, put.value, put.deadline)
        state = entry.get(SIBLINGS, siblings.EMPTY)
        replaced = self._replaced(state, put.context, blind=put.blind)
        if len(state[0]) >= self._siblings_max:
            self._check_room(put.key, state, replaced)
        return siblings.write(put.key, put.value, replaced, put.deadline)

    def _check_room(
        self, key: bytes, state: siblings.Siblings, replaced: Sequence[tuple[int, int]]
    ) -> None:
        left = len(state[0]) - sum(dot in state[0] for dot in replaced)
        if left >= self._siblings_max and not self._again:
            hidden = len(state[0]) - len(siblings.shown(state, self._now))
            expired = f" ({hidden} of them expired)" if hidden else ""
            raise Refused(
                Reason.TOO_MANY_SIBLINGS,
                f"the key {quoted(key)} has {left} unresolved siblings{expired}, the limit is "
                f"{self._siblings_max}: read it and put one value with its context",
                limit=str(self._siblings_max),
            )

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


def _check_type(key: bytes, kind: int, entry: Entry, now: int) -> None:
    if len(entry) == 1 and kind in entry:
        return
    shown = visible_types(entry, now)
    if shown and kind not in shown:
        raise Refused(
            Reason.TYPE_CONFLICT,
            f"the key {quoted(key)} holds {NAMES[shown[0]]}, not {NAMES[kind]}: "
            "delete it first, or use another key",
            types=",".join(NAMES[t] for t in shown),
        )


def _counter_type(increment: Increment, entry: Entry, now: int) -> int:
    if not entry:
        return increment.type or PN_COUNTER
    if increment.type:
        _check_type(increment.key, increment.type, entry, now)
        return increment.type
    if len(entry) == 1 and PN_COUNTER in entry:
        return PN_COUNTER
    shown = [kind for kind in visible_types(entry, now) if kind in COUNTERS]
    if len(shown) > 1:
        raise Refused(
            Reason.TYPE_CONFLICT,
            f"the key {quoted(increment.key)} is both a G_COUNTER and a PN_COUNTER: say which",
            types=",".join(NAMES[t] for t in shown),
        )
    kind = shown[0] if shown else PN_COUNTER
    _check_type(increment.key, kind, entry, now)
    return kind
