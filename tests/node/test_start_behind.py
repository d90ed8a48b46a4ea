"""A node that was killed with almost as much in its log as may wait for a checkpoint."""

from __future__ import annotations

from pathlib import Path

import pytest

from kvnode.core.operations import Increment
from kvnode.node.backlog import OVERDUE
from kvnode.node.checkpoints import Checkpoints
from kvnode.node.node import Node
from tests.node.nodes import Nodes, run
from tests.storage.faulty import until

KEYS = 4
"""Of a checkpoint."""
WRITES = round(OVERDUE * KEYS) - 1


def test_it_begins_with_a_checkpoint_and_takes_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was replayed is written without anybody's doing, and no write is refused for it."""

    async def never(_checkpoints: Checkpoints) -> None:
        """As if killed."""

    nodes = Nodes(tmp_path, "a", checkpoint_keys=KEYS, checkpoint_interval_ms=3_600_000)

    async def test() -> None:
        with monkeypatch.context() as patch:
            patch.setattr(Checkpoints, "start", lambda _checkpoints, **_: None)
            patch.setattr(Checkpoints, "finish", never)
            await nodes.start("a")
            for number in range(WRITES):
                await nodes.write("a", Increment(b"%d" % number, 1))
            await nodes.stop("a")

        def unless_begun(node: Node) -> None:
            """No write and no time makes it."""
            monkeypatch.setattr(node.engine.checkpoints, "start_if_due", lambda: None)

        await nodes.start("a", before=unless_begun)
        engine = nodes["a"].engine
        assert engine.replayed == WRITES
        await until(lambda: engine.checkpoints.made == 1)
        await nodes.write("a", Increment(b"0", 1))
        assert nodes.counter("a", b"0") == 2

    run(nodes, test)
