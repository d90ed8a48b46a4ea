"""Receipts of writes, made of replies."""

from __future__ import annotations

from dataclasses import fields

from kvnode.client.values import (
    BatchReceipt,
    Dot,
    ManyReceipt,
    Receipt,
    counter_of,
    dot_of,
    operation_receipt_of,
    vector_of,
)
from kvnode.v1 import kv_pb2


def receipt_of(reply: kv_pb2.WriteResponse, endpoint: str) -> Receipt:
    """The receipt of a write of one operation."""
    result = reply.results[0]
    return new_receipt(
        dot_of(result.dot),
        result.context,
        counter_of(result.counter) if result.HasField("counter") else None,
        vector_of(reply.session),
        reply.repeated,
        endpoint,
        tuple(reply.stored_by),
    )


def batch_receipt_of(reply: kv_pb2.WriteResponse, endpoint: str) -> BatchReceipt:
    """The receipt of an atomic batch."""
    return BatchReceipt(
        receipts=tuple(map(operation_receipt_of, reply.results)),
        session=vector_of(reply.session),
        repeated=reply.repeated,
        endpoint=endpoint,
        stored_by=tuple(reply.stored_by),
    )


def many_receipt_of(reply: kv_pb2.WriteResponse, endpoint: str, count: int) -> ManyReceipt:
    """The receipt of an atomic batch that was answered briefly."""
    return ManyReceipt(
        dot_of(reply.first),
        count,
        vector_of(reply.session),
        reply.repeated,
        endpoint,
        tuple(reply.stored_by),
    )


def alike_receipts(
    group: kv_pb2.WriteManyResponse.Alike, endpoint: str, *, puts: bool
) -> list[Receipt]:
    """The receipts of writes that were alike, and all done: of each as if it had gone alone."""
    origin, first = group.first.origin, group.first.seq
    session, repeated = vector_of(group.session), False
    if puts:
        return [
            new_receipt(
                new_tuple(Dot, (origin, seq)), context, None, session.copy(), repeated, endpoint
            )
            for seq, context in enumerate(group.contexts, first)
        ]
    return [
        new_receipt(new_tuple(Dot, (origin, seq)), b"", total, session.copy(), repeated, endpoint)
        for seq, total in enumerate(group.sums, first)
    ]


# ---- ``Receipt(...)`` and ``Dot(...)``, in half of the time: what is frozen looks for each of its
# fields by name, and a named tuple goes through a function of its own

new_tuple, new_object = tuple.__new__, object.__new__
set_dot, set_context, set_counter, set_session, set_repeated, set_endpoint, set_stored_by = (
    getattr(Receipt, field.name).__set__ for field in fields(Receipt)
)


def new_receipt(
    dot: Dot,
    context: bytes,
    counter: int | None,
    session: dict[int, int],
    repeated: bool,  # noqa: FBT001 - made for every write
    endpoint: str,
    stored_by: tuple[str, ...] = (),
) -> Receipt:
    """A receipt."""
    receipt = new_object(Receipt)
    set_dot(receipt, dot)
    set_context(receipt, context)
    set_counter(receipt, counter)
    set_session(receipt, session)
    set_repeated(receipt, repeated)
    set_endpoint(receipt, endpoint)
    set_stored_by(receipt, stored_by)
    return receipt
