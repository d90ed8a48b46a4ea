"""A node's process that is ended while it is being started."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import pytest

from cluster.node_process import Life, NodeProcess
from cluster.tied import tied

SLEEPER = (sys.executable, "-I", "-S", "-c", "import time; time.sleep(1000)")


@pytest.mark.parametrize("turns", range(8))
def test_nothing_is_left_of_a_start_that_is_ended_half_way(turns: int, tmp_path: Path) -> None:
    """As the supervisor ends: whatever is not done is cancelled by ``asyncio.run``."""
    node = NodeProcess("n1", 0, SLEEPER, tmp_path / "log", tmp_path / "data")

    async def begin_and_end() -> None:
        start = asyncio.create_task(node.start(60))
        for _ in range(1 + turns):
            await asyncio.sleep(0)
        assert not start.done()
        await node.kill()

    asyncio.run(begin_and_end())
    assert (node.life, node.pid) == (Life.KILLED, None)


def test_a_process_ends_with_the_one_that_it_is_tied_to(tmp_path: Path) -> None:
    """Also if that was gone before."""
    said = tmp_path / "said"
    command = tied([sys.executable, "-c", f"open({str(said)!r}, 'w')"])
    command[4] = str(os.getppid())  # another one, which runs
    assert os.spawnv(os.P_WAIT, command[0], command) == 1
    assert not said.exists()
