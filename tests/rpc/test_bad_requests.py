"""Well-formed messages with wrong contents: each is refused as documented and changes nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from google.protobuf.message import Message

from kvnode.core.errors import Reason
from kvnode.v1 import admin_pb2, kv_pb2

from .api import (
    G_COUNTER,
    LWW_REGISTER,
    PN_COUNTER,
    SIBLINGS,
    Api,
    delete,
    increment,
    put,
    refusal,
)
from .refused import assert_refused

INT64_MAX = 2**63 - 1
MEBIBYTE = 1 << 20
UNKNOWN_TYPE: Any = 99
LONG = b"k" * 481

Build = Callable[[Api, bytes], Message]


def put_request(key: bytes, value: bytes = b"v", **fields: Any) -> Message:
    """A put."""
    return kv_pb2.PutRequest(put=kv_pb2.Put(key=key, value=value, **fields))


def delete_request(key: bytes, **fields: Any) -> Message:
    """A delete."""
    return kv_pb2.DeleteRequest(delete=kv_pb2.Delete(key=key, **fields))


def increment_request(key: bytes, amount: int, kind: Any = 0) -> Message:
    """An increment."""
    return kv_pb2.IncrementRequest(increment=kv_pb2.Increment(key=key, amount=amount, type=kind))


def batch(*operations: kv_pb2.Operation, request_id: bytes = b"") -> Message:
    """A batch."""
    return kv_pb2.WriteRequest(operations=operations, request_id=request_id)


SIMPLE: dict[str, tuple[Reason, Message]] = {
    "get without key": (Reason.BAD_KEY, kv_pb2.GetRequest()),
    "get, long key": (Reason.BAD_KEY, kv_pb2.GetRequest(key=LONG)),
    "batch get of nothing": (Reason.BAD_REQUEST, kv_pb2.BatchGetRequest()),
    "batch get of 10,001": (
        Reason.BATCH_TOO_LARGE,
        kv_pb2.BatchGetRequest(keys=[b"k"] * 10_001),
    ),
    "batch get, one empty key": (Reason.BAD_KEY, kv_pb2.BatchGetRequest(keys=[b"k", b"", b"l"])),
    "put of nothing": (Reason.BAD_KEY, kv_pb2.PutRequest()),
    "put, empty key": (Reason.BAD_KEY, put_request(b"")),
    "put, long key": (Reason.BAD_KEY, put_request(LONG)),
    "put, very long key": (Reason.BAD_KEY, put_request(b"\xff" * 100_000)),
    "put, long value": (Reason.BAD_VALUE, put_request(b"k", bytes(MEBIBYTE + 1))),
    "put as unknown type": (Reason.BAD_REQUEST, put_request(b"k", type=UNKNOWN_TYPE)),
    "put as type -1": (Reason.BAD_REQUEST, put_request(b"k", type=-1)),
    "put as G counter": (Reason.BAD_REQUEST, put_request(b"k", type=G_COUNTER)),
    "put as PN counter": (Reason.BAD_REQUEST, put_request(b"k", type=PN_COUNTER)),
    "blind put as register": (
        Reason.BAD_REQUEST,
        put_request(b"k", type=LWW_REGISTER, blind=True),
    ),
    "delete of nothing": (Reason.BAD_KEY, kv_pb2.DeleteRequest()),
    "delete, long key": (Reason.BAD_KEY, delete_request(LONG)),
    "delete of unknown type": (Reason.BAD_REQUEST, delete_request(b"k", type=UNKNOWN_TYPE)),
    "increment of nothing": (Reason.BAD_KEY, kv_pb2.IncrementRequest()),
    "increment, empty key": (Reason.BAD_KEY, increment_request(b"", 1)),
    "increment, long key": (Reason.BAD_KEY, increment_request(LONG, 1)),
    "increment by 0": (Reason.BAD_AMOUNT, increment_request(b"k", 0)),
    "increment by -2^63": (Reason.BAD_AMOUNT, increment_request(b"k", -(2**63))),
    "increment of a G counter by -1": (Reason.BAD_AMOUNT, increment_request(b"k", -1, G_COUNTER)),
    "increment as register": (Reason.BAD_REQUEST, increment_request(b"k", 1, LWW_REGISTER)),
    "increment as siblings": (Reason.BAD_REQUEST, increment_request(b"k", 1, SIBLINGS)),
    "increment as unknown type": (Reason.BAD_REQUEST, increment_request(b"k", 1, UNKNOWN_TYPE)),
    "empty batch": (Reason.BAD_REQUEST, batch()),
    "empty operation": (Reason.BAD_REQUEST, batch(put(b"k", b"v"), kv_pb2.Operation())),
    "batch of 10,001": (Reason.BATCH_TOO_LARGE, batch(*[increment(b"k")] * 10_001)),
    "batch of 5 MiB": (Reason.BATCH_TOO_LARGE, batch(*[put(b"k", bytes(MEBIBYTE))] * 5)),
    "request id of 15 bytes": (
        Reason.BAD_REQUEST,
        kv_pb2.PutRequest(put=kv_pb2.Put(key=b"k", value=b"v"), request_id=b"r" * 15),
    ),
    "request id of 17 bytes": (Reason.BAD_REQUEST, batch(put(b"k", b"v"), request_id=b"r" * 17)),
    "scan of 10,001": (Reason.BAD_REQUEST, kv_pb2.ScanRequest(limit=10_001)),
    "scan of 2^32-1": (Reason.BAD_REQUEST, kv_pb2.ScanRequest(limit=2**32 - 1)),
    "scan, invented token": (Reason.BAD_REQUEST, kv_pb2.ScanRequest(page_token=b"next")),
    "scan, token before the range": (
        Reason.BAD_REQUEST,
        kv_pb2.ScanRequest(prefix=b"m", page_token=b"\x01a"),
    ),
    "scan, token behind the range": (
        Reason.BAD_REQUEST,
        kv_pb2.ScanRequest(prefix=b"m", page_token=b"\x01n"),
    ),
    "conflicts of 10,001": (Reason.BAD_REQUEST, kv_pb2.ListConflictsRequest(limit=10_001)),
    "conflicts, foreign token": (
        Reason.BAD_REQUEST,
        kv_pb2.ListConflictsRequest(prefix=b"m", page_token=b"\x01a"),
    ),
    "inspect without key": (Reason.BAD_KEY, admin_pb2.InspectRequest()),
    "inspect, long key": (Reason.BAD_KEY, admin_pb2.InspectRequest(key=LONG)),
}


@pytest.mark.parametrize("name", SIMPLE)
def test_wrong_by_itself(api: Api, name: str) -> None:
    reason, request = SIMPLE[name]
    found = assert_refused(api, lambda: api.send(request), reason)
    if reason in (Reason.BAD_KEY, Reason.BAD_VALUE, Reason.BATCH_TOO_LARGE):
        assert int(found.info.metadata["limit"]) > 0


def over_text(api: Api, key: bytes) -> None:
    """There are siblings."""
    api.put(key, b"text")


def over_register(api: Api, key: bytes) -> None:
    """There is a register."""
    api.put(key, b"text", type=LWW_REGISTER)


def over_pn(api: Api, key: bytes) -> None:
    """There is a PN counter."""
    api.increment(key, 1)


def over_g(api: Api, key: bytes) -> None:
    """There is a G counter."""
    api.increment(key, 1, type=G_COUNTER)


def over_full(api: Api, key: bytes) -> None:
    """There are counters at both ends of 64 bits."""
    api.increment(key, INT64_MAX)
    api.increment(key + b"-", -INT64_MAX)
    api.increment(key + b"g", INT64_MAX, type=G_COUNTER)


def over_100_siblings(api: Api, key: bytes) -> None:
    """There are as many siblings as may be."""
    api.write(*(put(key, b"%d" % number, blind=True) for number in range(100)))


OVER: dict[str, tuple[Reason, Callable[[Api, bytes], None], Callable[[bytes], Message]]] = {
    "put over PN": (Reason.TYPE_CONFLICT, over_pn, put_request),
    "put over G": (Reason.TYPE_CONFLICT, over_g, put_request),
    "put over register": (Reason.TYPE_CONFLICT, over_register, put_request),
    "blind put over PN": (Reason.TYPE_CONFLICT, over_pn, lambda k: put_request(k, blind=True)),
    "register over siblings": (
        Reason.TYPE_CONFLICT,
        over_text,
        lambda k: put_request(k, type=LWW_REGISTER),
    ),
    "register over PN": (
        Reason.TYPE_CONFLICT,
        over_pn,
        lambda k: put_request(k, type=LWW_REGISTER),
    ),
    "increment over siblings": (Reason.TYPE_CONFLICT, over_text, lambda k: increment_request(k, 1)),
    "increment over register": (
        Reason.TYPE_CONFLICT,
        over_register,
        lambda k: increment_request(k, 1),
    ),
    "G over PN": (Reason.TYPE_CONFLICT, over_pn, lambda k: increment_request(k, 1, G_COUNTER)),
    "PN over G": (Reason.TYPE_CONFLICT, over_g, lambda k: increment_request(k, 1, PN_COUNTER)),
    "-1 on a G counter": (Reason.BAD_AMOUNT, over_g, lambda k: increment_request(k, -1)),
    "overflow upwards": (Reason.COUNTER_OVERFLOW, over_full, lambda k: increment_request(k, 1)),
    "overflow downwards": (
        Reason.COUNTER_OVERFLOW,
        over_full,
        lambda k: increment_request(k + b"-", -2),
    ),
    "overflow of a G counter": (
        Reason.COUNTER_OVERFLOW,
        over_full,
        lambda k: increment_request(k + b"g", INT64_MAX),
    ),
    "101st sibling": (
        Reason.TOO_MANY_SIBLINGS,
        over_100_siblings,
        lambda k: put_request(k, blind=True),
    ),
    "101 siblings in one batch": (
        Reason.TOO_MANY_SIBLINGS,
        lambda _api, _key: None,
        lambda k: batch(*[put(k, b"v", blind=True)] * 101),
    ),
    "overflow within one batch": (
        Reason.COUNTER_OVERFLOW,
        lambda _api, _key: None,
        lambda k: batch(increment(k, INT64_MAX), increment(k, 1)),
    ),
    "type conflict within one batch": (
        Reason.TYPE_CONFLICT,
        lambda _api, _key: None,
        lambda k: batch(increment(k), put(k, b"v")),
    ),
}


@pytest.mark.parametrize("name", OVER)
def test_wrong_for_what_is_there(api: Api, key: bytes, name: str) -> None:
    reason, prepare, request = OVER[name]
    prepare(api, key)
    assert_refused(api, lambda: api.send(request(key)), reason)
    api.delete(key)


BAD_OPERATIONS: dict[str, tuple[Reason, kv_pb2.Operation]] = {
    "empty": (Reason.BAD_REQUEST, kv_pb2.Operation()),
    "empty key": (Reason.BAD_KEY, put(b"", b"v")),
    "long value": (Reason.BAD_VALUE, put(b"k", bytes(MEBIBYTE + 1))),
    "amount 0": (Reason.BAD_AMOUNT, increment(b"k", 0)),
    "bad context": (Reason.BAD_CONTEXT, put(b"k", b"v", context=b"invented")),
    "type conflict": (Reason.TYPE_CONFLICT, put(b"is a counter", b"v")),
    "overflow": (Reason.COUNTER_OVERFLOW, increment(b"is a counter", INT64_MAX)),
}


@pytest.mark.parametrize("name", BAD_OPERATIONS)
def test_one_bad_operation_refuses_the_whole_batch(api: Api, key: bytes, name: str) -> None:
    """Not a trace of the others: no value, no dot, no request id."""
    reason, bad = BAD_OPERATIONS[name]
    api.increment(b"is a counter", 1)
    api.write(put(key + b"text", b"old", blind=True), increment(key + b"n", 5))
    good = [
        put(key + b"new", b"v"),
        put(key + b"text", b"new"),
        increment(key + b"n", 2),
        delete(key + b"text"),
    ]
    request_id = b"q" * 16
    call = batch(*good[:2], bad, *good[2:], request_id=request_id)
    assert_refused(api, lambda: api.send(call), reason)
    assert api.values(key + b"text") == [b"old"]
    assert not api.write(delete(key + b"text"), request_id=key[-16:]).repeated


def test_a_full_key_can_be_resolved(api: Api, key: bytes) -> None:
    over_100_siblings(api, key)
    assert refusal(lambda: api.put(key, b"v", blind=True)).info.metadata["limit"] == "100"
    context = api.get(key).context
    api.put(key, b"one", context=context)
    assert api.values(key) == [b"one"]
