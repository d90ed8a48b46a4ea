"""Making lost writes again through an engine that does not take them at once."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from kvnode.core.errors import Reason, Refused
from kvnode.core.operations import Delete, Increment, Put
from kvnode.core.reissue import Again
from kvnode.core.types import LWW_REGISTER
from kvnode.node import reissuing
from kvnode.node.resync import RESYNCING
from kvnode.storage.directory import DataDirectory
from tests.storage.faulty import until
from tests.storage.rig import rig, run

from .nodes import Nodes
from .nodes import run as run_nodes

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


def test_trap_9_what_outdoes_a_lost_write_is_kept_until_that_was_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Trap 9 "tombstone dropped, returning node revives data": the old origin is no member any
    more, so that nothing else holds the tombstone.
    """
    nodes = Nodes(tmp_path, "a", anti_entropy_interval_ms=10, retention_interval_ms=10)
    gate = asyncio.Event()
    really = reissuing.carry_out

    async def gated(*arguments: object) -> object:
        await gate.wait()
        return await really(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(reissuing, "carry_out", gated)

    async def test() -> None:
        await nodes.start("a")
        await nodes.write("a", Put(b"first", b"1"))
        await nodes.write("a", Put(b"r", b"lost", LWW_REGISTER))
        await nodes.stop("a")
        directory = DataDirectory(tmp_path / "a", cluster="default", name="a", now_ms=0)
        directory.mint_anew(forked=True)
        directory.set_aside()
        directory.close()
        await nodes.start("a")
        await nodes.write("a", Put(b"r", b"later", LWW_REGISTER))
        await nodes.write("a", Delete(b"r", LWW_REGISTER))
        node = nodes["a"]
        await node.engine.checkpoints.flush()
        looks = node.replicator.repair.rounds + 5
        await until(lambda: node.replicator.repair.rounds > looks)
        await node.collector.look()
        await node.replicator.retention.sweep()
        assert node.replicator.stable() == {}
        gate.set()
        await until(lambda: not node.directory.identity.aside)
        assert nodes.siblings("a", b"first") == [b"1"]
        await node.engine.checkpoints.flush()
        await until(lambda: not node.read(b"r"))

    run_nodes(nodes, test)
