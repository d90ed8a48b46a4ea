"""Puts and increments of several callers in columns: what is sent."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from kvnode import (
    AsyncClient,
    Client,
    DataType,
    Receipt,
)
from kvnode.client.lanes import HALVES_MIN
from kvnode.client.operations import Increment, Operation, Put, single_request
from kvnode.v1 import kv_pb2
from tests.client.scripted import (
    SESSION,
    ScriptedNode,
    operations_in,
)

ID = bytes(range(16))
Call = Callable[[AsyncClient], Awaitable[Receipt]]


def together(*calls: Call, at: tuple[str, ...], timeout_s: float = 5) -> list[Any]:
    """What came of calls that were made at once: a receipt or an error each."""

    async def work() -> list[Any]:
        async with AsyncClient(at, timeout_s=timeout_s) as db:
            return await asyncio.gather(*(call(db) for call in calls), return_exceptions=True)

    assert 1 < len(calls) < HALVES_MIN, "else it is not one flight"
    return asyncio.run(work())


def alone(call: Call, at: str) -> Receipt:
    """What came of it by itself."""

    async def work() -> Receipt:
        async with AsyncClient(at) as db:
            return await call(db)

    return asyncio.run(work())


def put(key: str, value: str = "v", **options: Any) -> Call:
    """A put."""
    return lambda db: db.put(key, value, **options)


def add(key: str, amount: int = 1, **options: Any) -> Call:
    """An increment."""
    return lambda db: db.increment(key, amount, **options)


def only_call(node: ScriptedNode) -> kv_pb2.WriteManyRequest:
    """The one call that came, of several."""
    ((method, request),) = node.calls
    assert method == "WriteMany"
    assert isinstance(request, kv_pb2.WriteManyRequest)
    return request


# ---- what is sent


def test_alike_writes_go_in_columns_one_group_for_each_kind(node: ScriptedNode) -> None:
    """In the order in which the kinds came first."""
    together(
        put("a", "1"),
        add("b", 7),
        put("c", "2", lww=True),
        put("d", "3"),
        put("e", "4", ttl=1.5),
        add("f", -2),
        add("g", 2, type=DataType.G_COUNTER),
        put("h", "5", lww=True, ttl=1.5),
        put("i", "6", ttl=1.5),
        at=(node.address,),
    )
    request = only_call(node)
    assert not request.requests
    groups = []
    for group in request.alike:
        column: Any = group.puts if group.HasField("puts") else group.increments
        values = column.values if group.HasField("puts") else column.amounts
        ttl_ms = column.ttl_ms if group.HasField("puts") and column.HasField("ttl_ms") else None
        groups.append((b"".join(column.keys), list(values), column.type, ttl_ms))
        assert len(group.request_ids) == len(column.keys)
    assert groups == [
        (b"ad", [b"1", b"3"], DataType.SIBLINGS, None),
        (b"bf", [7, -2], 0, None),
        (b"c", [b"2"], DataType.LWW_REGISTER, None),
        (b"ei", [b"4", b"6"], DataType.SIBLINGS, 1500),
        (b"g", [2], DataType.G_COUNTER, None),
        (b"h", [b"5"], DataType.LWW_REGISTER, 1500),
    ]
    assert {len(each) for each in node.request_ids} == {16}
    assert len(set(node.request_ids)) == 9


def test_increments_by_one_need_no_amounts(node: ScriptedNode) -> None:
    together(add("a"), add("b"), at=(node.address,))
    (group,) = only_call(node).alike
    assert list(group.increments.keys) == [b"a", b"b"]
    assert not group.increments.amounts


def test_what_is_not_alike_goes_as_requests(node: ScriptedNode) -> None:
    """What names a context, or replaces nothing; and in the same call columns."""
    together(
        put("a"),
        put("b", context=b"c"),
        put("c", blind=True),
        lambda db: db.delete("d"),
        lambda db: db.write([Put("e", "v")]),  # type: ignore[arg-type,return-value]
        put("f"),
        at=(node.address,),
    )
    request = only_call(node)
    keys = [each.put.key or each.delete.key for each in map(first_of, request.requests)]
    assert keys == [b"b", b"c", b"d", b"e"]
    assert [list(group.puts.keys) for group in request.alike] == [[b"a", b"f"]]


def first_of(request: kv_pb2.WriteRequest) -> kv_pb2.Operation:
    """Its first operation."""
    return operations_in(request)[0]


@pytest.mark.parametrize("level", ["buffered", "quorum", "all", 1, 2])
def test_what_asks_for_a_level_goes_as_requests(node: ScriptedNode, level: Any) -> None:
    together(put("a", durability=level), add("b", durability=level), at=(node.address,))
    request = only_call(node)
    assert not request.alike
    assert all(each.HasField("options") for each in request.requests)


def test_a_session_goes_in_columns_until_it_has_seen_something(node: ScriptedNode) -> None:
    async def work() -> None:
        async with AsyncClient(node.address, session=True) as db:
            await asyncio.gather(db.put("a", "v"), db.put("b", "v"))
            token = db.token
            assert token
            await asyncio.gather(db.put("a", "v"), db.increment("b"))
            async with AsyncClient(node.address, durability="quorum") as other:
                await asyncio.gather(other.put("a", "v"), other.put("b", "v"))
                pair = [other.put(key, "v", durability="fsync") for key in "ab"]
                await asyncio.gather(*pair)

    asyncio.run(work())
    sent = [(len(call.requests), len(call.alike)) for _, call in node.calls]
    assert sent == [(0, 1), (2, 0), (2, 0), (0, 1)]
    assert node.calls[1][1].requests[0].options.after == SESSION


def test_the_order_of_a_key_is_kept_where_its_writes_are_of_several_kinds(
    node: ScriptedNode,
) -> None:
    """One group is carried out behind the other, and behind all requests."""
    for calls in (
        (put("k", "1"), put("x", "2", lww=True), put("k", "3", ttl=9), put("k", "4")),
        (put("k", "1"), put("x", "2"), put("k", "3", context=b"c"), put("k", "4")),
        (
            put("k", "1"),
            put("x", "2"),
            lambda db: db.write([Put("z", "v"), Put("k", "3")]),
            put("k", "4"),
        ),
    ):
        node.calls.clear()
        together(*calls, at=(node.address,))
        request = only_call(node)
        assert not request.alike
        values = [operations_in(each)[-1].put.value for each in request.requests]
        assert values == [b"1", b"2", b"3", b"4"]


def test_the_order_of_a_key_is_kept_within_a_group(node: ScriptedNode) -> None:
    calls = [put(key, str(number)) for number, key in enumerate("abacab")]
    together(*calls, add("x"), at=(node.address,))
    puts = only_call(node).alike[0].puts
    assert list(zip(puts.keys, map(int, puts.values), strict=True)) == [
        (key.encode(), number) for number, key in enumerate("abacab")
    ]


def test_who_flies_alone_sends_a_request_as_ever(client: Client, node: ScriptedNode) -> None:
    operations: list[Operation] = [
        Put("a", "1"),
        Put("b", "2", lww=True, ttl=2.5),
        Increment("c", 3),
        Increment("d", -3, DataType.PN_COUNTER),
    ]
    client.put("a", "1", request_id=ID)
    client.put("b", "2", lww=True, ttl=2.5, request_id=ID)
    client.increment("c", 3, request_id=ID)
    client.increment("d", -3, type=DataType.PN_COUNTER, request_id=ID)
    assert node.calls == [("Write", single_request(each, ID)) for each in operations]
