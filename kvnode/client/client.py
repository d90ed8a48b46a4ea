"""The synchronous client.

>>> with Client("127.0.0.1:7080,127.0.0.1:7081") as client:
...     client.put("user:1", "Ada")
...     client.increment("visits")
...     print(client.get("user:1").value)

Every call ends within ``timeout_s``, of ``scan`` and ``conflicts`` every page. What a failed call
means is in the exception's type (``kvnode.errors``); which endpoint is asked, and when a write is
sent again, is in ``kvnode.client.failover``.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Final

from kvnode.client.channels import MESSAGE_BYTES_MAX, Method, ReplyT, RequestT, addresses_of
from kvnode.client.failover import Failover
from kvnode.client.operations import (
    REQUEST_ID_BYTES,
    Delete,
    Increment,
    Operation,
    Put,
    bound_bytes,
    delete_message,
    increment_message,
    key_bytes,
    page_keys,
    put_message,
    refuse,
    request_id_bytes,
    write_request,
)
from kvnode.client.values import (
    BatchReceipt,
    DataType,
    KeyState,
    Receipt,
    key_state_of,
    operation_receipt_of,
    shown,
    vector_of,
)
from kvnode.core.errors import Reason
from kvnode.errors import NodeFailure
from kvnode.v1 import kv_pb2

if TYPE_CHECKING:
    from kvnode.v1 import admin_pb2, gc_pb2, verify_pb2

DEFAULT_ENDPOINT: Final = "127.0.0.1:7080"
DEFAULT_TIMEOUT_S: Final = 5.0
DEFAULT_PAGE_KEYS: Final = 1_000

LAST_ANSWERS_S: Final = 60.0
"""After the deadline of a comparison: its last round has to end."""

READ_ALL_S: Final = 3_600.0
"""For nodes to read all they have stored."""

REPEATABLE: Final = ", or repeat it with the same context"
"""What else a caller may do about a put or delete with a context whose outcome is unknown."""

GET: Final = Method("/kvnode.v1.KeyValue/Get", kv_pb2.GetRequest, kv_pb2.GetResponse)
BATCH_GET: Final = Method(
    "/kvnode.v1.KeyValue/BatchGet", kv_pb2.BatchGetRequest, kv_pb2.BatchGetResponse
)
PUT: Final = Method("/kvnode.v1.KeyValue/Put", kv_pb2.PutRequest, kv_pb2.PutResponse)
DELETE: Final = Method("/kvnode.v1.KeyValue/Delete", kv_pb2.DeleteRequest, kv_pb2.DeleteResponse)
INCREMENT: Final = Method(
    "/kvnode.v1.KeyValue/Increment", kv_pb2.IncrementRequest, kv_pb2.IncrementResponse
)
WRITE: Final = Method("/kvnode.v1.KeyValue/Write", kv_pb2.WriteRequest, kv_pb2.WriteResponse)
SCAN: Final = Method("/kvnode.v1.KeyValue/Scan", kv_pb2.ScanRequest, kv_pb2.ScanResponse)
LIST_CONFLICTS: Final = Method(
    "/kvnode.v1.KeyValue/ListConflicts",
    kv_pb2.ListConflictsRequest,
    kv_pb2.ListConflictsResponse,
)


class Client:
    """A connection to a kvnode cluster through one or more of its nodes. Thread safe.

    ``endpoints``: "HOST:PORT,HOST:PORT" or a sequence of such, each the address of *one* node. A
    call goes to the node that answered last, at first to the first one named; if that cannot be
    reached or cannot take the call, to the others in order. Nothing is sent before the first call.
    ``timeout_s`` bounds a call in all; ``scan`` and ``conflicts`` make a call for every page.

    Keys are ``bytes`` or ``str`` (UTF-8), 1 to 480 bytes; values ``bytes`` or ``str``, up to 1 MiB.
    Every write has a ``request_id`` (16 bytes, random unless given), by which a node does it once
    however often it is asked. A write that got no reply until ``timeout_s`` raises
    ``OutcomeUnknown``; whoever needs to know asks the same node again with the same id::

        try:
            client.put("user:1", "Ada")
        except OutcomeUnknown as error:
            with Client(error.endpoint) as same:
                receipt = same.put("user:1", "Ada", request_id=error.request_id)
    """

    def __init__(
        self,
        endpoints: str | Sequence[str] = DEFAULT_ENDPOINT,
        *,
        timeout_s: float = DEFAULT_TIMEOUT_S,
    ) -> None:
        if not (timeout_s > 0 and math.isfinite(timeout_s)):
            raise refuse(Reason.BAD_REQUEST, f"timeout_s {timeout_s} is not a positive number")
        self._failover = Failover(addresses_of(endpoints), timeout_s)

    @property
    def endpoints(self) -> tuple[str, ...]:
        """The addresses this client knows, in the order given."""
        return self._failover.addresses

    def close(self) -> None:
        """Close the connections. Calls in progress fail; later ones raise RuntimeError."""
        self._failover.close()

    def __enter__(self) -> Client:
        """The client itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the connections."""
        self.close()

    # ---- reading

    def get(self, key: bytes | str) -> KeyState:
        """The visible values of a key. KeyNotFound if there are none."""
        reply = self._failover.read(GET, kv_pb2.GetRequest(key=key_bytes(key)))
        return key_state_of(reply.state)

    def batch_get(self, keys: Iterable[bytes | str]) -> list[KeyState]:
        """The states of many keys, in the order asked; an absent key has no value."""
        asked = [key_bytes(key) for key in keys]
        if not asked:
            return []
        reply = self._failover.read(BATCH_GET, kv_pb2.BatchGetRequest(keys=asked))
        if len(reply.states) != len(asked):
            raise NodeFailure(f"asked for {len(asked)} keys, the node sent {len(reply.states)}")
        return [key_state_of(state) for state in reply.states]

    def scan(
        self,
        *,
        prefix: bytes | str = b"",
        start: bytes | str = b"",
        end: bytes | str = b"",
        page_size: int = DEFAULT_PAGE_KEYS,
    ) -> Iterator[KeyState]:
        """The keys with a visible value, ``start`` <= key < ``end``, in key order.

        A page is one moment's state; the pages of one scan are different moments.
        """
        request = kv_pb2.ScanRequest(
            prefix=bound_bytes(prefix, "prefix"),
            start=bound_bytes(start, "start"),
            end=bound_bytes(end, "end"),
            limit=page_keys(page_size),
        )
        return self._scan_pages(request)

    def conflicts(
        self, *, prefix: bytes | str = b"", page_size: int = DEFAULT_PAGE_KEYS
    ) -> Iterator[KeyState]:
        """The keys with more than one sibling or more than one type, in key order."""
        request = kv_pb2.ListConflictsRequest(
            prefix=bound_bytes(prefix, "prefix"), limit=page_keys(page_size)
        )
        return self._conflict_pages(request)

    # ---- writing

    def put(
        self,
        key: bytes | str,
        value: bytes | str,
        *,
        lww: bool = False,
        context: bytes | None = None,
        blind: bool = False,
        ttl: float | None = None,
        request_id: bytes | None = None,
    ) -> Receipt:
        """Store a value: replacing what the node holds now, what ``context`` shows, or nothing.

        With ``ttl`` it expires so many seconds after the node took it.
        """
        put = put_message(Put(key, value, lww, context, blind, ttl))
        request = kv_pb2.PutRequest(put=put, request_id=self._request_id(request_id))
        what = f"put of key {shown(put.key)}"
        reply, endpoint = self._failover.write(
            PUT, request, request.request_id, what, REPEATABLE if context else ""
        )
        return receipt_of(reply, endpoint)

    def delete(
        self,
        key: bytes | str,
        *,
        type: DataType | None = None,  # noqa: A002 - the proto's name
        context: bytes | None = None,
        request_id: bytes | None = None,
    ) -> Receipt:
        """Remove what the node holds now, or exactly what ``context`` shows."""
        delete = delete_message(Delete(key, type, context))
        request = kv_pb2.DeleteRequest(delete=delete, request_id=self._request_id(request_id))
        what = f"delete of key {shown(delete.key)}"
        reply, endpoint = self._failover.write(
            DELETE, request, request.request_id, what, REPEATABLE if context else ""
        )
        return receipt_of(reply, endpoint)

    def increment(
        self,
        key: bytes | str,
        amount: int = 1,
        *,
        type: DataType | None = None,  # noqa: A002 - the proto's name
        request_id: bytes | None = None,
    ) -> Receipt:
        """Add to a counter; ``counter`` of the receipt is the sum at the node that took it."""
        increment = increment_message(Increment(key, amount, type))
        request = kv_pb2.IncrementRequest(
            increment=increment, request_id=self._request_id(request_id)
        )
        what = f"increment of key {shown(increment.key)}"
        reply, endpoint = self._failover.write(INCREMENT, request, request.request_id, what)
        return receipt_of(reply, endpoint)

    def write(
        self, operations: Iterable[Operation], *, request_id: bytes | None = None
    ) -> BatchReceipt:
        """All operations or none, seen whole or not at all on every replica."""
        request = write_request(operations, self._request_id(request_id))
        if request.ByteSize() > MESSAGE_BYTES_MAX:  # its contexts do not count for the node
            raise refuse(
                Reason.BATCH_TOO_LARGE, f"the batch takes more than {MESSAGE_BYTES_MAX} bytes"
            )
        count = len(request.operations)
        what = f"a batch of {count} operations"
        reply, endpoint = self._failover.write(WRITE, request, request.request_id, what)
        if len(reply.results) != count:
            raise NodeFailure(f"{count} operations sent, {len(reply.results)} results")
        return BatchReceipt(
            receipts=tuple(map(operation_receipt_of, reply.results)),
            session=vector_of(reply.session),
            repeated=reply.repeated,
            endpoint=endpoint,
        )

    # ---- asking about the node

    def ask(self, method: Method[RequestT, ReplyT], request: RequestT) -> ReplyT:
        """The reply of the first endpoint that gives one, to a question of another service."""
        return self._failover.read(method, request)

    def status(self) -> admin_pb2.StatusResponse:
        """The node, its peers, its log and its checkpoint."""
        from kvnode.v1 import admin_pb2

        method = Method(
            "/kvnode.v1.Admin/Status", admin_pb2.StatusRequest, admin_pb2.StatusResponse
        )
        return self._failover.read(method, admin_pb2.StatusRequest())

    def inspect(self, key: bytes | str) -> admin_pb2.InspectResponse:
        """Everything kept under a key, visible or not. KeyNotFound if nothing is."""
        from kvnode.v1 import admin_pb2

        method = Method(
            "/kvnode.v1.Admin/Inspect", admin_pb2.InspectRequest, admin_pb2.InspectResponse
        )
        return self._failover.read(method, admin_pb2.InspectRequest(key=key_bytes(key)))

    def collection_status(self) -> gc_pb2.CollectionStatusResponse:
        """Which remains of deletes wait for being collected, and for whom."""
        from kvnode.v1 import gc_pb2

        method = Method(
            "/kvnode.v1.Collection/Status",
            gc_pb2.CollectionStatusRequest,
            gc_pb2.CollectionStatusResponse,
        )
        return self._failover.read(method, gc_pb2.CollectionStatusRequest())

    def verify(
        self, *, prefix: bytes | str = b"", deadline_s: float = 20.0, full: bool = False
    ) -> Iterator[verify_pb2.VerifyReply]:
        """Whether all members hold the same: progress, and in the last reply the verdict.

        ``deadline_s`` is how long to go on while writes come; ``full`` lets every member read all
        it has stored first.
        """
        from kvnode.v1 import verify_pb2

        method = Method(
            "/kvnode.v1.Verification/Verify", verify_pb2.VerifyRequest, verify_pb2.VerifyReply
        )
        request = verify_pb2.VerifyRequest(
            prefix=bound_bytes(prefix, "prefix"), deadline_ms=round(deadline_s * 1000), full=full
        )
        limit_s = READ_ALL_S if full else deadline_s + LAST_ANSWERS_S
        return self._failover.stream(method, request, limit_s)

    def repair(
        self, keys: Iterable[bytes | str] = (), *, deadline_s: float = 60.0
    ) -> Iterator[verify_pb2.RepairReply]:
        """Heal keys, without any: everything; progress, and in the last reply what became of them.

        What is damaged on the node is healed from members; where members differ, all get what any
        of them holds.
        """
        from kvnode.v1 import verify_pb2

        method = Method(
            "/kvnode.v1.Verification/Repair", verify_pb2.RepairRequest, verify_pb2.RepairReply
        )
        asked = [key_bytes(key) for key in keys]
        request = verify_pb2.RepairRequest(
            keys=asked, all=not asked, deadline_ms=round(deadline_s * 1000)
        )
        return self._failover.stream(method, request, READ_ALL_S)

    # ----

    def _request_id(self, given: bytes | None) -> bytes:
        """The caller's request id, or a new one."""
        if given is None:
            return os.urandom(REQUEST_ID_BYTES)
        if len(self.endpoints) > 1:
            raise refuse(
                Reason.BAD_REQUEST,
                "a request id means something to one node only; use a client with one endpoint",
            )
        return request_id_bytes(given)

    def _scan_pages(self, request: kv_pb2.ScanRequest) -> Iterator[KeyState]:
        """The keys of all pages."""
        while True:
            reply = self._failover.read(SCAN, request)
            yield from map(key_state_of, reply.states)
            if not reply.next_page_token:
                return
            request.page_token = reply.next_page_token

    def _conflict_pages(self, request: kv_pb2.ListConflictsRequest) -> Iterator[KeyState]:
        """The keys of all pages."""
        while True:
            reply = self._failover.read(LIST_CONFLICTS, request)
            yield from map(key_state_of, reply.states)
            if not reply.next_page_token:
                return
            request.page_token = reply.next_page_token


def receipt_of(
    reply: kv_pb2.PutResponse | kv_pb2.DeleteResponse | kv_pb2.IncrementResponse, endpoint: str
) -> Receipt:
    """The receipt of a single write."""
    result = operation_receipt_of(reply.result)
    return Receipt(
        dot=result.dot,
        context=result.context,
        counter=result.counter,
        session=vector_of(reply.session),
        repeated=reply.repeated,
        endpoint=endpoint,
    )
