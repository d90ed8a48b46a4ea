"""Making lost writes again through an engine that does not take them at once."""

from __future__ import annotations

import asyncio

import pytest

from kvnode.core.errors import Reason, Refused
from kvnode.core.operations import Increment
from kvnode.core.reissue import Again
from kvnode.node import reissuing
from kvnode.node.resync import RESYNCING
from tests.storage.rig import rig, run

AGAIN = Again(b"one client's id.", [Increment(b"n", 5)], [(7, 1)])


@pytest.mark.parametrize("refusal", [RESYNCING, Refused(Reason.STOPPING, "stopping")])
def test_a_write_waits_while_the_node_takes_none(
    monkeypatch: pytest.MonkeyPatch, refusal: Refused
) -> None:
    """The one who asks notes it as done: a refusal for now would lose it for good."""
    monkeypatch.setattr(reissuing, "RETRY_AFTER_S", 0.001)

    async def test() -> None:
        node = rig()
        await node.engine.pause(refusal)
        making = asyncio.ensure_future(reissuing.carry_out(node.engine, AGAIN))
        for _ in range(20):
            await asyncio.sleep(0.001)
            assert not making.done()
        node.engine.pausing = None
        accepted = await making
        assert accepted is not None
        assert node.value(b"n") == 5
        await node.engine.close()

    run(test)
