"""Receipts of writes, made of replies."""

from __future__ import annotations

from kvnode.client.values import BatchReceipt, Receipt, operation_receipt_of, vector_of
from kvnode.v1 import kv_pb2


def receipt_of(reply: kv_pb2.WriteResponse, endpoint: str) -> Receipt:
    """The receipt of a write of one operation."""
    return Receipt(
        *operation_receipt_of(reply.results[0]),
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
