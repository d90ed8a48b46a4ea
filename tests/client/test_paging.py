"""How many keys are read, and how many a node is asked for."""

from __future__ import annotations

import asyncio

import pytest

from kvnode import AsyncClient, Client
from kvnode.v1 import kv_pb2
from tests.client.scripted import ScriptedNode, reply
from tests.client.test_client import state

PAGES = [[b"a", b"b"], [b"c"], [b"d", b"e"]]
"""The second one ended early, at its bytes."""
ASKED = {
    None: [2, 2, 2],
    0: [],
    1: [1],
    2: [2],
    3: [2, 1],
    4: [2, 2, 1],
    5: [2, 2, 2],
    9: [2, 2, 2],
}


@pytest.mark.parametrize("limit", ASKED)
@pytest.mark.parametrize(
    ("name", "kind"),
    [("scan", kv_pb2.ScanResponse), ("conflicts", kv_pb2.ListConflictsResponse)],
)
@pytest.mark.parametrize("asynchronous", [False, True])
def test_no_page_is_larger_than_what_is_wanted(
    node: ScriptedNode,
    name: str,
    kind: type[kv_pb2.ScanResponse | kv_pb2.ListConflictsResponse],
    limit: int | None,
    asynchronous: object,
) -> None:
    asked = ASKED[limit]
    shown = [page[:keys] for page, keys in zip(PAGES, asked, strict=False)]
    tokens = [b"1", b"2", b""]
    node.script = [
        reply(kind(states=map(state, page), next_page_token=token))
        for page, token in zip(shown, tokens, strict=False)
    ]

    async def read() -> list[bytes]:
        async with AsyncClient(node.address) as client:
            found = getattr(client, name)("p", limit=limit, page_size=2)
            return [each.key async for each in found]

    if asynchronous:
        keys = asyncio.run(read())
    else:
        with Client(node.address) as client:
            keys = [each.key for each in getattr(client, name)("p", limit=limit, page_size=2)]
    assert keys == [key for page in shown for key in page]
    assert [request.limit for _, request in node.calls] == asked
    assert all(request.prefix == b"p" for _, request in node.calls)
