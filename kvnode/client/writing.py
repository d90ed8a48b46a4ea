"""Writes of one client: what is sent for each, and what its caller gets.

An entry is made of the arguments, a driver has it settled, and a receipt is made of it. These are
plain functions, unlike the reads: generators and what runs them took a seventh of a put's time.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Final, TypeVar
from uuid import UUID

from kvnode.client.alike import HEADS_BYTES_MAX, INCREMENTS, REGISTER, SIBLINGS, request_of
from kvnode.client.channels import MESSAGE_BYTES_MAX
from kvnode.client.failover import Failover
from kvnode.client.lanes import Entry
from kvnode.client.levels import Durability, checked_durability, write_options
from kvnode.client.operations import (
    REQUEST_ID_BYTES,
    Operation,
    check_amount,
    fill_delete,
    fill_increment,
    fill_put,
    key_bytes,
    keys_of,
    refuse,
    request_id_bytes,
    ttl_ms,
    value_bytes,
    write_request,
)
from kvnode.client.receipts import receipt_of
from kvnode.client.settings import Settings, checked_timeout_s
from kvnode.client.values import BatchReceipt, DataType, ManyReceipt, NotReplicated, Receipt
from kvnode.core.errors import Reason
from kvnode.errors import NodeFailure
from kvnode.v1 import kv_pb2

if TYPE_CHECKING:
    from kvnode.client.sessions import Session
    from kvnode.v1 import types_pb2

REPEATABLE: Final = ", or repeat it with the same context"
"""What else a caller may do about a put or delete with a context whose outcome is unknown."""

PLAIN: Final = ("write", "fsync", False, None)
"""The lane of writes without options, as ``Writing.entry`` makes it."""

ReceiptT = TypeVar("ReceiptT", Receipt, BatchReceipt, ManyReceipt)


class Writing:
    """What all calls of one client have in common, and its writes."""

    def __init__(self, failover: Failover, settings: Settings) -> None:
        self.failover = failover
        self.settings = settings

    def deadline(self, timeout_s: float | None) -> float:
        """When a call that begins now ends, monotonic seconds."""
        patience_s = self.settings.timeout_s if timeout_s is None else checked_timeout_s(timeout_s)
        return self.failover.now() + patience_s

    def put(
        self,
        key: bytes | str,
        value: bytes | str,
        *,
        lww: bool = False,
        context: bytes | None = None,
        blind: bool = False,
        ttl: float | None = None,
        request_id: bytes | UUID | None = None,
        durability: Durability | None = None,
        timeout_s: float | None = None,
        verb: str = "put",
    ) -> Entry:
        """One put, not yet sent."""
        if context is None and not blind and self.is_plain(durability):
            given = None if request_id is None else self.request_id(request_id)
            raw_key = key_bytes(key)
            raw_value = value_bytes(value, raw_key)
            kind = REGISTER if lww else SIBLINGS
            if ttl is not None:
                kind = (kind[0], ttl_ms(ttl))
            size = len(raw_key) + len(raw_value) + HEADS_BYTES_MAX
            entry = Entry(PLAIN, (raw_key,), size, verb, self.deadline(timeout_s), is_write=True)
            entry.kind, entry.value = kind, raw_value
            if given is not None:
                entry.request_id = given
            return entry
        request = kv_pb2.WriteRequest(request_id=self.request_id(request_id))
        message = request.operations.add().put
        fill_put(message, key, value, lww=lww, context=context, blind=blind, ttl=ttl)
        entry = self._one(request, key, durability, timeout_s, verb)
        if context:
            entry.otherwise = REPEATABLE
        return entry

    def increment(
        self,
        key: bytes | str,
        amount: int,
        kind: DataType | None,
        request_id: bytes | UUID | None,
        durability: Durability | None,
        timeout_s: float | None,
    ) -> Entry:
        """One increment."""
        if self.is_plain(durability):
            given = None if request_id is None else self.request_id(request_id)
            check_amount(amount, kind)
            raw = key_bytes(key)
            size, deadline = len(raw) + HEADS_BYTES_MAX, self.deadline(timeout_s)
            entry = Entry(PLAIN, (raw,), size, "increment", deadline, is_write=True)
            entry.kind, entry.value = INCREMENTS[kind], amount
            if given is not None:
                entry.request_id = given
        else:
            request = kv_pb2.WriteRequest(request_id=self.request_id(request_id))
            fill_increment(request.operations.add().increment, key, amount, kind)
            entry = self._one(request, key, durability, timeout_s, "increment")
        entry.adds = kind or 0
        return entry

    def delete(
        self,
        key: bytes | str,
        kind: DataType | None,
        context: bytes | None,
        request_id: bytes | UUID | None,
        durability: Durability | None,
        timeout_s: float | None,
    ) -> Entry:
        """One delete."""
        request = kv_pb2.WriteRequest(request_id=self.request_id(request_id))
        fill_delete(request.operations.add().delete, key, kind, context)
        entry = self._one(request, key, durability, timeout_s, "delete")
        if context:
            entry.otherwise = REPEATABLE
        return entry

    def is_plain(self, durability: Durability | None) -> bool:
        """Whether a write needs no options: "fsync", and nothing that it has to come after."""
        settings = self.settings
        if (settings.durability if durability is None else durability) != "fsync":
            return False
        return settings.session is None or settings.session.message() is None

    def _one(
        self,
        request: kv_pb2.WriteRequest,
        key: bytes | str,
        durability: Durability | None,
        timeout_s: float | None,
        verb: str,
    ) -> Entry:
        entry = self.entry(request, (key_bytes(key),), durability, self.deadline(timeout_s))
        entry.verb = verb
        return entry

    def batch(
        self,
        operations: Iterable[Operation],
        request_id: bytes | UUID | None,
        durability: Durability | None,
        timeout_s: float | None,
    ) -> Entry:
        """All operations or none."""
        request = write_request(operations, self.request_id(request_id))
        return self.entry(request, keys_of(request), durability, self.deadline(timeout_s))

    def entry(
        self,
        request: kv_pb2.WriteRequest,
        keys: tuple[bytes, ...],
        durability: Durability | None,
        deadline: float,
    ) -> Entry:
        """A write, not yet sent."""
        size = request.ByteSize()
        if size > MESSAGE_BYTES_MAX:  # its contexts do not count for the node
            raise refuse(
                Reason.BATCH_TOO_LARGE, f"the batch takes more than {MESSAGE_BYTES_MAX} bytes"
            )
        settings = self.settings
        level = settings.durability if durability is None else checked_durability(durability)
        after = settings.session.message() if settings.session else None
        options = write_options(level, after)
        if options is not None:
            request.options.CopyFrom(options)
        lane = ("write", level, after is not None, self.apart(after))  # no read has this one
        entry = Entry(lane, keys, size, "a batch", deadline, is_write=True)
        entry.request = request
        entry.request_id = request.request_id
        entry.after = after
        return entry

    def receipt(
        self, entry: Entry, receipt_of: Callable[[kv_pb2.WriteResponse, str], ReceiptT]
    ) -> ReceiptT:
        """What its caller gets for a settled write; its error is raised."""
        error = entry.error
        if entry.reply is None:
            assert error is not None, "settled without a reply and without an error"
            raise error
        reply: kv_pb2.WriteResponse
        reply, endpoint = entry.reply
        count, told = entry.operations, len(reply.results)
        if told != count and not request_of(entry).brief:
            raise NodeFailure(f"{count} operations sent, {told} results")
        self.learn(reply)
        receipt = receipt_of(reply, endpoint)
        if error is not None:
            if isinstance(error, NotReplicated):
                error.receipt = receipt
            raise error
        return receipt

    def receipt_of_one(self, entry: Entry) -> Receipt:
        """The same of one operation; if it went in columns it was made with those of its group."""
        if entry.reply is not None:
            reply, receipt = entry.reply
            if isinstance(receipt, Receipt):
                self.learn(reply)
                return receipt
        return self.receipt(entry, receipt_of)

    def learn(self, reply: Any) -> None:
        """The session has seen what the node had when it replied."""
        if self.settings.session is not None:
            self.settings.session.learn(reply.session)

    def apart(self, after: types_pb2.VersionVector | None) -> Session | None:
        """The session, if its node may have to wait for what it has seen: others would wait too,
        for ever if that was lost or the token was forged.
        """
        if after is None or self.failover.shows(after):
            return None
        return self.settings.session

    def new_request_id(self) -> bytes:
        """For a write whose caller has none."""
        return os.urandom(REQUEST_ID_BYTES)

    def request_id(self, given: bytes | UUID | None) -> bytes:
        """The caller's request id, or a new one."""
        if given is None:
            return self.new_request_id()
        if len(self.failover.addresses) > 1:
            raise refuse(
                Reason.BAD_REQUEST,
                "a request id is known to the node that got it, and to others only once the write"
                " has reached them: use a client with one endpoint, Client(error.endpoint) to ask"
                " again",
            )
        return request_id_bytes(given)
