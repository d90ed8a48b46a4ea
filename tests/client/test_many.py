"""``put_many`` and ``increment_many``: the writes that ``write`` makes, refused as it refuses."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status
from grpc import ServicerContext, StatusCode
from hypothesis import example, given
from hypothesis import strategies as st

from kvnode import (
    AsyncClient,
    Client,
    DataType,
    Dot,
    Increment,
    InvalidArgument,
    ManyReceipt,
    NotReplicated,
    OutcomeUnknown,
    Put,
)
from kvnode.client.columns import (
    increment_columns,
    increments_request,
    put_columns,
    puts_request,
)
from kvnode.client.operations import (
    BATCH_OPERATIONS_MAX,
    INT64_MAX,
    KEY_BYTES_MAX,
    VALUE_BYTES_MAX,
    keys_of,
    write_request,
)
from kvnode.v1 import kv_pb2, types_pb2
from tests.client.scripted import (
    DOT,
    ScriptedNode,
    fail,
    hang,
    operations_in,
    pack,
    refuse,
)

ID = b"0123456789abcdef"


class Text(bytes):
    """Of a subclass: no plain column, and fine."""


KEYS: st.SearchStrategy[Any] = st.one_of(
    st.binary(max_size=3),
    st.text(max_size=3),
    st.sampled_from(
        [b"k" * KEY_BYTES_MAX, b"k" * (KEY_BYTES_MAX + 1), "ü" * 241, "\ud800", 7, None, Text(b"k")]
    ),
)
VALUES: st.SearchStrategy[Any] = st.one_of(
    st.binary(max_size=3),
    st.text(max_size=3),
    st.sampled_from([b"v" * VALUE_BYTES_MAX, b"v" * (VALUE_BYTES_MAX + 1), "\ud800", 7, Text(b"")]),
)
AMOUNTS: st.SearchStrategy[Any] = st.one_of(
    st.integers(-3, 3), st.sampled_from([INT64_MAX, -INT64_MAX, INT64_MAX + 1, True, 1.5, "1"])
)


def outcome(made: Callable[[], kv_pb2.WriteRequest]) -> object:
    """What is asked for, or why not."""
    try:
        request = made()
    except InvalidArgument as error:
        return (str(error), error.reason)
    assert request.request_id == ID
    return operations_in(request)


@given(
    pairs=st.lists(st.tuples(KEYS, VALUES), max_size=6),
    lww=st.booleans(),
    ttl=st.sampled_from([None, 1.5]),
)
@example(pairs=[("k", b"v"), ("k", b"v" * (VALUE_BYTES_MAX + 1))], lww=True, ttl=None)
def test_puts_in_columns_are_the_puts_of_a_batch(
    pairs: list[tuple[Any, Any]], *, lww: bool, ttl: float | None
) -> None:
    def columns() -> kv_pb2.WriteRequest:
        request, keys = puts_request(*put_columns(pairs), lww=lww, ttl=ttl, request_id=ID)
        assert request.brief
        assert list(keys) == [each.put.key for each in operations_in(request)]
        return request

    puts = [Put(key, value, lww, ttl=ttl) for key, value in pairs]
    assert outcome(columns) == outcome(lambda: write_request(puts, ID))


@given(
    st.lists(st.tuples(KEYS, AMOUNTS), max_size=6),
    st.sampled_from([None, DataType.G_COUNTER, DataType.PN_COUNTER]),
)
def test_increments_in_columns_are_the_increments_of_a_batch(
    pairs: list[tuple[Any, Any]], kind: DataType | None
) -> None:
    keys, amounts = [key for key, _ in pairs], [amount for _, amount in pairs]

    def columns() -> kv_pb2.WriteRequest:
        return increments_request(keys, amounts, type=kind, request_id=ID)[0]

    increments = [Increment(key, amount, kind) for key, amount in pairs]
    assert outcome(columns) == outcome(lambda: write_request(increments, ID))


def test_plain_operations_go_in_columns() -> None:
    """The general way would do too, and take ten times as long."""
    puts, keys = puts_request(["a", b"b"], [b"1", "2"], lww=True, ttl=2, request_id=ID)
    assert puts == kv_pb2.WriteRequest(
        request_id=ID,
        brief=True,
        puts=kv_pb2.Puts(
            keys=[b"a", b"b"],
            values=[b"1", b"2"],
            type=types_pb2.DATA_TYPE_LWW_REGISTER,
            ttl_ms=2000,
        ),
    )
    assert keys == (b"a", b"b")
    increments, _ = increments_request(["a", "a"], None, type=None, request_id=ID)
    assert increments == kv_pb2.WriteRequest(
        request_id=ID, brief=True, increments=kv_pb2.Increments(keys=[b"a", b"a"])
    )


def test_a_subclass_of_bytes_goes_the_general_way() -> None:
    made, keys = puts_request([Text(b"a")], ["1"], lww=False, ttl=None, request_id=ID)
    assert made.brief
    assert len(made.operations) == 1
    assert keys == keys_of(made) == (b"a",)


def test_pairs_keys_and_mappings_are_told_apart() -> None:
    assert put_columns({"a": "1", "b": "2"}) == (["a", "b"], ["1", "2"])
    assert put_columns(iter([("a", "1"), ("a", "2")])) == (["a", "a"], ["1", "2"])
    assert increment_columns({"a": -2}) == (["a"], [-2])
    assert increment_columns(key for key in ("a", "a")) == (["a", "a"], None)
    mistakes: list[Callable[[], object]] = [
        lambda: put_columns("ab"),  # type: ignore[arg-type]
        lambda: increment_columns(b"ab"),  # type: ignore[arg-type]
    ]
    for mistake in mistakes:
        with pytest.raises(InvalidArgument, match="not a mapping or"):
            mistake()
    with pytest.raises(InvalidArgument, match="operation 1: it is str, not a pair"):
        put_columns([("a", "1"), "bc"])  # type: ignore[list-item]


def test_a_batch_has_its_bounds(client: Client, node: ScriptedNode) -> None:
    with pytest.raises(InvalidArgument, match="at most 10000 operations"):
        client.increment_many(["k"] * (BATCH_OPERATIONS_MAX + 1))
    with pytest.raises(InvalidArgument, match="at most 10000 operations"):
        client.increment_many("k" for _ in iter(int, 1))  # without end
    with pytest.raises(InvalidArgument, match="have at most 4194304 bytes together"):
        client.put_many([("k", b"x" * VALUE_BYTES_MAX)] * 5)
    with pytest.raises(InvalidArgument, match="a batch without operations"):
        client.put_many({})
    with pytest.raises(InvalidArgument, match=r"ttl 0 is not in 0\.001"):
        client.put_many({"k": "v"}, ttl=0)
    with pytest.raises(InvalidArgument, match="is not a counter type"):
        client.increment_many(["k"], type=DataType.SIBLINGS)
    assert node.calls == []


def test_a_batch_goes_in_one_call_and_is_told_briefly(client: Client, node: ScriptedNode) -> None:
    receipt = client.put_many({"a": "1", "b": "2"}, lww=True, durability="quorum", request_id=ID)
    assert receipt == ManyReceipt(
        Dot(DOT.origin, DOT.seq),
        2,
        {DOT.origin: DOT.seq},
        repeated=False,
        endpoint=node.address,
        stored_by=("EWR",),
    )
    assert receipt.dots == (Dot(DOT.origin, 7), Dot(DOT.origin, 8))
    assert client.increment_many(["a", "a", "b"]).count == 3
    assert node.methods == ["Write", "Write"]
    assert node.request_ids[0] == ID
    assert node.calls[0][1].options.durability == kv_pb2.DURABILITY_QUORUM


def test_buffered_operations_have_no_dots_yet() -> None:
    receipt = ManyReceipt(Dot(0, 0), 2, {}, repeated=False, endpoint="h:1")
    assert receipt.dots == (Dot(0, 0), Dot(0, 0))


def test_a_session_learns_of_it_and_sends_what_it_has_seen(
    client: Client, node: ScriptedNode
) -> None:
    session = client.session()
    session.increment_many(["a"])
    session.put_many({"a": "1"})
    assert list(node.calls[-1][1].options.after.entries) == [DOT]


def test_tasks_share_calls_with_it(node: ScriptedNode) -> None:
    async def work() -> None:
        async with AsyncClient(node.address) as client:
            many, one, counts = await asyncio.gather(
                client.put_many({"a": "1"}), client.put("b", "2"), client.increment_many(["c", "c"])
            )
            assert (many.count, one.dot.seq, counts.count) == (1, 7, 2)

    asyncio.run(work())
    assert node.methods == ["WriteMany"]


def test_a_lost_reply_is_asked_for_again_under_the_same_id(
    client: Client, node: ScriptedNode
) -> None:
    node.script = [fail(StatusCode.UNAVAILABLE, "Socket closed")]
    assert client.increment_many(["a", "a"]).count == 2
    first, second = node.calls
    assert first == second


def test_what_was_not_taken_goes_to_the_next_node(node: ScriptedNode, both: Client) -> None:
    node.script = [refuse(StatusCode.UNAVAILABLE, "STOPPING")]
    assert both.put_many({"a": "1"}).endpoint != node.address


def test_a_batch_without_an_answer_is_unknown(node: ScriptedNode) -> None:
    node.script = [hang] * 3
    with (
        Client(node.address, timeout_s=0.4) as client,
        pytest.raises(OutcomeUnknown, match="a batch of 2 operations") as raised,
    ):
        client.increment_many(["a", "b"])
    assert raised.value.request_id == node.request_ids[0]


def test_a_batch_on_too_few_nodes_says_what_was_done(client: Client, node: ScriptedNode) -> None:
    shortfall = kv_pb2.Shortfall(first=DOT, operations=3, stored_by=["EWR"], wanted=2)

    def step(_request: object, context: ServicerContext) -> Any:
        told = ErrorInfo(domain="kvnode", reason="NOT_REPLICATED")
        code: int = StatusCode.DEADLINE_EXCEEDED.value[0]
        status = Status(code=code, message="few", details=[pack(told), pack(shortfall)])
        context.set_trailing_metadata((("grpc-status-details-bin", status.SerializeToString()),))
        context.abort(StatusCode.DEADLINE_EXCEEDED, "few")

    node.script = [step]
    with pytest.raises(NotReplicated) as raised:
        client.increment_many(["a", "b", "c"], durability="quorum")
    receipt = raised.value.receipt
    assert isinstance(receipt, ManyReceipt)
    assert receipt.dots == tuple(Dot(DOT.origin, seq) for seq in (7, 8, 9))
    assert receipt.stored_by == ("EWR",)
