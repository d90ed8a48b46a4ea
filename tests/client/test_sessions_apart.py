"""A session that no node can serve holds up no other caller."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest

from kvnode import AsyncClient, Behind, Client
from kvnode.client.lanes import LANES_MAX
from kvnode.client.sessions import VERSION, leb128
from kvnode.testing import LocalNodes
from tests.client.scripted import ScriptedNode


def token(origin: int, seq: int = 1) -> bytes:
    """Of a session that has seen this."""
    return VERSION + origin.to_bytes(8, "big") + leb128(seq)


LOST = token(1, 1 << 40)
"""It has seen what no node has: that is lost, or somebody made the token up."""


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """Of one node."""
    with LocalNodes(1) as nodes:
        yield nodes.endpoints["n1"]


def test_callers_on_threads_do_not_wait_for_it(address: str) -> None:
    with Client(address, timeout_s=2) as db, ThreadPoolExecutor(12) as pool:
        db.put("k", "v")
        well = [db.session() for _ in range(4)]
        ill = [db.session(LOST) for _ in range(3)]
        for session in well:
            session.get("k")
        stuck: list[Future[Any]] = [pool.submit(session.get, "k") for session in ill]
        stuck.extend(pool.submit(session.put, "k", "v") for session in ill)
        for session in well:
            assert session.get("k", timeout_s=1).text == "v"  # type: ignore[union-attr]
            session.put("k", "v", timeout_s=1)
        assert not any(future.done() for future in stuck)
        for future in stuck:
            with pytest.raises(Behind):
                future.result()


def test_callers_on_a_loop_do_not_wait_for_it(address: str) -> None:
    async def work() -> None:
        async with AsyncClient(address, timeout_s=2) as db:
            await db.put("k", "v")
            well = [db.session() for _ in range(4)]
            ill = db.session(LOST)
            await asyncio.gather(*(session.get("k") for session in well))
            for call in ("get", "delete"):
                stuck = asyncio.create_task(getattr(ill, call)("k"))
                done = await asyncio.gather(
                    *(getattr(session, call)("k", timeout_s=1) for session in well)
                )
                assert len(done) == 4
                assert not stuck.done()
                with pytest.raises(Behind):
                    await stuck
                await db.put("k", "v")

    asyncio.run(work())


def test_sessions_at_one_node_share_their_calls(node: ScriptedNode) -> None:
    """Apart are only those of which it is not certain that the node has all."""

    async def work() -> None:
        async with AsyncClient(node.address) as db:
            sessions = [db.session() for _ in range(10)]
            for session in sessions:
                await session.put("k", "v")  # from here on it has seen something
            await sessions[0].put("k", "v")  # the node has that
            calls = len(node.calls)
            await asyncio.gather(*(session.put("k", "v") for session in sessions))
            assert len(node.calls) == calls + 1

    asyncio.run(work())


def test_lanes_of_sessions_that_have_gone_are_dropped(node: ScriptedNode) -> None:
    with Client(node.address) as db:
        for origin in range(1, 2 * LANES_MAX):
            db.session(token(origin)).get("k")
        assert len(db._driver._lanes) <= LANES_MAX  # noqa: SLF001 - nothing else shows it

    async def work() -> None:
        async with AsyncClient(node.address) as adb:
            for origin in range(1, 2 * LANES_MAX):
                await adb.session(token(origin)).get("k")
            assert len(adb._driver._lanes) <= LANES_MAX  # noqa: SLF001

    asyncio.run(work())
