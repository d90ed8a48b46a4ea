"""What handles read, and what a value tells of itself."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from kvnode import AsyncClient, Client, ConflictError, FailedPrecondition, KeyNotFound, resolvers
from kvnode.client.states import key_state_of
from kvnode.v1 import types_pb2
from tests.client.scripted import ScriptedNode
from tests.client.test_updates import SEVEN, STORED, got, siblings

Get = Callable[..., Any]


@pytest.fixture(params=["threads", "asyncio"])
def register(request: pytest.FixtureRequest, client: Client, node: ScriptedNode) -> Get:
    """``get`` of a register, by either client."""
    return get_of(request.param, "register", client, node.address)


@pytest.fixture(params=["threads", "asyncio"])
def kept(request: pytest.FixtureRequest, client: Client, node: ScriptedNode) -> Get:
    """``get`` of siblings."""
    return get_of(request.param, "siblings", client, node.address)


def get_of(library: str, handle: str, client: Client, address: str) -> Get:
    """``get`` of a handle."""
    if library == "threads":
        found: Get = getattr(client, handle)("k").get
        return found

    async def get(**options: Any) -> Any:
        async with AsyncClient(address) as db:
            return await getattr(db, handle)("k").get(**options)

    return lambda **options: asyncio.run(get(**options))


def test_a_default_stands_for_nothing(register: Get, kept: Get, node: ScriptedNode) -> None:
    node.script = [got(siblings())] * 6
    for get in (register, kept):
        assert get(default=None) is None
        assert get(default="x") == "x"
        with pytest.raises(KeyNotFound):
            get()


def test_a_default_does_not_stand_for_another_type(
    register: Get, kept: Get, node: ScriptedNode
) -> None:
    node.script = [got(siblings(pn_counter=SEVEN))] * 2
    for get in (register, kept):
        with pytest.raises(FailedPrecondition):
            get(default=None)


def test_siblings_are_resolved_and_nothing_is_written(kept: Get, node: ScriptedNode) -> None:
    node.script = [got(siblings(b"a", b"b", lww_register=STORED))] * 2
    assert kept(resolve=resolvers.union()).value == b"a,b"
    with pytest.raises(ConflictError):
        kept().one()
    node.script = [got(siblings(b"a")), got(siblings())]
    assert kept(resolve=resolvers.latest).value == b"a"
    assert kept(default=None, resolve=resolvers.latest) is None
    assert node.operations == []


def test_what_is_no_resolver_is_refused_before_there_is_a_conflict(
    kept: Get, node: ScriptedNode
) -> None:
    with pytest.raises(TypeError, match="resolve is a function"):
        kept(resolve="latest")
    assert node.calls == []


def stored(value: bytes, expires_ms: int) -> types_pb2.StoredValue:
    """One that expires."""
    dot = types_pb2.Dot(origin=1, seq=1)
    return types_pb2.StoredValue(value=value, dot=dot, expires_ms=expires_ms)


def test_a_value_tells_when_it_expires(client: Client, node: ScriptedNode) -> None:
    """One made of several is stored nowhere, so it does not."""
    expiring = [stored(b"a", 1500), stored(b"b", 2500)]
    one = types_pb2.KeyState(key=b"k", siblings=types_pb2.Siblings(values=expiring[:1]))
    several = types_pb2.KeyState(key=b"k", siblings=types_pb2.Siblings(values=expiring))
    register = types_pb2.KeyState(key=b"k", lww_register=expiring[1])
    for state, expires_at in (
        (one, datetime(1970, 1, 1, 0, 0, 1, 500_000, tzinfo=UTC)),
        (register, datetime(1970, 1, 1, 0, 0, 2, 500_000, tzinfo=UTC)),
        (siblings(b"a"), None),
        (siblings(pn_counter=SEVEN), None),
    ):
        assert key_state_of(state).one().expires_at == expires_at
    node.script = [got(several)]
    assert client.get("k", resolve=resolvers.latest).expires_at is None
