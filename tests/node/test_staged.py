"""What is staged of a snapshot that a node turned out not to need."""

from __future__ import annotations

from pathlib import Path
from time import monotonic

import pytest

from kvnode.core.operations import Put
from kvnode.core.snapshot import Section, make_chunk
from kvnode.core.types import LWW_REGISTER
from kvnode.storage.incoming import Incoming, Source
from kvnode.storage.interfaces import DiskFullError
from tests.storage.faulty import until

from .nodes import Nodes, run

NOBODY = 12345


def stage(incoming: Incoming, sender: int) -> None:
    """The beginning of a snapshot; the link broke then."""
    incoming.begin(Source(sender, b"x" * 16, 10, 1000))
    incoming.add(make_chunk(Section.META, [b"key", b"row"]), last=False)


def test_what_was_staged_goes_when_the_node_has_caught_up_otherwise(tmp_path: Path) -> None:
    """Another member's log had it all after all: a part of a snapshot would lie on the disk, as
    large as the whole state maybe, until the next snapshot.
    """
    nodes = Nodes(tmp_path, "ab")

    async def test() -> None:
        await nodes.start(*"ab")
        await nodes.write("a", Put(b"k", b"1", LWW_REGISTER))
        await nodes.settle(*"ab")
        staged = nodes["b"].resync.incoming
        stage(staged, nodes["a"].replicator.origin)
        await until(lambda: staged.source is None)
        assert not (tmp_path / "b" / "v1" / "incoming").exists()

    run(nodes, test)


def test_what_was_staged_of_a_node_that_is_no_member_goes(tmp_path: Path) -> None:
    nodes = Nodes(tmp_path, "ab")

    async def test() -> None:
        await nodes.start(*"ab")
        await nodes.write("a", Put(b"k", b"1", LWW_REGISTER))
        await nodes.settle(*"ab")
        staged = nodes["b"].resync.incoming
        stage(staged, NOBODY)
        await until(lambda: staged.source is None)

    run(nodes, test)


def test_who_has_no_room_for_a_snapshot_asks_less_and_less_often(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For each attempt the sender copies its whole state."""
    nodes = Nodes(tmp_path, "ab", snapshot_retry_s=1)
    tried_s: list[float] = []

    def no_room(*_: object) -> None:
        tried_s.append(monotonic())
        raise DiskFullError("no room")

    async def test() -> None:
        await nodes.start(*"ab")
        await nodes.stop("b")
        await nodes.write("a", Put(b"k", b"1", LWW_REGISTER))
        await nodes.forget_log("a")
        nodes["a"].engine.push_buffer.drop(10**9)
        monkeypatch.setattr(Incoming, "begin", no_room)
        await nodes.start("b")
        await until(lambda: len(tried_s) == 3)
        assert tried_s[2] - tried_s[1] >= 2
        monkeypatch.undo()
        await nodes.settle(*"ab")

    run(nodes, test)
