"""``get_many`` of real nodes by both clients: what ``batch_get`` shows, also in a conflict."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from kvnode import AsyncClient, Conflict, DataType, Value

if TYPE_CHECKING:
    from kvnode.testing import LocalNodes

pytestmark = pytest.mark.cluster

MEBIBYTE = 1 << 20


def test_both_clients_get_what_states_show(kvnode_cluster: LocalNodes) -> None:
    nodes = kvnode_cluster
    nodes.isolate("n3")
    with nodes.client("n1") as here, nodes.client("n3") as there:
        here.put_many({"sibling": "a", "cart": "tea"})
        here.put_many({"register": "b"}, lww=True)
        here.increment_many({"shrinks": -3, "typed": 1})
        here.increment("grows", 4, type=DataType.G_COUNTER)
        there.put("cart", "cake")
        there.put("typed", "text")
        nodes.heal()
        nodes.wait_equal()
        keys = ["cart", "nothing", "sibling", "register", "shrinks", "grows", "typed"]
        expected: dict[str, object] = {}
        for key, state in zip(keys, here.batch_get(keys), strict=True):
            if state.visible:
                expected[key] = state.value if isinstance(state, Value) else state
        found = here.get_many(keys)
        assert found == expected
        assert list(found) == ["cart", "sibling", "register", "shrinks", "grows", "typed"]
        cart = found["cart"]
        assert isinstance(cart, Conflict)
        assert {each.node for each in cart.siblings} == {"n1", "n3"}
        here.put("cart", "both", context=cart.context)
        assert here.get_many(["cart"]) == {"cart": b"both"}

        async def likewise() -> dict[str, object]:
            async with AsyncClient(here.endpoints) as client, client.session() as mine:
                return dict(await mine.get_many(keys, consistency="all"))

        assert asyncio.run(likewise()) == {**expected, "cart": b"both"}


def test_values_that_one_answer_cannot_hold_come_in_several(kvnode_cluster: LocalNodes) -> None:
    with kvnode_cluster.client("n1") as db:
        large = {b"large %d" % number: bytes([number]) * MEBIBYTE for number in range(7)}
        for key, value in large.items():
            db.put(key, value)
        many = {b"small %d" % number: b"x" for number in range(20_000)}
        keys = list(many)
        for start in range(0, len(keys), 10_000):
            db.put_many({key: many[key] for key in keys[start : start + 10_000]})
        assert db.get_many([*large, *many]) == {**large, **many}
