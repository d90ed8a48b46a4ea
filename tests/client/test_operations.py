"""What is refused before it is sent, with the reason a node would give."""

from __future__ import annotations

from typing import Any

import pytest

from kvnode import Client, DataType, Delete, Increment, InvalidArgument, Operation, Put
from kvnode.client.channels import addresses_of
from kvnode.client.operations import key_bytes, single_request, write_request
from kvnode.v1 import kv_pb2, types_pb2
from tests.client.scripted import ScriptedNode

CONTEXT = b"ctx"


def put_message(put: Put) -> kv_pb2.Put:
    """As it is sent."""
    return single_request(put, b"").operations[0].put


def increment_message(increment: Increment) -> kv_pb2.Increment:
    """As it is sent."""
    return single_request(increment, b"").operations[0].increment


def delete_message(delete: Delete) -> kv_pb2.Delete:
    """As it is sent."""
    return single_request(delete, b"").operations[0].delete


def reason_of(raised: pytest.ExceptionInfo[InvalidArgument]) -> str:
    """The machine-readable reason."""
    return str(raised.value.reason)


@pytest.mark.parametrize("key", [b"a", "a", b"\x00", b"x" * 480, "\u00e9" * 240])
def test_good_keys_are_bytes(key: bytes | str) -> None:
    assert key_bytes(key) == (key.encode() if isinstance(key, str) else key)


@pytest.mark.parametrize("key", [b"", "", b"x" * 481, "\u00e9" * 241, "\udcff", 7, None, [b"a"]])
def test_bad_keys_are_refused(key: Any) -> None:
    with pytest.raises(InvalidArgument) as raised:
        key_bytes(key)
    assert reason_of(raised) == "BAD_KEY"


@pytest.mark.parametrize(
    ("put", "reason"),
    [
        (Put("k", b"x" * (1024 * 1024 + 1)), "BAD_VALUE"),
        (Put("k", "\udcff"), "BAD_VALUE"),
        (Put("k", 5), "BAD_VALUE"),  # type: ignore[arg-type]
        (Put("k", "v", blind=True, context=CONTEXT), "BAD_REQUEST"),
        (Put("k", "v", blind=True, lww=True), "BAD_REQUEST"),
        (Put("k", "v", context=b""), "BAD_CONTEXT"),
        (Put("k", "v", context="ctx"), "BAD_CONTEXT"),  # type: ignore[arg-type]
    ],
)
def test_bad_puts_are_refused(put: Put, reason: str) -> None:
    """An empty context among them: on the wire it means "what the node holds now"."""
    with pytest.raises(InvalidArgument) as raised:
        put_message(put)
    assert reason_of(raised) == reason


def test_puts_have_the_form_of_the_wire() -> None:
    assert put_message(Put("k", "v")) == kv_pb2.Put(
        key=b"k", value=b"v", type=types_pb2.DATA_TYPE_SIBLINGS
    )
    assert put_message(Put(b"k", b"", lww=True)) == kv_pb2.Put(
        key=b"k", type=types_pb2.DATA_TYPE_LWW_REGISTER
    )
    assert put_message(Put("k", b"v", blind=True)) == kv_pb2.Put(
        key=b"k", value=b"v", type=types_pb2.DATA_TYPE_SIBLINGS, blind=True
    )
    assert put_message(Put("k", b"v", context=CONTEXT)).context == CONTEXT
    assert len(put_message(Put("k", b"x" * 1024 * 1024)).value) == 1024 * 1024


@pytest.mark.parametrize(
    ("increment", "reason"),
    [
        (Increment("k", 0), "BAD_AMOUNT"),
        (Increment("k", 2**63), "BAD_AMOUNT"),
        (Increment("k", -(2**63)), "BAD_AMOUNT"),
        (Increment("k", -1, DataType.G_COUNTER), "BAD_AMOUNT"),
        (Increment("k", amount=True), "BAD_AMOUNT"),
        (Increment("k", 1.0), "BAD_AMOUNT"),  # type: ignore[arg-type]
        (Increment("k", 1, DataType.SIBLINGS), "BAD_REQUEST"),
    ],
)
def test_bad_increments_are_refused(increment: Increment, reason: str) -> None:
    with pytest.raises(InvalidArgument) as raised:
        increment_message(increment)
    assert reason_of(raised) == reason


def test_increments_have_the_form_of_the_wire() -> None:
    assert increment_message(Increment("k")) == kv_pb2.Increment(key=b"k", amount=1)
    assert increment_message(Increment("k", -(2**63) + 1, DataType.PN_COUNTER)) == (
        kv_pb2.Increment(key=b"k", amount=-(2**63) + 1, type=types_pb2.DATA_TYPE_PN_COUNTER)
    )


def test_deletes_have_the_form_of_the_wire() -> None:
    assert delete_message(Delete("k")) == kv_pb2.Delete(key=b"k")
    assert delete_message(Delete("k", DataType.SIBLINGS, CONTEXT)) == kv_pb2.Delete(
        key=b"k", type=types_pb2.DATA_TYPE_SIBLINGS, context=CONTEXT
    )
    with pytest.raises(InvalidArgument):
        delete_message(Delete("k", 9))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("operations", "reason", "message"),
    [
        ([], "BAD_REQUEST", "without operations"),
        ([Increment("k")] * 10_001, "BATCH_TOO_LARGE", "at most 10000"),
        ([Put("k", b"x" * 1024 * 1024)] * 4, "BATCH_TOO_LARGE", "4194304 bytes"),
        ([Increment("k"), Put("", "v")], "BAD_KEY", "operation 1: an empty key"),
        ([("put", "k")], "BAD_REQUEST", "operation 0: it is a tuple"),
    ],
)
def test_bad_batches_are_refused(operations: Any, reason: str, message: str) -> None:
    with pytest.raises(InvalidArgument, match=message) as raised:
        write_request(operations, b"")
    assert reason_of(raised) == reason


def test_a_batch_keeps_its_order() -> None:
    batch = write_request([Put("a", "1"), Increment("b"), Delete("c")], b"0123456789abcdef")
    assert batch == kv_pb2.WriteRequest(
        operations=[
            kv_pb2.Operation(put=put_message(Put("a", "1"))),
            kv_pb2.Operation(increment=increment_message(Increment("b"))),
            kv_pb2.Operation(delete=delete_message(Delete("c"))),
        ],
        request_id=b"0123456789abcdef",
    )


def test_a_batch_is_as_large_as_its_keys_and_values() -> None:
    """4 MiB exactly are taken, one byte more is not, whichever operation brings it."""
    mib = 1024 * 1024
    full: list[Operation] = [
        *[Put("k", b"x" * (mib - 1))] * 3,
        Put("k", b"x" * (mib - 3)),
        Delete("a"),
    ]
    write_request([*full, Increment("b")], b"")
    for last in (Increment("bc"), Delete("bc"), Put("b", "c")):
        with pytest.raises(InvalidArgument, match="4194304 bytes"):
            write_request([*full, last], b"")


@pytest.mark.parametrize(
    "endpoints",
    [
        "",
        ",",
        "localhost",
        "localhost:",
        ":7080",
        "h:0",
        "h:65536",
        "h:x",
        "::1:7080",
        "a b:1",
        [],
        [7],
    ],
)
def test_bad_endpoints_are_refused(endpoints: Any) -> None:
    with pytest.raises(InvalidArgument):
        Client(endpoints)


def test_endpoints_are_listed_once_in_order() -> None:
    assert addresses_of("a:1,") == addresses_of([" a:1 ,, "]) == ("a:1",)
    assert addresses_of("b:1, a:2,b:1") == ("b:1", "a:2")
    assert addresses_of(["b:1,c:3", "a:2", "c:3", "[::1]:7080"]) == (
        "b:1",
        "c:3",
        "a:2",
        "[::1]:7080",
    )


@pytest.mark.parametrize("timeout_s", [0, -1, float("nan"), float("inf"), 1e9, True, "5"])
def test_a_client_needs_a_deadline(timeout_s: float) -> None:
    with pytest.raises(InvalidArgument):
        Client(timeout_s=timeout_s)


@pytest.mark.parametrize("page_size", [0, 10_001, 1.5, True])
def test_bad_page_sizes_are_refused_at_the_call(
    client: Client, node: ScriptedNode, page_size: Any
) -> None:
    """Not at the first ``next``, far from the mistake."""
    with pytest.raises(InvalidArgument):
        client.scan(page_size=page_size)
    with pytest.raises(InvalidArgument):
        client.conflicts(page_size=page_size)
    assert node.calls == []


@pytest.mark.parametrize("limit", [-1, 1.5, True, "2"])
def test_bad_limits_are_refused_at_the_call(client: Client, node: ScriptedNode, limit: Any) -> None:
    for call in (client.scan, client.conflicts):
        with pytest.raises(InvalidArgument, match="limit"):
            call(limit=limit)
    assert node.calls == []


@pytest.mark.parametrize("request_id", [b"", b"short", b"x" * 17, "x" * 16])
def test_bad_request_ids_are_refused(client: Client, node: ScriptedNode, request_id: Any) -> None:
    with pytest.raises(InvalidArgument):
        client.increment("k", request_id=request_id)
    assert node.calls == []


def test_a_request_id_is_for_one_endpoint() -> None:
    """Another node does not remember it and would count again."""
    with Client("127.0.0.1:1,127.0.0.1:2") as several, pytest.raises(InvalidArgument):
        several.increment("k", request_id=b"x" * 16)


def test_refused_calls_send_nothing(client: Client, node: ScriptedNode) -> None:
    for call in (
        lambda: client.get(""),
        lambda: client.batch_get(["a", ""]),
        lambda: client.put("k", b"v", context=b""),
        lambda: client.delete(""),
        lambda: client.increment("k", 0),
        lambda: client.write([]),
        lambda: client.admin.inspect(""),
        lambda: client.scan(prefix="\udcff"),
    ):
        with pytest.raises(InvalidArgument):
            call()
    assert node.calls == []
