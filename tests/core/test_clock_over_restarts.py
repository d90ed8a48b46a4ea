"""Trap 8: a wall clock that goes back while a node is down."""

from __future__ import annotations

import pytest

from kvnode.core.operations import Put
from kvnode.core.types import LWW_REGISTER

from .memory_node import WALL_MS, MemoryNode

HOUR_MS = 3_600_000


@pytest.mark.parametrize("where", ["checkpoint", "log", "received"])
def test_trap_8_a_write_after_a_restart_beats_what_was_seen_before_it(where: str) -> None:
    """Trap 8 "clock backwards over a restart": the clock comes from the checkpoint or the log."""
    node, other = MemoryNode(1), MemoryNode(2)
    writer = other if where == "received" else node
    writer.write(Put(b"k", b"before", LWW_REGISTER), wall_ms=WALL_MS)
    if where == "received":
        node.pull(other)
    if where == "checkpoint":
        node.checkpoint()
    node.restart()
    node.write(Put(b"k", b"after", LWW_REGISTER), wall_ms=WALL_MS - HOUR_MS)
    other.pull(node)
    for each in (node, other):
        assert each.entry(b"k")[LWW_REGISTER][3] == b"after"
