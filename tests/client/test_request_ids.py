"""A caller's own request ids: every write takes one, in bytes or as a UUID, at one endpoint."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID

import pytest

from kvnode import AsyncClient, Client, Increment, InvalidArgument, OutcomeUnknown
from tests.client.scripted import ScriptedNode

ID = bytes(range(16))
WRITES: dict[str, Callable[[Any, Any], Any]] = {
    "put": lambda db, given: db.put("k", "v", request_id=given),
    "put with a context": lambda db, given: db.put("k", "v", context=b"c", request_id=given),
    "delete": lambda db, given: db.delete("k", request_id=given),
    "increment": lambda db, given: db.increment("k", request_id=given),
    "write": lambda db, given: db.write([Increment("k")], request_id=given),
    "put_many": lambda db, given: db.put_many({"k": "v"}, request_id=given),
    "increment_many": lambda db, given: db.increment_many(["k"], request_id=given),
    "Counter.add": lambda db, given: db.counter("k").add(2, request_id=given),
    "Counter.subtract": lambda db, given: db.counter("k").subtract(2, request_id=given),
    "Counter.delete": lambda db, given: db.counter("k").delete(request_id=given),
    "Register.set": lambda db, given: db.register("k").set("v", request_id=given),
    "Register.delete": lambda db, given: db.register("k").delete(request_id=given),
    "Siblings.put": lambda db, given: db.siblings("k").put("v", request_id=given),
    "Siblings.add": lambda db, given: db.siblings("k").add("v", request_id=given),
    "Siblings.delete": lambda db, given: db.siblings("k").delete(request_id=given),
}


def batch_of_one(db: Client, given: bytes | UUID) -> None:
    """Written at its end."""
    with db.batch(request_id=given) as batch:
        batch.increment("k")


async def async_batch_of_one(db: AsyncClient, given: bytes | UUID) -> None:
    """The same."""
    async with db.batch(request_id=given) as batch:
        batch.increment("k")


@pytest.mark.parametrize("given", [ID, UUID(bytes=ID)])
@pytest.mark.parametrize("write", [*WRITES.values(), batch_of_one], ids=[*WRITES, "batch"])
def test_every_write_goes_under_the_callers_id(
    client: Client, node: ScriptedNode, write: Callable[[Any, Any], Any], given: bytes | UUID
) -> None:
    write(client, given)
    assert node.request_ids == [ID]


@pytest.mark.parametrize("write", [*WRITES.values(), async_batch_of_one], ids=[*WRITES, "batch"])
def test_with_asyncio_as_well(
    node: ScriptedNode, write: Callable[[Any, Any], Awaitable[Any]]
) -> None:
    async def use() -> None:
        async with AsyncClient(node.address) as client:
            await write(client, UUID(bytes=ID))

    asyncio.run(use())
    assert node.request_ids == [ID]


@pytest.mark.parametrize("write", [*WRITES.values(), batch_of_one], ids=[*WRITES, "batch"])
def test_with_several_endpoints_an_id_is_refused_with_the_remedy(
    both: Client, node: ScriptedNode, write: Callable[[Any, Any], Any]
) -> None:
    with pytest.raises(InvalidArgument, match=r"one endpoint, Client\(error\.endpoint\)"):
        write(both, ID)
    assert node.calls == []


def test_a_batch_refuses_an_id_before_it_collects(both: Client, client: Client) -> None:
    with pytest.raises(InvalidArgument, match="one endpoint"):
        both.batch(request_id=ID)
    with pytest.raises(InvalidArgument, match=r"16 bytes or a uuid\.UUID"):
        client.batch(request_id=b"short")


def test_an_outcome_is_asked_for_by_either(client: Client, node: ScriptedNode) -> None:
    client.outcome(UUID(bytes=ID))
    client.outcome(ID)
    assert [request.request_id for _, request in node.calls] == [ID, ID]


def test_what_an_id_is_worth_is_said_where_one_is_given() -> None:
    for method in (Client, Client.put, Client.increment, Client.write, Client.batch):
        assert "one endpoint" in " ".join((inspect.getdoc(method) or "").split()), method
    assert "while they are cut off" in " ".join((OutcomeUnknown.__doc__ or "").split())
