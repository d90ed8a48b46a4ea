"""One client of the cluster: sends a call, and puts into the history what became of it.

The client library is used as an application would, with one difference: each node has a client of
its own, so that the history says where a call went. The library asks the same node again when a
reply was lost; that is one call here, for its caller sees one.

A read needs the vector that comes with a reply, which ``get`` of the library does not show; so the
same question is asked by ``Client.ask``.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Final, NamedTuple

from cluster.vectors import joined
from kvnode import (
    BatchReceipt,
    Behind,
    Client,
    DataType,
    DeadlineExceeded,
    Delete,
    Increment,
    KeyState,
    KvnodeError,
    NodeUnavailable,
    Operation,
    OutcomeUnknown,
    Put,
    Receipt,
    RequestRefused,
)
from kvnode.client.operations import REQUEST_ID_BYTES
from kvnode.client.rpcs import BATCH_GET
from kvnode.client.states import key_state_of
from kvnode.client.values import vector_of
from kvnode.core.errors import Reason
from kvnode.v1 import kv_pb2
from tests.checkers.history import Call, Dot, Seen, Type, Vector, Written
from tests.nemesis.disk import BROKEN
from tests.nemesis.recorder import Recorder

TIMEOUT_S: Final = 1.5
"""Of a call: shorter than most faults, so that many outcomes are unknown."""

AT_HOME: Final = 0.85
"""Share of calls that a client sends to its own node."""

EXPECTED: Final = frozenset(
    {
        "OUTCOME_UNKNOWN",
        "UNREACHABLE",
        "NO_ANSWER",
        "QUEUE_FULL",
        "DISK_FULL",
        "TOO_MANY_SIBLINGS",
        "CLOCK_OFF",
        "STOPPING",
        "RESYNCING",
        "BEHIND",
    }
)
"""Why a call may fail at a node that is tormented; anything else is a finding."""

TYPES: Final[dict[DataType, Type]] = {
    DataType.G_COUNTER: "GCOUNTER",
    DataType.PN_COUNTER: "PNCOUNTER",
    DataType.LWW_REGISTER: "LWW",
    DataType.SIBLINGS: "SIBLINGS",
}


class Asked(NamedTuple):
    """One operation, for the client library and for the history."""

    operation: Operation
    written: Written


@dataclass(frozen=True, slots=True)
class Shown:
    """What a read found."""

    states: tuple[KeyState, ...]
    vector: Vector

    def dots(self, position: int) -> frozenset[Dot]:
        """The writes that one key showed."""
        state = self.states[position]
        stored = [*state.siblings, *([state.register] if state.register else [])]
        return frozenset((each.dot.origin, each.dot.seq) for each in stored)


class Session:
    """A client with one call at a time."""

    def __init__(
        self, number: int, endpoints: Mapping[str, str], recorder: Recorder, chance: Random
    ) -> None:
        self.number = number
        self.chance = chance
        self.nodes = tuple(endpoints)
        self.home = self.nodes[number % len(self.nodes)]
        """Where calls go that do not say where."""
        self.token: Vector = {}
        """What this session has seen, where it matters: its reads and acknowledged writes."""
        self._values = 0
        self._recorder = recorder
        self._clients = {
            name: Client(address, timeout_s=TIMEOUT_S) for name, address in endpoints.items()
        }

    def close(self) -> None:
        """Close the connections."""
        for client in self._clients.values():
            client.close()

    def value(self) -> bytes:
        """One that nobody has written before."""
        self._values += 1
        return b"%d/%d" % (self.number, self._values)

    def see(self, vector: Vector) -> None:
        """Take what a reply said its node had into the session."""
        self.token = joined((self.token, vector))

    def somewhere(self) -> str:
        """Mostly at home, now and then anywhere."""
        return self.home if self.chance.random() < AT_HOME else self.chance.choice(self.nodes)

    # ---- calls

    def read(
        self, keys: Sequence[bytes], node: str | None = None, *, token: Vector | None = None
    ) -> Shown | None:
        """What these keys show at one moment; None if nobody told.

        ``token``: the node waits until it has all that.
        """
        node = node or self.somewhere()
        open_ = Call(0, self.number, node, 0.0, None, "unknown", token=token)
        call = self._recorder.begin(open_)
        try:
            request = kv_pb2.BatchGetRequest(keys=keys)
            for origin, seq in (token or {}).items():
                request.options.after.entries.add(origin=origin, seq=seq)
            reply = self._clients[node].admin.ask(BATCH_GET, request)
        except KvnodeError as error:
            self._failed(call, error)
            return None
        shown = Shown(tuple(map(key_state_of, reply.states)), vector_of(reply.session))
        seen = tuple(map(seen_of, shown.states))
        self._recorder.end(replace(call, outcome="ok", seen=seen, vector=shown.vector))
        return shown

    def write(
        self, asked: Sequence[Asked], node: str | None = None, *, token: Vector | None = None
    ) -> Call:
        """Send one batch, and once more if there was no reply; the call that told most.

        ``token`` says for the history that the node is known to have all that.
        """
        request = os.urandom(REQUEST_ID_BYTES)
        open_ = Call(
            number=0,
            client=self.number,
            node=node or self.somewhere(),
            started_ms=0.0,
            ended_ms=None,
            outcome="unknown",
            writes=tuple(each.written for each in asked),
            request=request,
            token=token,
        )
        call = self._send(open_, asked)
        if call.outcome == "unknown" and self.chance.random() < 0.7:
            # By the same request id the node knows whether it has been done.
            again = self._send(open_, asked)
            return again if again.outcome == "ok" else call
        return call

    def _send(self, open_: Call, asked: Sequence[Asked]) -> Call:
        call = self._recorder.begin(open_)
        client = self._clients[call.node]
        try:
            receipt = _sent(client, [each.operation for each in asked], call.request)
        except KvnodeError as error:
            return self._failed(call, error)
        dots = receipt.receipts if isinstance(receipt, BatchReceipt) else (receipt,)
        call = replace(
            call,
            outcome="ok",
            dots=tuple((each.dot.origin, each.dot.seq) for each in dots),
            vector=dict(receipt.session),
            repeated=receipt.repeated,
        )
        self._recorder.end(call)
        return call

    def _failed(self, call: Call, error: KvnodeError) -> Call:
        reason = reason_of(error)
        # A read has no outcome to be unsure of.
        unknown = not isinstance(error, RequestRefused) and bool(call.writes)
        call = replace(call, outcome="unknown" if unknown else "refused", reason=reason)
        if reason not in EXPECTED and BROKEN not in str(error):
            self._recorder.complain(f"call {call.number} at {call.node}: {reason}: {error}")
        self._recorder.end(call)
        return call


def reason_of(error: KvnodeError) -> str:
    """Machine-readable, also where the node itself did not say anything."""
    match error:
        case RequestRefused() if error.reason:
            return str(error.reason)
        case NodeUnavailable():
            return "UNREACHABLE"
        case Behind():
            return str(Reason.BEHIND)
        case DeadlineExceeded():
            return "NO_ANSWER"
        case OutcomeUnknown():
            return "OUTCOME_UNKNOWN"
        case _:
            return type(error).__name__


def seen_of(state: KeyState) -> Seen:
    """A key's state, as a history has it."""
    register = state.register
    counters: dict[Type, int] = {}
    if state.g_counter is not None:
        counters["GCOUNTER"] = state.g_counter
    if state.pn_counter is not None:
        counters["PNCOUNTER"] = state.pn_counter
    return Seen(
        state.key,
        siblings={(one.dot.origin, one.dot.seq): one.value for one in state.siblings},
        lww=((register.dot.origin, register.dot.seq), register.value) if register else None,
        counters=counters,
    )


def _sent(
    client: Client, operations: Sequence[Operation], request: bytes
) -> Receipt | BatchReceipt:
    """A single operation by the call of its own, several as a batch."""
    match operations:
        case [Put() as put]:
            return client.put(
                put.key,
                put.value,
                lww=put.lww,
                context=put.context,
                blind=put.blind,
                request_id=request,
            )
        case [Increment() as increment]:
            return client.increment(
                increment.key, increment.amount, type=increment.type, request_id=request
            )
        case [Delete() as delete]:
            return client.delete(
                delete.key, type=delete.type, context=delete.context, request_id=request
            )
        case _:
            return client.write(operations, request_id=request)


# ---- operations


def add(key: bytes, value: bytes) -> Asked:
    """A sibling beside whatever there is."""
    return Asked(Put(key, value, blind=True), Written("put", key, "SIBLINGS", value, mode="blind"))


def replace_seen(shown: Shown, position: int, value: bytes) -> Asked:
    """A sibling in place of exactly what was shown."""
    state = shown.states[position]
    written = Written(
        "put",
        state.key,
        "SIBLINGS",
        value,
        mode="context",
        context=shown.dots(position),
        seen=shown.vector,
    )
    return Asked(Put(state.key, value, context=state.context), written)


def set_register(key: bytes, value: bytes) -> Asked:
    """The last writer wins."""
    return Asked(Put(key, value, lww=True), Written("put", key, "LWW", value))


def count(key: bytes, amount: int, kind: DataType) -> Asked:
    """More, or with a PN-counter less."""
    written = Written("increment", key, TYPES[kind], amount=amount)
    return Asked(Increment(key, amount, kind), written)


def delete_seen(shown: Shown, position: int, kind: DataType) -> Asked:
    """Away with exactly what was shown."""
    state = shown.states[position]
    written = Written(
        "delete",
        state.key,
        TYPES[kind],
        mode="context",
        context=shown.dots(position),
        seen=shown.vector,
    )
    return Asked(Delete(state.key, kind, state.context), written)
