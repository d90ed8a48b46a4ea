"""A node's API as any gRPC client sees it: generated stubs, default channel options, deadlines."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, cast

import grpc
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import ErrorInfo
from grpc_health.v1 import health_pb2_grpc
from grpc_status import rpc_status

from kvnode.core.errors import Reason
from kvnode.errors import CODES, DOMAIN
from kvnode.v1 import (
    admin_pb2,
    admin_pb2_grpc,
    gc_pb2,
    gc_pb2_grpc,
    journal_pb2_grpc,
    kv_pb2,
    kv_pb2_grpc,
    quarantine_pb2_grpc,
    replication_pb2_grpc,
    types_pb2,
)

CALL_S = 60.0
"""Deadline of every call: milliseconds are usual, a loaded machine takes its time."""

G_COUNTER = types_pb2.DATA_TYPE_G_COUNTER
PN_COUNTER = types_pb2.DATA_TYPE_PN_COUNTER
LWW_REGISTER = types_pb2.DATA_TYPE_LWW_REGISTER
SIBLINGS = types_pb2.DATA_TYPE_SIBLINGS

METHODS: dict[type[Message], str] = {
    kv_pb2.GetRequest: "/kvnode.v1.KeyValue/Get",
    kv_pb2.BatchGetRequest: "/kvnode.v1.KeyValue/BatchGet",
    kv_pb2.PutRequest: "/kvnode.v1.KeyValue/Put",
    kv_pb2.DeleteRequest: "/kvnode.v1.KeyValue/Delete",
    kv_pb2.IncrementRequest: "/kvnode.v1.KeyValue/Increment",
    kv_pb2.WriteRequest: "/kvnode.v1.KeyValue/Write",
    kv_pb2.WriteManyRequest: "/kvnode.v1.KeyValue/WriteMany",
    kv_pb2.OutcomeRequest: "/kvnode.v1.KeyValue/Outcome",
    kv_pb2.ScanRequest: "/kvnode.v1.KeyValue/Scan",
    kv_pb2.ListConflictsRequest: "/kvnode.v1.KeyValue/ListConflicts",
    admin_pb2.StatusRequest: "/kvnode.v1.Admin/Status",
    admin_pb2.InspectRequest: "/kvnode.v1.Admin/Inspect",
}
"""Every unary call, by its request."""

Vector = dict[int, int]


class Everything(NamedTuple):
    """All of a node's state that a client can see."""

    vector: Vector
    blocks: int
    states: list[types_pb2.KeyState]


class Refusal(NamedTuple):
    """A refused call: what a program makes of it."""

    code: grpc.StatusCode
    message: str
    info: ErrorInfo


class Api:
    """One channel to one node."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.channel = grpc.insecure_channel(address)
        self.kv: Any = kv_pb2_grpc.KeyValueStub(self.channel)  # type: ignore[no-untyped-call]
        self.admin: Any = admin_pb2_grpc.AdminStub(self.channel)  # type: ignore[no-untyped-call]
        self.gc: Any = gc_pb2_grpc.CollectionStub(self.channel)  # type: ignore[no-untyped-call]
        self.health: Any = health_pb2_grpc.HealthStub(self.channel)
        self.journal: Any = journal_pb2_grpc.JournalStub(  # type: ignore[no-untyped-call]
            self.channel
        )
        self.quarantine: Any = quarantine_pb2_grpc.QuarantineStub(  # type: ignore[no-untyped-call]
            self.channel
        )
        self.replication: Any = replication_pb2_grpc.ReplicationStub(  # type: ignore[no-untyped-call]
            self.channel
        )

    def close(self) -> None:
        """Close the channel."""
        self.channel.close()

    # ---- keys

    def get(self, key: bytes) -> types_pb2.KeyState:
        """The state of one visible key."""
        response: kv_pb2.GetResponse = self.kv.Get(kv_pb2.GetRequest(key=key), timeout=CALL_S)
        return response.state

    def batch_get(self, *keys: bytes) -> kv_pb2.BatchGetResponse:
        """Many keys."""
        response: kv_pb2.BatchGetResponse = self.kv.BatchGet(
            kv_pb2.BatchGetRequest(keys=keys), timeout=CALL_S
        )
        return response

    def values(self, key: bytes) -> list[bytes]:
        """The siblings' values, oldest first; none if the key is absent."""
        return [item.value for item in self.batch_get(key).states[0].siblings.values]

    def put(self, key: bytes, value: bytes, **fields: Any) -> kv_pb2.PutResponse:
        """One put."""
        request_id = fields.pop("request_id", b"")
        response: kv_pb2.PutResponse = self.kv.Put(
            kv_pb2.PutRequest(
                put=kv_pb2.Put(key=key, value=value, **fields), request_id=request_id
            ),
            timeout=CALL_S,
        )
        return response

    def delete(self, key: bytes, **fields: Any) -> kv_pb2.DeleteResponse:
        """One delete."""
        request_id = fields.pop("request_id", b"")
        response: kv_pb2.DeleteResponse = self.kv.Delete(
            kv_pb2.DeleteRequest(delete=kv_pb2.Delete(key=key, **fields), request_id=request_id),
            timeout=CALL_S,
        )
        return response

    def increment(self, key: bytes, amount: int = 1, **fields: Any) -> kv_pb2.IncrementResponse:
        """One increment."""
        request_id = fields.pop("request_id", b"")
        response: kv_pb2.IncrementResponse = self.kv.Increment(
            kv_pb2.IncrementRequest(
                increment=kv_pb2.Increment(key=key, amount=amount, **fields), request_id=request_id
            ),
            timeout=CALL_S,
        )
        return response

    def write(self, *operations: kv_pb2.Operation, request_id: bytes = b"") -> kv_pb2.WriteResponse:
        """One batch."""
        response: kv_pb2.WriteResponse = self.kv.Write(
            kv_pb2.WriteRequest(operations=operations, request_id=request_id), timeout=CALL_S
        )
        return response

    # ---- ranges

    def page(self, **fields: Any) -> kv_pb2.ScanResponse:
        """One page of a scan."""
        response: kv_pb2.ScanResponse = self.kv.Scan(kv_pb2.ScanRequest(**fields), timeout=CALL_S)
        return response

    def scan(self, **fields: Any) -> list[types_pb2.KeyState]:
        """A whole scan."""
        return _all_pages(self.page, fields)

    def names(self, **fields: Any) -> list[bytes]:
        """The keys of a whole scan."""
        return [state.key for state in self.scan(**fields)]

    def conflicts_page(self, **fields: Any) -> kv_pb2.ListConflictsResponse:
        """One page of the keys in conflict."""
        response: kv_pb2.ListConflictsResponse = self.kv.ListConflicts(
            kv_pb2.ListConflictsRequest(**fields), timeout=CALL_S
        )
        return response

    def conflicts(self, **fields: Any) -> list[types_pb2.KeyState]:
        """All keys in conflict."""
        return _all_pages(self.conflicts_page, fields)

    # ---- the node

    def status(self) -> admin_pb2.StatusResponse:
        """The node's status."""
        response: admin_pb2.StatusResponse = self.admin.Status(
            admin_pb2.StatusRequest(), timeout=CALL_S
        )
        return response

    def inspect(self, key: bytes) -> admin_pb2.InspectResponse:
        """All that is kept under a key."""
        response: admin_pb2.InspectResponse = self.admin.Inspect(
            admin_pb2.InspectRequest(key=key), timeout=CALL_S
        )
        return response

    def collection(self) -> gc_pb2.CollectionStatusResponse:
        """The status of collection."""
        response: gc_pb2.CollectionStatusResponse = self.gc.Status(
            gc_pb2.CollectionStatusRequest(), timeout=CALL_S
        )
        return response

    def seq(self) -> int:
        """The node's own last sequence number."""
        status = self.status()
        return {entry.origin: entry.seq for entry in status.vector}.get(status.origin, 0)

    def everything(self) -> Everything:
        """The whole visible state, to compare before and after."""
        status = self.status()
        vector = {entry.origin: entry.seq for entry in status.vector}
        return Everything(vector, status.log.last_arrival, self.scan())

    # ---- bytes

    def raw(self, method: str, request: bytes) -> bytes:
        """A call with these very bytes."""
        call: Callable[..., bytes] = self.channel.unary_unary(method, None, None)
        return call(request, timeout=CALL_S)

    def send(self, request: Message) -> bytes:
        """The call this request belongs to."""
        return self.raw(METHODS[type(request)], request.SerializeToString())


def _all_pages(page: Callable[..., Any], fields: dict[str, Any]) -> list[types_pb2.KeyState]:
    states: list[types_pb2.KeyState] = []
    tokens = [b""]
    while True:
        response = page(page_token=tokens[-1], **fields)
        states.extend(response.states)
        if not response.next_page_token:
            return states
        assert response.next_page_token not in tokens, "the pages go round in a circle"
        tokens.append(response.next_page_token)


# ---- operations of a batch


def put(key: bytes, value: bytes, **fields: Any) -> kv_pb2.Operation:
    """A put for ``Api.write``."""
    return kv_pb2.Operation(put=kv_pb2.Put(key=key, value=value, **fields))


def delete(key: bytes, **fields: Any) -> kv_pb2.Operation:
    """A delete for ``Api.write``."""
    return kv_pb2.Operation(delete=kv_pb2.Delete(key=key, **fields))


def increment(key: bytes, amount: int = 1, **fields: Any) -> kv_pb2.Operation:
    """An increment for ``Api.write``."""
    return kv_pb2.Operation(increment=kv_pb2.Increment(key=key, amount=amount, **fields))


# ---- what came back


def vector(message: types_pb2.VersionVector) -> Vector:
    """origin -> seq; the entries are in order of origin and name each once."""
    origins = [entry.origin for entry in message.entries]
    assert origins == sorted(set(origins))
    return {entry.origin: entry.seq for entry in message.entries}


def failed(call: Callable[[], object]) -> grpc.Call | None:
    """The error that the call ends with, None if it succeeds."""
    try:
        call()
    except grpc.RpcError as error:
        return cast("grpc.Call", error)
    return None


def failed_with(call: Callable[[], object]) -> grpc.StatusCode | None:
    """The code of an error that is gRPC's own, not kvnode's; None if the call succeeds."""
    error = failed(call)
    assert error is None or refusal_of(error) is None
    return None if error is None else error.code()


def refusal(call: Callable[[], object]) -> Refusal:
    """How the call is refused: by kvnode itself, in the documented way."""
    error = failed(call)
    assert error is not None, "not refused"
    found = refusal_of(error)
    assert found, f"no ErrorInfo: {error.code()} {error.details()}"
    return found


def refusal_of(error: grpc.Call) -> Refusal | None:
    """The error as kvnode documents its own, None if it is another's; code and reason agree."""
    status = rpc_status.from_call(error)
    if status is None:
        return None
    info = ErrorInfo()
    assert status.details[0].Unpack(info), status
    assert info.domain == DOMAIN
    assert error.code() is CODES[Reason(info.reason)]
    return Refusal(error.code(), error.details() or "", info)
