"""What became of writes, as messages.

A message is filled in place, field by field: what is made apart is copied into it. Almost all
requests are single puts of siblings, though, and those of a round differ in two fields. For them
one message is filled again and again and copied whole: half the time of making each.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from kvnode.core.accepted import Accepted
from kvnode.core.context import dot_token, put_tokens
from kvnode.core.dots import Vector
from kvnode.core.entry import Entry
from kvnode.core.errors import Refused
from kvnode.core.operations import Operation, Put, Puts
from kvnode.core.types import SIBLINGS
from kvnode.rpc.handlers import failure_of
from kvnode.rpc.kv_codec import KvCodec
from kvnode.rpc.replication_codec import vector_to_wire
from kvnode.v1 import kv_pb2 as pb


class Entries(Protocol):
    """What is kept under the keys."""

    def read(self, key: bytes) -> Entry: ...


class Answers:
    """Fills responses; one vector answers all the requests of a round."""

    def __init__(self, codec: KvCodec, entries: Entries) -> None:
        """``entries`` are looked at when a request is answered again."""
        self._codec = codec
        self._entries = entries
        self._begin({})

    def _begin(self, vector: Vector) -> None:
        self._vector = vector
        self._one = pb.WriteResponse(session=vector_to_wire(vector))
        """Of a single put of siblings."""
        self._result = self._one.results.add()
        self._dot = self._result.dot

    def fill(
        self,
        response: pb.WriteResponse,
        operations: Sequence[Operation],
        accepted: Accepted,
        vector: Vector,
        *,
        brief: bool,
    ) -> None:
        """Say in a response without results what became of a request, which ``vector`` covers."""
        if vector is not self._vector:
            self._begin(vector)
        if brief:
            response.first.origin = accepted.origin
            response.first.seq = accepted.first_seq
        elif (
            len(operations) == 1
            and type(first := operations[0]) is Put
            and first.type == SIBLINGS
            and not accepted.repeated
        ):
            origin, seq = accepted.origin, accepted.first_seq
            self._dot.origin = origin
            self._dot.seq = seq
            self._result.context = dot_token(first.key, (origin, seq), self._codec.secret)
            response.MergeFrom(self._one)
            return
        else:
            self._codec.add_results(response.results, operations, accepted, self._entries.read)
        response.session.CopyFrom(self._one.session)
        if accepted.repeated:
            response.repeated = True

    def fill_alike(
        self,
        response: pb.WriteManyResponse.Alike,
        operations: Sequence[Operation],
        accepted: Accepted,
        vector: Vector,
    ) -> None:
        """Say what became of requests that came together."""
        if vector is not self._vector:
            self._begin(vector)
        if accepted.each:
            for operation, one in zip(operations, accepted.each, strict=True):
                outcome = response.outcomes.add()
                if isinstance(one, Refused):
                    outcome.error.CopyFrom(failure_of(one))
                else:
                    self.fill(outcome.response, [operation], one, vector, brief=False)
            return
        origin, seq = accepted.origin, accepted.first_seq
        response.first.origin = origin
        response.first.seq = seq
        response.session.CopyFrom(self._one.session)
        if type(operations) is Puts:
            response.contexts.extend(
                put_tokens(
                    operations.keys, operations.type, (origin, seq), accepted.hlc,
                    self._codec.secret,
                )
            )  # fmt: skip
        else:
            response.sums.extend(accepted.counters)  # type: ignore[arg-type] # each has one
