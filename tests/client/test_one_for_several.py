"""One where several are wanted is refused in words, and not taken for its letters."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from kvnode import AsyncClient, AsyncWatch, Client, Delete, Increment, InvalidArgument, Put, Watch
from tests.client.scripted import ScriptedNode

CALLS: dict[str, tuple[Callable[[Any, Any], Any], str]] = {
    "batch_get": (lambda db, one: db.batch_get(one), "keys are several: pass a list"),
    "get_many": (lambda db, one: db.get_many(one), "keys are several: pass a list"),
    "write": (lambda db, one: db.write(one), "write takes several operations: pass a list"),
}
CASES = [
    *[(name, one) for name in ("batch_get", "get_many") for one in ("abc", b"abc", None, 7)],
    *[("write", one) for one in (Put("k", "v"), Increment("k"), Delete("k"), None)],
]


@pytest.mark.parametrize(("name", "one"), CASES)
def test_one_is_not_several(client: Client, node: ScriptedNode, name: str, one: object) -> None:
    call, words = CALLS[name]

    async def use() -> None:
        async with AsyncClient(node.address) as db:
            await call(db, one)

    with pytest.raises(InvalidArgument, match=f"{words}, not {type(one).__name__}"):
        call(client, one)
    with pytest.raises(InvalidArgument, match=words):
        asyncio.run(use())
    assert node.calls == []


@pytest.mark.parametrize("keys", ["abc", ""])
def test_a_repair_of_one_is_not_one_of_its_letters_nor_of_everything(
    client: Client, keys: str
) -> None:
    with pytest.raises(InvalidArgument, match="keys are several: pass a list"):
        client.admin.repair(keys)


@pytest.mark.parametrize("kind", [Client, AsyncClient, Watch, AsyncWatch])
@pytest.mark.parametrize("endpoints", [None, 7080, b"127.0.0.1:7080"])
def test_what_names_no_endpoints_is_refused(kind: Callable[[Any], Any], endpoints: object) -> None:
    with pytest.raises(InvalidArgument, match="endpoints are HOST:PORT,HOST:PORT or a list of"):
        kind(endpoints)
