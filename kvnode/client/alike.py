"""Writes of several callers in one call, those that are alike in columns.

To make a request and an operation for each, to read an outcome, a result and a dot of each answer,
and the same at the node, is most of what a small write costs. Puts that differ in key and value
only, and increments of one type, need none of it: their *kind* says what they have in common, and
they go in columns (``AlikeRequests``), one group for each kind. Each is still a request of its own:
with an id of its own, taken or refused by itself.

The node carries out what goes by itself first, then one group after the other. So the order in
which the callers came is kept within a group only. It matters for one key: where a key is in two
groups, or in a group and outside, the whole flight goes as requests.

An entry of a kind has no request until it needs one: when it is alone in its call, or cannot be in
a group.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from kvnode.client.operations import REQUEST_ID_BYTES, WIRE_TYPES
from kvnode.client.receipts import alike_receipts
from kvnode.client.settling import misfit, outcome_of
from kvnode.client.values import DataType
from kvnode.v1 import kv_pb2

if TYPE_CHECKING:
    from kvnode.client.channels import Endpoint
    from kvnode.client.lanes import Entry
    from kvnode.client.status import Failure
    from kvnode.v1 import types_pb2

    PutKind: TypeAlias = tuple["types_pb2.DataType", int | None]
    IncrementKind: TypeAlias = tuple["types_pb2.DataType | None"]
    Kind: TypeAlias = PutKind | IncrementKind

SIBLINGS: Final[PutKind] = (WIRE_TYPES[DataType.SIBLINGS], None)
REGISTER: Final[PutKind] = (WIRE_TYPES[DataType.LWW_REGISTER], None)
"""Puts without a ``ttl``; with one the second is that, in ms."""

INCREMENTS: Final[dict[DataType | None, Kind]] = {
    kind: (None if kind is None else WIRE_TYPES[kind],)
    for kind in (None, DataType.G_COUNTER, DataType.PN_COUNTER)
}
"""Of increments the type alone."""

HEADS_BYTES_MAX: Final = 64
"""What a request takes beside its key and value: its id, and the tags and lengths."""

Part: TypeAlias = "tuple[Kind | None, Sequence[Entry]]"
"""Entries of one kind; without one those that go as requests."""


def draw_ids(entries: Sequence[Entry]) -> None:
    """A request id for every entry that has none: at once, for one after the other takes ten times
    as long; and only when they leave, so that none is kept for a fork to share.
    """
    without = [entry for entry in entries if not entry.request_id]
    drawn = os.urandom(REQUEST_ID_BYTES * len(without)) if without else b""
    start = 0
    for entry in without:
        end = start + REQUEST_ID_BYTES
        entry.request_id = drawn[start:end]
        start = end


def request_of(entry: Entry) -> kv_pb2.WriteRequest:
    """The entry as a request of its own."""
    request: kv_pb2.WriteRequest | None = entry.request
    if request is None:
        request = entry.request = kv_pb2.WriteRequest(request_id=entry.request_id)
        operation, kind, (key,) = request.operations.add(), entry.kind, entry.keys
        assert kind is not None, "who has no request has a kind"
        if len(kind) == 2:
            type_, ttl_ms = kind
            put = operation.put
            put.key, put.value, put.type = key, entry.value, type_
            if ttl_ms is not None:
                put.ttl_ms = ttl_ms
        else:
            increment = operation.increment
            increment.key, increment.amount = key, entry.value
            if kind[0] is not None:
                increment.type = kind[0]
    return request


def parted(entries: Sequence[Entry]) -> list[Part]:
    """In the order in which a node carries them out: what has no kind, then one kind after the
    other; without any kinds if that would change the order of a key's writes.
    """
    kinds = {entry.kind for entry in entries}
    if len(kinds) == 1:
        return [(entries[0].kind, entries)]
    parts: dict[Kind | None, list[Entry]] = {None: []} if None in kinds else {}
    for entry in entries:
        parts.setdefault(entry.kind, []).append(entry)
    known: set[bytes] = set()
    for part in parts.values():
        keys = {key for entry in part for key in entry.keys}
        if not known.isdisjoint(keys):
            return [(None, entries)]
        known |= keys
    return list(parts.items())


def many_request(parts: Iterable[Part]) -> kv_pb2.WriteManyRequest:
    """One call for them all."""
    request = kv_pb2.WriteManyRequest()
    for kind, entries in parts:
        if kind is None:
            request.requests.extend(map(request_of, entries))
            continue
        group = request.alike.add()
        group.request_ids.extend([entry.request_id for entry in entries])
        keys = [entry.keys[0] for entry in entries]
        values = [entry.value for entry in entries]
        if len(kind) == 2:
            type_, ttl_ms = kind
            puts = group.puts
            puts.keys.extend(keys)
            puts.values.extend(values)
            puts.type = type_
            if ttl_ms is not None:
                puts.ttl_ms = ttl_ms
        else:
            increments = group.increments
            increments.keys.extend(keys)
            if values.count(1) != len(values):
                increments.amounts.extend(values)
            if kind[0] is not None:
                increments.type = kind[0]
    return request


def many_answers(
    reply: kv_pb2.WriteManyResponse, parts: Sequence[Part], endpoint: Endpoint
) -> list[Any] | Failure:
    """An answer to each, part by part; one Failure if they do not fit.

    That is a Failure, or the reply with its address, or the answer to its group with a receipt.
    """
    outcomes, groups = reply.outcomes, reply.alike
    requests = len(parts[0][1]) if parts[0][0] is None else 0
    if len(outcomes) != requests:
        return misfit(f"{requests} requests sent, {len(outcomes)} outcomes")
    alike = parts[1:] if requests else parts
    if len(groups) != len(alike):
        return misfit(f"{len(alike)} groups of requests sent, {len(groups)} answers")
    answers = [outcome_of(outcome, endpoint) for outcome in outcomes]
    for (kind, entries), group in zip(alike, groups, strict=True):
        assert kind is not None, "those without go first"
        found = group_answers(group, kind, endpoint)
        if len(found) != len(entries):
            return misfit(f"{len(entries)} alike requests sent, {len(found)} outcomes")
        answers += found
    return answers


def group_answers(
    group: kv_pb2.WriteManyResponse.Alike, kind: Kind, endpoint: Endpoint
) -> list[object]:
    """As many as the answer to a group holds."""
    if not group.HasField("first"):
        return [outcome_of(outcome, endpoint) for outcome in group.outcomes]
    receipts = alike_receipts(group, endpoint.address, puts=len(kind) == 2)
    return [(group, receipt) for receipt in receipts]


def last_session(reply: kv_pb2.WriteManyResponse) -> types_pb2.VersionVector:
    """What the node had when it had done the last of them; nothing if that was refused."""
    outcomes = reply.outcomes
    if reply.alike:
        group = reply.alike[-1]
        if group.HasField("first"):
            return group.session
        outcomes = group.outcomes
    return outcomes[-1].response.session
