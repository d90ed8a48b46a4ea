"""Each method: what it sends and what it makes of the reply."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from kvnode import (
    BatchReceipt,
    Client,
    DataType,
    Delete,
    Dot,
    Increment,
    NodeFailure,
    OperationReceipt,
    Put,
    StoredValue,
    Value,
)
from kvnode.v1 import admin_pb2, kv_pb2, types_pb2
from tests.client.scripted import DOT, REPLIES, SESSION, ScriptedNode, reply

A_DOT = Dot(DOT.origin, DOT.seq)


FRESH = kv_pb2.ReadOptions(freshness=True)
"""Of every read."""


def state(key: bytes) -> types_pb2.KeyState:
    """A key with a counter."""
    return types_pb2.KeyState(key=key, pn_counter=types_pb2.CounterValue(value=1))


def test_get(client: Client, node: ScriptedNode) -> None:
    found = client.get("k")
    item = StoredValue(b"v", A_DOT, 1000, "EWR")
    assert found == Value(b"k", b"ctx", siblings=(item,), value=b"v")
    assert node.calls == [("BatchGet", kv_pb2.BatchGetRequest(keys=[b"k"], options=FRESH))]


def test_batch_get_keeps_the_order_and_the_absent(client: Client, node: ScriptedNode) -> None:
    node.script = [
        reply(kv_pb2.BatchGetResponse(states=[state(b"b"), types_pb2.KeyState(key=b"a")]))
    ]
    found = client.batch_get([b"b", "a"])
    assert [(each.key, each.visible) for each in found] == [(b"b", True), (b"a", False)]
    assert node.calls[0][1] == kv_pb2.BatchGetRequest(keys=[b"b", b"a"], options=FRESH)


def test_batch_get_of_nothing_asks_nobody(client: Client, node: ScriptedNode) -> None:
    assert client.batch_get([]) == []
    assert node.calls == []


def test_batch_get_with_a_state_missing_is_the_nodes_failure(
    client: Client, node: ScriptedNode
) -> None:
    node.script = [reply(kv_pb2.BatchGetResponse(states=[state(b"b")]))]
    with pytest.raises(NodeFailure):
        client.batch_get(["a", "b"])


def test_put(client: Client, node: ScriptedNode) -> None:
    receipt = client.put("k", "v", context=b"seen")
    assert receipt.dot == A_DOT
    assert receipt.context == b"ctx"
    assert receipt.counter is None
    assert receipt.session == {DOT.origin: DOT.seq}
    assert not receipt.repeated
    assert receipt.endpoint == node.address
    assert receipt.stored_by == ("EWR",)
    (request,) = node.calls[0][1:]
    assert request.operations[0].put == kv_pb2.Put(
        key=b"k", value=b"v", type=types_pb2.DATA_TYPE_SIBLINGS, context=b"seen"
    )
    assert len(request.request_id) == 16


def test_delete(client: Client, node: ScriptedNode) -> None:
    assert client.delete(b"k", type=DataType.LWW_REGISTER, context=b"seen").dot == A_DOT
    assert node.operations[0].delete == kv_pb2.Delete(
        key=b"k", type=types_pb2.DATA_TYPE_LWW_REGISTER, context=b"seen"
    )


def test_increment(client: Client, node: ScriptedNode) -> None:
    receipt = client.increment("k", -5, type=DataType.PN_COUNTER)
    assert receipt.counter == 5
    assert node.operations[0].increment == kv_pb2.Increment(
        key=b"k", amount=-5, type=types_pb2.DATA_TYPE_PN_COUNTER
    )


def test_write(client: Client, node: ScriptedNode) -> None:
    counter = types_pb2.CounterValue(value=-2)
    node.script = [
        reply(
            kv_pb2.WriteResponse(
                results=[
                    kv_pb2.WriteResult(dot=DOT, context=b"c"),
                    kv_pb2.WriteResult(dot=DOT, counter=counter),
                    kv_pb2.WriteResult(dot=DOT),
                ],
                session=SESSION,
                repeated=True,
            )
        )
    ]
    receipt = client.write([Put("a", "1"), Increment("b", -2), Delete("c")])
    assert receipt == BatchReceipt(
        receipts=(
            OperationReceipt(A_DOT, b"c", None),
            OperationReceipt(A_DOT, b"", -2),
            OperationReceipt(A_DOT, b"", None),
        ),
        session={DOT.origin: DOT.seq},
        repeated=True,
        endpoint=node.address,
    )
    assert len(node.calls[0][1].operations) == 3


def test_a_batch_with_a_result_missing_is_the_nodes_failure(
    client: Client, node: ScriptedNode
) -> None:
    node.script = [reply(kv_pb2.WriteResponse(results=[kv_pb2.WriteResult(dot=DOT)]))]
    with pytest.raises(NodeFailure):
        client.write([Increment("a"), Increment("b")])


def test_every_write_has_an_id_of_its_own(client: Client, node: ScriptedNode) -> None:
    client.put("k", "v")
    client.delete("k")
    client.increment("k")
    client.write([Increment("k")])
    assert len(set(node.request_ids)) == 4


def test_a_given_request_id_is_sent(client: Client, node: ScriptedNode) -> None:
    client.increment("k", request_id=b"0123456789abcdef")
    assert node.request_ids == [b"0123456789abcdef"]


def test_scan_asks_page_by_page(client: Client, node: ScriptedNode) -> None:
    node.script = [
        reply(kv_pb2.ScanResponse(states=[state(b"a"), state(b"b")], next_page_token=b"1")),
        reply(kv_pb2.ScanResponse(states=[], next_page_token=b"2")),
        reply(kv_pb2.ScanResponse(states=[state(b"c")])),
    ]
    found = client.scan(prefix="p", start="s", end="t", page_size=2)
    assert node.calls == []
    assert [each.key for each in found] == [b"a", b"b", b"c"]
    requests = [request for _, request in node.calls]
    assert [request.page_token for request in requests] == [b"", b"1", b"2"]
    for request in requests:
        request.page_token = b""
        assert request == kv_pb2.ScanRequest(
            prefix=b"p", start=b"s", end=b"t", limit=2, options=FRESH
        )


def test_conflicts_asks_page_by_page(client: Client, node: ScriptedNode) -> None:
    node.script = [
        reply(kv_pb2.ListConflictsResponse(states=[state(b"a")], next_page_token=b"1")),
        reply(kv_pb2.ListConflictsResponse(states=[state(b"b")])),
    ]
    assert [each.key for each in client.conflicts(prefix="p")] == [b"a", b"b"]
    assert node.calls[0][1] == kv_pb2.ListConflictsRequest(prefix=b"p", limit=1000, options=FRESH)
    assert node.calls[1][1].page_token == b"1"


def test_status_and_inspect_are_the_messages(client: Client, node: ScriptedNode) -> None:
    assert client.admin.status() == REPLIES["Status"]
    assert client.admin.inspect("k") == REPLIES["Inspect"]
    assert node.calls[1] == ("Inspect", admin_pb2.InspectRequest(key=b"k"))


def test_a_closed_client_says_so(client: Client) -> None:
    client.get("k")
    client.close()
    with pytest.raises(RuntimeError, match="closed"):
        client.get("k")
    with pytest.raises(RuntimeError, match="closed"):
        client.put("k", "v")
    client.close()


def test_many_threads_share_a_client(client: Client, node: ScriptedNode) -> None:
    """All begin at once, before there is a connection."""
    start = threading.Barrier(16)

    def work(number: int) -> int:
        start.wait()
        for _ in range(5):
            client.increment(f"k{number}")
        return len(client.get("k").siblings)

    with ThreadPoolExecutor(16) as pool:
        assert list(pool.map(work, range(16))) == [1] * 16
    assert len(node.operations) == 80
    assert len(set(node.request_ids)) == 80
