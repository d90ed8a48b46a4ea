"""A node that was killed with more in its log than may wait for a checkpoint."""

from __future__ import annotations

from pathlib import Path

import pytest

from kvnode.core.operations import Increment
from kvnode.node.checkpoints import OVERDUE_FACTOR, Checkpoints
from tests.node.nodes import Nodes, run

KEYS = 4
"""Of a checkpoint."""


def test_it_takes_writes_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What waits goes to a checkpoint before the first of them, and none is refused."""

    async def never(_checkpoints: Checkpoints) -> None:
        """As if killed."""

    nodes = Nodes(tmp_path, "a", checkpoint_keys=KEYS, checkpoint_interval_ms=3_600_000)

    async def test() -> None:
        with monkeypatch.context() as patch:
            patch.setattr(Checkpoints, "start", lambda _checkpoints, **_: None)
            patch.setattr(Checkpoints, "finish", never)
            await nodes.start("a")
            for number in range(OVERDUE_FACTOR * KEYS + 1):
                await nodes.write("a", Increment(b"%d" % number, 1))
            await nodes.stop("a")
        await nodes.start("a")
        assert nodes["a"].engine.replayed == OVERDUE_FACTOR * KEYS + 1
        await nodes.write("a", Increment(b"0", 1))
        assert nodes.counter("a", b"0") == 2

    run(nodes, test)
