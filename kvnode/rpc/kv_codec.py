"""Key-value messages to core values and back. Runs for every operation: short and flat."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from kvnode.core.context import Context, cell_token, decode_token, dot_token, entry_token
from kvnode.core.dots import Dot
from kvnode.core.entry import Entry, visible_types
from kvnode.core.errors import Reason, Refused
from kvnode.core.hlc import time_ms
from kvnode.core.limits import INT64_MAX, TTL_MS_MAX, Limits
from kvnode.core.operations import Delete, Increment, Operation, Put
from kvnode.core.types import (
    G_COUNTER,
    LWW_REGISTER,
    PN_COUNTER,
    SIBLINGS,
    lww,
    pncounter,
    siblings,
)
from kvnode.core.writer import Accepted
from kvnode.v1 import kv_pb2 as pb
from kvnode.v1 import types_pb2

if TYPE_CHECKING:
    from google.protobuf.internal.containers import RepeatedCompositeFieldContainer

NodeName = Callable[[int], str]


class KvCodec:
    """Translates with one cluster's secret and one node's limits and knowledge of names."""

    def __init__(self, secret: bytes, limits: Limits, node_name: NodeName) -> None:
        self.secret = secret
        self.limits = limits
        self.node_name = node_name

    # ---- in

    def operation(self, message: pb.Operation, now_ms: int) -> Operation:
        """One operation of a batch; Refused (BAD_REQUEST, BAD_CONTEXT)."""
        match message.WhichOneof("kind"):
            case "put":
                return self.put(message.put, now_ms)
            case "increment":
                return increment(message.increment)
            case "delete":
                return self.delete(message.delete)
        raise Refused(Reason.BAD_REQUEST, "an operation of the batch is empty")

    def put(self, message: pb.Put, now_ms: int) -> Put:
        """A put; without type it stores siblings. Its time to live begins at ``now_ms``."""
        key = message.key
        token = message.context
        return Put(
            key,
            message.value,
            message.type or SIBLINGS,
            self.context(key, token) if token else None,
            message.blind,
            now_ms + checked_ttl(message.ttl_ms) if message.HasField("ttl_ms") else 0,
        )

    def delete(self, message: pb.Delete) -> Delete:
        """A delete."""
        token = message.context
        context = self.context(message.key, token) if token else None
        return Delete(message.key, message.type, context)

    def context(self, key: bytes, token: bytes) -> Context:
        """What the token says was seen; Refused (BAD_CONTEXT)."""
        return decode_token(key, token, self.secret, self.limits.context_bytes_max)

    # ---- out

    def add_results(
        self,
        results: RepeatedCompositeFieldContainer[pb.WriteResult],
        operations: Sequence[Operation],
        accepted: Accepted,
        read: Callable[[bytes], Entry],
    ) -> None:
        """Add what became of a request's operations, in order."""
        origin, seq, hlc = accepted.origin, accepted.first_seq, accepted.hlc
        counters = accepted.counters
        secret = self.secret
        for index, operation in enumerate(operations):
            result = results.add()
            written = result.dot
            written.origin = origin
            written.seq = seq + index
            if type(operation) is Put:
                kind = operation.type
                dot = (origin, seq + index)
                if accepted.repeated:
                    seen = _still_there(kind, dot, read(operation.key))
                    result.context = cell_token(operation.key, kind, seen, secret)
                elif kind == SIBLINGS:
                    result.context = dot_token(operation.key, dot, secret)
                else:
                    result.context = cell_token(operation.key, kind, [hlc + index, *dot], secret)
            elif type(operation) is Increment:
                if accepted.repeated:
                    value = _counter_now(operation, read(operation.key))
                else:
                    counted = counters[index]
                    assert counted is not None, "an increment without a sum"
                    value = counted
                result.counter.CopyFrom(counter_value(value))

    def state(self, key: bytes, entry: Entry, now_ms: int) -> types_pb2.KeyState:
        """All a reader sees of the key at ``now_ms``."""
        state = types_pb2.KeyState(key=key, context=entry_token(key, entry, self.secret, now_ms))
        for kind in visible_types(entry, now_ms):
            cell = entry[kind]
            if kind == G_COUNTER:
                state.g_counter.CopyFrom(counter_value(pncounter.value(cell)))
            elif kind == PN_COUNTER:
                state.pn_counter.CopyFrom(counter_value(pncounter.value(cell)))
            elif kind == LWW_REGISTER:
                state.lww_register.CopyFrom(self.register(cell))
            else:
                shown = siblings.shown(cell, now_ms)
                state.siblings.values.extend(
                    self.stored(held[1], dot, held[0], *held[2:])
                    for dot, held in sorted(shown.items(), key=_by_time)
                )
        return state

    def register(self, cell: lww.Register) -> types_pb2.StoredValue:
        """The winner; of a tombstone without a value."""
        return self.stored(cell[3] or b"", (cell[1], cell[2]), cell[0], lww.deadline(cell))

    def stored(self, value: bytes, dot: Dot, hlc: int, deadline: int = 0) -> types_pb2.StoredValue:
        """A value with who wrote it and when, and when it expires."""
        origin, seq = dot
        return types_pb2.StoredValue(
            value=value,
            dot=types_pb2.Dot(origin=origin, seq=seq),
            time_ms=time_ms(hlc),
            node=self.node_name(origin),
            expires_ms=deadline,
        )


def checked_ttl(ttl_ms: int) -> int:
    """A time to live as it was asked for; Refused (BAD_REQUEST)."""
    if 0 < ttl_ms <= TTL_MS_MAX:
        return ttl_ms
    raise Refused(
        Reason.BAD_REQUEST,
        f"a time to live has 1 to {TTL_MS_MAX} ms (100 years), not {ttl_ms}",
        limit=str(TTL_MS_MAX),
    )


def increment(message: pb.Increment) -> Increment:
    """An increment."""
    return Increment(message.key, message.amount, message.type)


def counter_value(value: int) -> types_pb2.CounterValue:
    """A sum; beyond 64 bits saturated, with the exact one beside it."""
    if -INT64_MAX - 1 <= value <= INT64_MAX:
        return types_pb2.CounterValue(value=value)
    saturated = INT64_MAX if value > 0 else -INT64_MAX - 1
    return types_pb2.CounterValue(value=saturated, exact=str(value))


def _counter_now(operation: Increment, entry: Entry) -> int:
    kinds = (operation.type,) if operation.type else (G_COUNTER, PN_COUNTER)
    return sum(pncounter.value(entry[kind]) for kind in kinds if kind in entry)


def _still_there(kind: int, dot: Dot, entry: Entry) -> list[int]:
    """What the context of a repeated put names: its dot if the key holds it, else nothing.

    A token must never name a dot of another key, and whether the first request under this id
    wrote this key only the key itself can tell.
    """
    if kind == SIBLINGS:
        return [*dot] if SIBLINGS in entry and dot in entry[SIBLINGS][0] else []
    register = entry.get(LWW_REGISTER, lww.EMPTY)
    return list(register[:3] if register[1:3] == dot else lww.EMPTY[:3])


def _by_time(item: tuple[Dot, siblings.Value]) -> tuple[int, Dot]:
    return (item[1][0], item[0])
