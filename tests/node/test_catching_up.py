"""Nodes that catch up by a snapshot, because no log holds what they lack."""

from __future__ import annotations

from pathlib import Path

from kvnode.core.operations import Delete, Increment, Put
from kvnode.core.types import LWW_REGISTER

from .nodes import Nodes, run


async def part(nodes: Nodes) -> None:
    """All three know each other; then c is cut off, the others go on and cut their logs."""
    await nodes.start("a", "b", "c")
    await nodes.write("a", Increment(b"count", 1), Put(b"gone", b"x"), Put(b"both", b"0"))
    await nodes.write("b", Put(b"register", b"old", LWW_REGISTER), Put(b"dropped", b"x"))
    await nodes.write("c", Increment(b"count", 10), Put(b"kept", b"c"))
    await nodes.settle("a", "b", "c")
    await nodes.stop("a", "b")
    await nodes.write("c", Increment(b"count", 100), Put(b"both", b"c"), Delete(b"dropped"))
    await nodes.stop("c")
    await nodes.start("a", "b")
    for number in range(50):
        await nodes.write("a", Increment(b"count", 1_000), Put(b"a%d" % number, b"a"))
    await nodes.write("b", Delete(b"gone"), Put(b"both", b"b"), Put(b"dropped", b"again"))
    await nodes.write("b", Put(b"register", b"new", LWW_REGISTER))
    await nodes.settle("a", "b")
    await nodes.forget_log("a", "b")
    await nodes.stop("a", "b")  # their push buffers hold what the log does not
    await nodes.start("a", "b")


def test_a_node_below_every_floor_catches_up_and_keeps_its_own_writes(tmp_path: Path) -> None:
    """Trap 12: the log it needs was cut. Counters are exact, what was deleted on either side stays
    deleted, what was written on either side stays, and its own writes reach the others.
    """
    nodes = Nodes(tmp_path)

    async def test() -> None:
        await part(nodes)
        await nodes.start("c")
        await nodes.write("c", Increment(b"count", 100_000))
        await nodes.settle("a", "b", "c")
        assert nodes["c"].engine.log.floor, "no snapshot was needed"
        assert nodes.counter("a", b"count") == 150_111
        assert nodes.siblings("c", b"both") == [b"b", b"c"]
        assert nodes.siblings("a", b"dropped") == [b"again"]
        assert not nodes.siblings("c", b"gone")
        assert nodes.siblings("b", b"kept") == [b"c"]
        assert nodes.siblings("c", b"a49") == [b"a"]
        await nodes.write("c", Increment(b"count", 1_000_000), Put(b"later", b"c"))
        await nodes.write("a", Increment(b"count", 1_000_000))
        await nodes.settle("a", "b", "c")
        assert nodes.counter("b", b"count") == 2_150_111
        await nodes.stop("c")
        await nodes.start("c")
        assert nodes.counter("c", b"count") == 2_150_111
        await nodes.settle("a", "b", "c")

    run(nodes, test)
