"""Who forgets to close a client that was used is told, as with a socket."""

from __future__ import annotations

import asyncio
import gc
import warnings
from collections.abc import Callable

import pytest

from kvnode import AsyncClient, Client
from tests.client.scripted import ScriptedNode


def used(address: str) -> None:
    Client(address).put("k", "v")


def used_in_a_session(address: str) -> None:
    Client(address).session().put("k", "v")


def used_by_asyncio(address: str) -> None:
    async def test() -> None:
        await AsyncClient(address).put("k", "v")

    asyncio.run(test())


def closed(address: str) -> None:
    with Client(address) as client:
        client.put("k", "v")


def closed_by_asyncio(address: str) -> None:
    async def test() -> None:
        async with AsyncClient(address) as client:
            await client.put("k", "v")

    asyncio.run(test())


def unused(address: str) -> None:
    Client(address)
    AsyncClient(address)


@pytest.mark.parametrize(
    ("work", "kinds"),
    [
        (used, ["Client"]),
        (used_in_a_session, ["Client"]),
        (used_by_asyncio, ["AsyncClient"]),
        (closed, []),
        (closed_by_asyncio, []),
        (unused, []),
    ],
)
def test_a_client_that_was_used_and_forgotten_is_named(
    node: ScriptedNode, work: Callable[[str], None], kinds: list[str]
) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        work(node.address)
        gc.collect()
    assert [str(each.message) for each in caught] == [
        f"unclosed {kind} of {node.address}: use it in a with block, or close() it"
        for kind in kinds
    ]
    assert all(each.category is ResourceWarning for each in caught)
