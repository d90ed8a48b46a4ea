"""What became of writes, as messages.

A message is filled in place, field by field: what is made apart is copied into it. Almost all
requests are single puts of siblings, though, and those of a round differ in two fields. For them
one message is filled again and again and copied whole: half the time of making each.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from kvnode.core.context import dot_token
from kvnode.core.dots import Vector
from kvnode.core.entry import Entry
from kvnode.core.operations import Operation, Put
from kvnode.core.types import SIBLINGS
from kvnode.core.writer import Accepted
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
    ) -> None:
        """Say in a response without results what became of a request, which ``vector`` covers."""
        if vector is not self._vector:
            self._begin(vector)
        first = operations[0]
        if (
            type(first) is Put
            and first.type == SIBLINGS
            and len(operations) == 1
            and not accepted.repeated
        ):
            origin, seq = accepted.origin, accepted.first_seq
            self._dot.origin = origin
            self._dot.seq = seq
            self._result.context = dot_token(first.key, (origin, seq), self._codec.secret)
            response.MergeFrom(self._one)
            return
        self._codec.add_results(response.results, operations, accepted, self._entries.read)
        response.session.CopyFrom(self._one.session)
        if accepted.repeated:
            response.repeated = True
