"""What ``update`` writes can expire, and what it may be given to change with."""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import Callable
from typing import Any

import pytest

from kvnode import AsyncClient, Client, InvalidArgument, resolvers
from tests.client.scripted import ScriptedNode, succeed
from tests.client.test_updates import got, more, siblings

UPDATES: dict[str, Callable[..., Any]] = {
    "client": lambda db, change, **options: db.update("k", change, **options),
    "handle": lambda db, change, **options: db.siblings("k").update(change, **options),
}
UPDATE = pytest.mark.parametrize("update", UPDATES.values(), ids=UPDATES)


def lives_ms(node: ScriptedNode) -> list[int | None]:
    """How long what was written lives."""
    puts = [each.put for each in node.operations]
    return [put.ttl_ms if put.HasField("ttl_ms") else None for put in puts]


@UPDATE
def test_what_update_writes_lives_as_long_as_asked(
    client: Client, node: ScriptedNode, update: Callable[..., Any]
) -> None:
    """Each put of it: also what it merges."""
    node.script = [
        got(siblings(b"a")),
        succeed,
        *[got(siblings(b"ax", b"theirs"))] * 2,
        succeed,
        got(siblings(b"ax,theirs")),
    ]
    update(client, more, ttl=60, resolve=resolvers.union())
    assert lives_ms(node) == [60_000, 60_000]
    node.script = [got(siblings(b"a")), succeed, got(siblings(b"ax"))]
    update(client, more)
    assert lives_ms(node)[2:] == [None]


@UPDATE
def test_a_value_that_stays_is_given_a_new_life_only_if_one_is_asked_for(
    client: Client, node: ScriptedNode, update: Callable[..., Any]
) -> None:
    """None leaves it as it is in either case."""
    node.script = [got(siblings(b"a"))] * 2
    update(client, lambda value: value)
    update(client, lambda _: None, ttl=60)
    assert lives_ms(node) == []
    node.script = [got(siblings(b"a")), succeed, got(siblings(b"a"))]
    update(client, lambda value: value, ttl=60)
    assert lives_ms(node) == [60_000]


def test_what_a_handle_resolves_lives_as_long_as_asked(client: Client, node: ScriptedNode) -> None:
    node.script = [got(siblings(b"a", b"b")), succeed, got(siblings(b"a,b"))]
    client.siblings("k").resolve(resolvers.union(), ttl=1.5)
    assert lives_ms(node) == [1500]


def test_a_life_that_is_none_is_refused_before_anything_is_read(
    client: Client, node: ScriptedNode
) -> None:
    with pytest.raises(InvalidArgument, match="ttl 0 is not in"):
        client.update("k", more, ttl=0)
    assert node.calls == []


async def change(value: bytes | None) -> bytes:
    """What update cannot wait for."""
    return value or b""


@UPDATE
def test_an_async_function_is_told_that_a_plain_one_is_wanted(
    client: Client, node: ScriptedNode, update: Callable[..., Any]
) -> None:
    """And Python has nothing to say of a coroutine that nobody awaited."""

    async def use() -> None:
        async with AsyncClient(node.address) as db:
            await update(db, change)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        node.script = [got(siblings(b"a"))] * 2
        with pytest.raises(TypeError, match="update takes a plain function"):
            update(client, change)
        with pytest.raises(TypeError, match="update takes a plain function"):
            asyncio.run(use())
    assert node.operations == []
