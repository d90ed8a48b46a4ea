"""The last record of the log's tail is damaged after a kill: it looks as if nobody was told."""

from __future__ import annotations

from pathlib import Path

from kvnode.core.operations import Put
from kvnode.node.node import Reborn
from kvnode.storage.tail import HEAD, PAGE_BYTES
from tests.storage.faulty import until

from .nodes import Nodes, run

FILES = ("log/data.mdb", "log/tail", "state/data.mdb")


def test_a_write_whose_record_is_damaged_comes_back_from_a_peer(tmp_path: Path) -> None:
    """The node knows less of itself than the peer does, and must not go on under its origin."""
    nodes = Nodes(tmp_path, "ab")
    folder = tmp_path / "b" / "v1"

    async def test() -> None:
        await nodes.start("a", "b")
        await nodes.write("b", Put(b"k", b"first"))
        await nodes.write("b", Put(b"k", b"last"))
        await nodes.settle("a", "b")
        origin = nodes["b"].directory.identity.origin
        seq = nodes["b"].vector[int(origin, 16)]
        entries = nodes.entries("a")
        killed = {name: (folder / name).read_bytes() for name in FILES}
        await nodes.stop("b")
        for name, raw in killed.items():
            (folder / name).write_bytes(raw)
        tail = bytearray(killed["log/tail"])
        last = max(
            at
            for at in range(0, len(tail), PAGE_BYTES)
            if any(tail[at : at + HEAD.size]) and b"last" in tail[at : at + PAGE_BYTES]
        )
        tail[last + HEAD.size + 20] ^= 1
        (folder / "log" / "tail").write_bytes(tail)
        await nodes.start("b", before=lambda node: found.append(dict(node.vector)))
        await until(lambda: isinstance(nodes["b"].failure, Reborn))
        await nodes.stop("b")
        await nodes.start("b")
        assert nodes["b"].directory.identity.origin != origin
        await until(lambda: nodes["b"].membership.place == "serving")
        await nodes.settle("a", "b")
        assert found[0].get(int(origin, 16), 0) < seq, "it was not damaged"
        assert nodes.entries("b") == entries

    found: list[dict[int, int]] = []
    run(nodes, test)
