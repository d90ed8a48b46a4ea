"""A node that stands still for a moment does not carry out what its caller has given up."""

from __future__ import annotations

import asyncio

import pytest

from cluster.processes import LocalCluster
from kvnode import AsyncClient, OutcomeUnknown

pytestmark = pytest.mark.cluster

ATTEMPTS = 30


async def given_up(cluster: LocalCluster, client: AsyncClient, key: str) -> OutcomeUnknown | None:
    """A write that was sent to n1, which stands still now; None if it went elsewhere.

    It does where the node had not answered for a while: then it is asked first whether it is there.
    """
    for number in range(20):
        await client.put(key, f"before {number}", lww=True)
    cluster.pause("n1")
    try:
        await client.put(key, "old", lww=True, timeout_s=0.5)
    except OutcomeUnknown as unknown:
        return unknown
    cluster.resume("n1")
    return None


def test_a_write_that_was_given_up_is_not_done_behind_the_one_that_came_after_it(
    cluster: LocalCluster,
) -> None:
    async def test() -> None:
        first, other = cluster.endpoints["n1"], cluster.endpoints["n2"]
        for attempt in range(ATTEMPTS):
            key = f"stalled {attempt}"
            async with AsyncClient([first, other], timeout_s=20.0) as client:
                unknown = await given_up(cluster, client, key)
                if unknown is None:
                    continue
                try:
                    await client.put(key, "new", lww=True)
                finally:
                    cluster.resume("n1")
            async with AsyncClient(first, timeout_s=20.0) as client:
                await client.increment("it goes on")  # behind all that lay in its buffers
                assert await client.outcome(unknown) is None, "carried out when nobody waited"
                state = await client.get(key, consistency="all")
                assert state.register is not None
                assert state.register.value == b"new"
            return
        raise AssertionError("no write was on its way when its node was paused")

    asyncio.run(asyncio.wait_for(test(), 200))
