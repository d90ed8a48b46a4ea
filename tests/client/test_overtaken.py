"""Writes of one key that share a call, and that one node takes only in part."""

from __future__ import annotations

import asyncio

import pytest
from grpc import StatusCode

from kvnode import AsyncClient, FailedPrecondition
from tests.client.scripted import ScriptedNode, outcomes, scripted_node
from tests.client.test_lanes import DONE, OUTCOME, status

CLOCK_OFF = OUTCOME(error=status(StatusCode.FAILED_PRECONDITION, "CLOCK_OFF"))


def test_a_write_is_not_done_elsewhere_behind_the_one_that_came_after_it(
    node: ScriptedNode,
) -> None:
    """One with a deadline is refused where the clock is off, the next one of the key is taken."""

    async def main(*keys: str) -> list[object]:
        async with AsyncClient([node.address, other.address]) as client:
            writes = [client.put(key, key) for key in keys]
            return await asyncio.gather(*writes, return_exceptions=True)

    with scripted_node() as other:
        node.script = [outcomes(CLOCK_OFF, CLOCK_OFF, DONE)]
        first, another, last = asyncio.run(main("k", "other", "k"))
        with pytest.raises(FailedPrecondition):
            raise first  # type: ignore[misc]
        assert not isinstance(another, BaseException)
        assert not isinstance(last, BaseException)
        assert [each.put.key for each in other.operations] == [b"other"]
