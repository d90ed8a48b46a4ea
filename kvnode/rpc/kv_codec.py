"""Key-value messages to core values and back. Runs for every operation: short and flat."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from kvnode.core.accepted import Accepted
from kvnode.core.context import (
    Context,
    cell_token,
    decode_token,
    dot_token,
    put_tokens,
    shown_token,
    stamp_token,
)
from kvnode.core.dots import Dot
from kvnode.core.entry import Entry, plain_value, visible_types
from kvnode.core.errors import Reason, Refused
from kvnode.core.hlc import LOGICAL_BITS
from kvnode.core.limits import INT64_MAX, REQUEST_ID_BYTES, TTL_MS_MAX, Limits
from kvnode.core.operations import Delete, Increment, Increments, Operation, Put, Puts
from kvnode.core.types import (
    G_COUNTER,
    LWW_REGISTER,
    PN_COUNTER,
    SIBLINGS,
    lww,
    pncounter,
    siblings,
)
from kvnode.v1 import kv_pb2 as pb
from kvnode.v1 import types_pb2

if TYPE_CHECKING:
    from google.protobuf.internal.containers import RepeatedCompositeFieldContainer

    Results = RepeatedCompositeFieldContainer[pb.WriteResult]

NodeName = Callable[[int], str]

STATE_BYTES_MAX = 32
"""Of a key's state beside what is in it: tags and lengths."""
STORED_BYTES_MAX = 80
"""Of a stored value beside its bytes and the node's name: numbers, tags and lengths."""
COUNTER_BYTES_MAX = 80
"""The sum, and once more in decimal: more slots than 2**64 are not needed for that."""
UTF8_BYTES_MAX = 4
"""Of a character."""


class Alike(NamedTuple):
    """Requests of one operation each, with their ids."""

    operations: Puts | Increments
    ids: list[bytes]


class KvCodec:
    """Translates with one cluster's secret and one node's limits and knowledge of names."""

    def __init__(self, secret: bytes, limits: Limits, node_name: NodeName) -> None:
        self.secret = secret
        self.limits = limits
        self.node_name = node_name

    # ---- in

    def operations(self, request: pb.WriteRequest, now_ms: int) -> Sequence[Operation]:
        """What a request asks for; Refused (BAD_REQUEST, BAD_CONTEXT, BATCH_TOO_LARGE)."""
        messages = request.operations
        self.limits.check_batch(asked(request))
        puts, increments = request.HasField("puts"), request.HasField("increments")
        if not (puts or increments):
            if len(messages) == 1:
                return [self.operation(messages[0], now_ms)]
            return _alike(messages) or [self.operation(message, now_ms) for message in messages]
        if messages or (puts and increments):
            raise Refused(
                Reason.BAD_REQUEST, "a request has operations, or puts, or increments: one of them"
            )
        return self.puts(request.puts, now_ms) if puts else increments_of(request.increments)

    def puts(self, message: pb.Puts, now_ms: int) -> Puts:
        """Puts in columns; Refused (BAD_REQUEST)."""
        keys, values = list(message.keys), list(message.values)
        if len(keys) != len(values):
            raise Refused(Reason.BAD_REQUEST, f"{len(keys)} keys and {len(values)} values")
        deadline = now_ms + checked_ttl(message.ttl_ms) if message.HasField("ttl_ms") else 0
        return Puts(keys, values, message.type or SIBLINGS, deadline)

    def alike(self, message: pb.AlikeRequests, now_ms: int) -> Alike:
        """Requests in columns; Refused (BAD_REQUEST)."""
        operations = (
            self.puts(message.puts, now_ms)
            if message.HasField("puts")
            else increments_of(message.increments)
        )
        ids = list(message.request_ids)
        if not ids or len(ids) != len(operations):
            raise Refused(
                Reason.BAD_REQUEST, f"{len(operations)} alike requests and {len(ids)} request ids"
            )
        if {*map(len, ids)} != {REQUEST_ID_BYTES}:
            raise Refused(Reason.BAD_REQUEST, f"a request id has {REQUEST_ID_BYTES} bytes")
        return Alike(operations, ids)

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
        results: Results,
        operations: Sequence[Operation],
        accepted: Accepted,
        read: Callable[[bytes], Entry],
    ) -> None:
        """Add what became of a request's operations, in order."""
        if accepted.repeated:
            self._add_repeated(results, operations, accepted, read)
        elif type(operations) is Puts:
            first = (accepted.origin, accepted.first_seq)
            tokens = put_tokens(operations.keys, operations.type, first, accepted.hlc, self.secret)
            for token, result in zip(
                tokens, _added(results, accepted, len(operations)), strict=True
            ):
                result.context = token
        else:
            added = zip(
                operations,
                accepted.counters,
                _added(results, accepted, len(operations)),
                strict=True,
            )
            for index, (operation, counted, result) in enumerate(added):
                if type(operation) is Put:
                    dot = (accepted.origin, accepted.first_seq + index)
                    hlc = accepted.hlc + index
                    (result.context,) = put_tokens(
                        [operation.key], operation.type, dot, hlc, self.secret
                    )
                elif counted is not None:
                    fill_counter(result.counter, counted)

    def _add_repeated(
        self,
        results: Results,
        operations: Sequence[Operation],
        accepted: Accepted,
        read: Callable[[bytes], Entry],
    ) -> None:
        for operation, result in zip(
            operations, _added(results, accepted, len(operations)), strict=True
        ):
            if type(operation) is Put:
                kind, dot = operation.type, (result.dot.origin, result.dot.seq)
                seen = _still_there(kind, dot, read(operation.key))
                result.context = cell_token(operation.key, kind, seen, self.secret)
            elif type(operation) is Increment:
                fill_counter(result.counter, _counter_now(operation, read(operation.key)))

    def state(self, key: bytes, entry: Entry, now_ms: int) -> types_pb2.KeyState:
        """All a reader sees of the key at ``now_ms``."""
        state = types_pb2.KeyState()
        self.fill_state(state, key, entry, now_ms)
        return state

    def fill_state(self, state: types_pb2.KeyState, key: bytes, entry: Entry, now_ms: int) -> int:
        """Say it in an empty message; returns how many bytes that has at most.

        In place, field by field: what is made apart and copied takes three times as long. Almost
        every entry is one value that does not expire, of which there is not much to find out.
        """
        plain = plain_value(entry)
        if plain is None:
            return self._fill_any(state, key, entry, now_ms)
        kind, hlc, origin, seq, value = plain
        if kind == LWW_REGISTER:
            token = stamp_token(key, hlc, origin, seq, self.secret)
            stored = state.lww_register
        else:
            token = dot_token(key, (origin, seq), self.secret)
            stored = state.siblings.values.add()
        state.key = key
        state.context = token
        return (
            STATE_BYTES_MAX
            + len(key)
            + len(token)
            + self._fill_stored(stored, value, origin, seq, hlc)
        )

    def _fill_any(self, state: types_pb2.KeyState, key: bytes, entry: Entry, now_ms: int) -> int:
        shown = visible_types(entry, now_ms)
        token = shown_token(key, entry, shown, self.secret)
        state.key = key
        state.context = token
        size = STATE_BYTES_MAX + len(key) + len(token)
        for kind in shown:
            cell = entry[kind]
            if kind == LWW_REGISTER:
                size += self._fill_register(state.lww_register, cell)
            elif kind == SIBLINGS:
                add = state.siblings.values.add
                for dot, held in sorted(siblings.shown(cell, now_ms).items(), key=_by_time):
                    size += self._fill_stored(
                        add(), held[1], dot[0], dot[1], held[0], siblings.deadline(held)
                    )
            else:
                counter = state.g_counter if kind == G_COUNTER else state.pn_counter
                fill_counter(counter, pncounter.value(cell))
                size += COUNTER_BYTES_MAX
        return size

    def register(self, cell: lww.Register) -> types_pb2.StoredValue:
        """The winner; of a tombstone without a value."""
        message = types_pb2.StoredValue()
        self._fill_register(message, cell)
        return message

    def stored(self, value: bytes, dot: Dot, hlc: int, deadline: int = 0) -> types_pb2.StoredValue:
        """A value with who wrote it and when, and when it expires."""
        message = types_pb2.StoredValue()
        self._fill_stored(message, value, *dot, hlc, deadline)
        return message

    def _fill_register(self, message: types_pb2.StoredValue, cell: lww.Register) -> int:
        deadline = lww.deadline(cell)
        return self._fill_stored(message, cell[3] or b"", cell[1], cell[2], cell[0], deadline)

    def _fill_stored(
        self,
        message: types_pb2.StoredValue,
        value: bytes,
        origin: int,
        seq: int,
        hlc: int,
        deadline: int = 0,
    ) -> int:
        node = self.node_name(origin)
        message.value = value
        dot = message.dot
        dot.origin = origin
        dot.seq = seq
        message.time_ms = hlc >> LOGICAL_BITS
        message.node = node
        if deadline:
            message.expires_ms = deadline
        return STORED_BYTES_MAX + len(value) + UTF8_BYTES_MAX * len(node)


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


def increments_of(message: pb.Increments) -> Increments:
    """Increments in columns; Refused (BAD_REQUEST)."""
    keys, amounts = list(message.keys), list(message.amounts)
    if not amounts:
        amounts = [1] * len(keys)
    if len(keys) != len(amounts):
        raise Refused(Reason.BAD_REQUEST, f"{len(keys)} keys and {len(amounts)} amounts")
    return Increments(keys, amounts, message.type)


def asked(request: pb.WriteRequest) -> int:
    """How many operations."""
    size = len(request.operations)
    if request.HasField("puts"):
        size += len(request.puts.keys)
    if request.HasField("increments"):
        size += len(request.increments.keys)
    return size


def _alike(messages: Sequence[pb.Operation]) -> Puts | Increments | None:
    """The operations in columns, if they are alike."""
    if not messages:
        return None
    kind = messages[0].WhichOneof("kind")
    keys: list[bytes] = []
    if kind == "put":
        type_ = messages[0].put.type
        values: list[bytes] = []
        for message in messages:
            put = message.put  # empty if it is something else
            if put.type != type_ or put.context or put.blind or put.HasField("ttl_ms"):
                return None
            keys.append(put.key)
            values.append(put.value)
        return Puts(keys, values, type_ or SIBLINGS) if all(keys) else None
    if kind == "increment":
        type_ = messages[0].increment.type
        amounts: list[int] = []
        for message in messages:
            increment = message.increment
            if increment.type != type_:
                return None
            keys.append(increment.key)
            amounts.append(increment.amount)
        return Increments(keys, amounts, type_) if all(keys) else None
    return None


def fill_counter(message: types_pb2.CounterValue, value: int) -> None:
    """Say a sum; beyond 64 bits saturated, with the exact one beside it."""
    if -INT64_MAX - 1 <= value <= INT64_MAX:
        message.value = value
    else:
        message.value = INT64_MAX if value > 0 else -INT64_MAX - 1
        message.exact = str(value)


def _added(results: Results, accepted: Accepted, size: int) -> Iterator[pb.WriteResult]:
    """New results, each with its dot."""
    add, origin = results.add, accepted.origin
    for seq in range(accepted.first_seq, accepted.first_seq + size):
        result = add()
        dot = result.dot
        dot.origin = origin
        dot.seq = seq
        yield result


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
