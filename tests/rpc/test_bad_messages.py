"""Bytes that are no request: half a message, unknown fields, noise, too much, unknown methods."""

from __future__ import annotations

import random
from typing import Any, TypeVar

import grpc
import pytest
from google.protobuf.message import Message

from kvnode.core.errors import Reason
from kvnode.rpc.link import MESSAGE_BYTES_MAX
from kvnode.v1 import admin_pb2, kv_pb2

from .api import METHODS, Api, delete, failed_with, increment, put, refusal
from .refused import assert_refused, nothing_changes

M = TypeVar("M", bound=Message)

UNKNOWN = {
    "number": b"\xb8\x3e\x01",
    "number 0": b"\xb8\x3e\x00",
    "bytes": b"\xba\x3e\x03new",
    "empty bytes": b"\xba\x3e\x00",
    "64 bits": b"\xb9\x3e12345678",
    "32 bits": b"\xbd\x3e1234",
    "group": b"\xbb\x3e\xbc\x3e",
}
"""Field 999, in every wire type."""

REQUESTS: dict[str, Message] = {
    "Get": kv_pb2.GetRequest(key=b"k"),
    "BatchGet": kv_pb2.BatchGetRequest(keys=[b"k"]),
    "Put": kv_pb2.PutRequest(put=kv_pb2.Put(key=b"k", value=b"v")),
    "Delete": kv_pb2.DeleteRequest(delete=kv_pb2.Delete(key=b"k")),
    "Increment": kv_pb2.IncrementRequest(increment=kv_pb2.Increment(key=b"n", amount=1)),
    "Write": kv_pb2.WriteRequest(operations=[put(b"k", b"v"), increment(b"n")]),
    "Scan": kv_pb2.ScanRequest(prefix=b"k", limit=10),
    "ListConflicts": kv_pb2.ListConflictsRequest(prefix=b"k", limit=10),
    "Status": admin_pb2.StatusRequest(),
    "Inspect": admin_pb2.InspectRequest(key=b"goes on"),
}


def with_field(message: M, field: bytes) -> M:
    """The message and one more field."""
    kind = type(message)
    return kind.FromString(message.SerializeToString() + field)


@pytest.mark.parametrize("method", REQUESTS)
@pytest.mark.parametrize("field", UNKNOWN)
def test_an_unknown_field_is_refused(api: Api, method: str, field: str) -> None:
    request = with_field(REQUESTS[method], UNKNOWN[field])
    found = refusal(lambda: api.send(request))
    assert found.info.reason == Reason.UNKNOWN_FIELD


NESTED: dict[str, Message] = {
    "put": kv_pb2.PutRequest(put=with_field(kv_pb2.Put(key=b"k", value=b"v"), UNKNOWN["number"])),
    "delete": kv_pb2.DeleteRequest(delete=with_field(kv_pb2.Delete(key=b"k"), UNKNOWN["bytes"])),
    "increment": kv_pb2.IncrementRequest(
        increment=with_field(kv_pb2.Increment(key=b"n", amount=1), UNKNOWN["group"])
    ),
    "operation": kv_pb2.WriteRequest(
        operations=[put(b"k", b"v"), with_field(increment(b"n"), UNKNOWN["empty bytes"])]
    ),
    "operation's kind": kv_pb2.WriteRequest(
        operations=[
            delete(b"k"),
            kv_pb2.Operation(put=with_field(kv_pb2.Put(key=b"k"), UNKNOWN["32 bits"])),
        ]
    ),
    "unknown kind of operation": kv_pb2.WriteRequest(
        operations=[put(b"k", b"v"), kv_pb2.Operation.FromString(b"\xba\x3e\x00")]
    ),
    "known field of another wire type": kv_pb2.PutRequest(
        put=kv_pb2.Put.FromString(b"\x0a\x01k\x10\x01")
    ),
}


@pytest.mark.parametrize("name", NESTED)
def test_an_unknown_field_inside_is_refused(api: Api, name: str) -> None:
    assert_refused(api, lambda: api.send(NESTED[name]), Reason.UNKNOWN_FIELD)


@pytest.mark.parametrize("method", ["Put", "Delete", "Increment", "Write"])
def test_half_a_message_is_refused_wherever_it_is_cut(api: Api, method: str) -> None:
    """A cut between two fields leaves a shorter message, refused for what it lacks."""
    request = REQUESTS[method]
    whole = request.SerializeToString()
    ends = {0, len(whole)}
    if isinstance(request, kv_pb2.WriteRequest):
        ends.add(kv_pb2.WriteRequest(operations=request.operations[:1]).ByteSize())
    with nothing_changes(api):
        for size in sorted({*range(len(whole))} - ends):
            found = refusal(lambda size=size: api.raw(METHODS[type(request)], whole[:size]))  # type: ignore[misc]
            assert found.info.reason == Reason.MALFORMED_MESSAGE, (size, found)
        empty = refusal(lambda: api.raw(METHODS[type(request)], b""))
        assert empty.code is grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize("method", REQUESTS)
def test_noise_is_refused_in_the_documented_way(api: Api, method: str) -> None:
    noise = random.Random(method)
    path = METHODS[type(REQUESTS[method])]
    with nothing_changes(api):
        for size in (1, 2, 3, 5, 8, 30, 300, 3000):
            # 0x07 begins no field: its wire type does not exist
            found = refusal(lambda size=size: api.raw(path, b"\x07" + noise.randbytes(size)))  # type: ignore[misc]
            assert found.info.reason == Reason.MALFORMED_MESSAGE


def test_deep_nesting_is_refused(api: Api) -> None:
    """Groups in groups in an unknown field: parsers recurse here."""
    deep = b"\xbb\x3e" * 10_000 + b"\xbc\x3e" * 10_000
    path = METHODS[kv_pb2.PutRequest]
    assert_refused(api, lambda: api.raw(path, deep), Reason.MALFORMED_MESSAGE)


def test_a_message_beyond_grpc_s_limit_is_refused_by_grpc(api: Api) -> None:
    """By its length alone: the node does not take it into memory first."""
    with nothing_changes(api):
        code = failed_with(
            lambda: api.raw(METHODS[kv_pb2.PutRequest], bytes(MESSAGE_BYTES_MAX + 1))
        )
    assert code is grpc.StatusCode.RESOURCE_EXHAUSTED


@pytest.mark.parametrize(
    "method",
    ["/kvnode.v1.KeyValue/Merge", "/kvnode.v2.KeyValue/Get", "/kvnode.v1.KeyValue/get", "/Get"],
)
def test_an_unknown_method_is_unimplemented(api: Api, method: str) -> None:
    with nothing_changes(api):
        assert failed_with(lambda: api.raw(method, b"")) is grpc.StatusCode.UNIMPLEMENTED


def test_invalid_utf8_is_refused(api: Api) -> None:
    """No string field is in the key-value service; replication's hello has two."""
    call: Any = api.channel.unary_stream("/kvnode.v1.Replication/Pull", None, None)
    found = refusal(lambda: list(call(b"\x0a\x03\x0a\x01\xff", timeout=100)))
    assert found.info.reason == Reason.MALFORMED_MESSAGE
