"""Nodes that compare themselves without being asked."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncGenerator
from pathlib import Path

import grpc
import pytest

from kvnode.core.operations import Put
from kvnode.core.types import LWW_REGISTER
from kvnode.node.admission import Admission
from kvnode.v1 import verify_pb2 as pb
from kvnode.v1.verify_pb2_grpc import VerificationStub
from tests.node.nodes import Nodes, run
from tests.storage.faulty import until


def test_a_peer_that_was_equal_and_is_not_any_more_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is written meanwhile: neither this node's state nor the vectors say that it moved."""
    nodes = Nodes(tmp_path, "ab", compare_interval_ms=20)
    asked: list[pb.CompareRequest] = []

    async def test() -> None:
        await nodes.start(*"ab")
        await nodes.write("a", Put(b"k", b"1", LWW_REGISTER))
        await nodes.settle(*"ab")
        watcher, answers = nodes["a"].verification, nodes["b"].verification.compare

        async def compare(request: pb.CompareRequest) -> pb.CompareReply:
            asked.append(request)
            return await answers(request)

        monkeypatch.setattr(nodes["b"].verification, "compare", compare)
        await until(lambda: len(asked) > 1)
        assert not watcher.diverged
        nodes["b"].engine.memtable.install({b"k": {}}, 0)  # lost
        await until(lambda: watcher.diverged.keys() == {"b"})
        assert "other data than b" in watcher.problem()

    run(nodes, test)


def test_a_peer_that_differed_and_was_forgotten_is_named_no_more(tmp_path: Path) -> None:
    """Nobody can compare with it again: the status would tell of it until the next restart."""
    nodes = Nodes(tmp_path, "ab", compare_interval_ms=20)

    async def test() -> None:
        await nodes.start(*"ab")
        await nodes.write("a", Put(b"k", b"1", LWW_REGISTER))
        await nodes.settle(*"ab")
        nodes["b"].engine.memtable.install({b"k": {}}, 0)  # lost
        watcher = nodes["a"].verification
        await until(lambda: watcher.diverged.keys() == {"b"})
        await nodes.stop("b")
        await Admission(nodes["a"].replicator).forget("b", preview=False)
        await until(lambda: not watcher.problem())

    run(nodes, test)


def test_who_interrupts_a_full_comparison_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """While a member that is stopped is waited for: no task runs on, and none is told as lost."""
    nodes = Nodes(tmp_path, "ab")

    async def test() -> None:
        await nodes.start(*"ab")
        peers = nodes["a"].replicator.peers
        await until(lambda: peers["b"].state == "connected" and peers["b"].origin != 0)
        asked, left = asyncio.Event(), asyncio.Event()

        async def stopped() -> AsyncGenerator[pb.CheckReply]:
            asked.set()
            try:
                await asyncio.Event().wait()
                yield pb.CheckReply()
            finally:
                left.set()

        monkeypatch.setattr(nodes["b"].verification, "check", stopped)
        async with grpc.aio.insecure_channel(f"127.0.0.1:{nodes['a'].port}") as channel:
            call = VerificationStub(channel).Verify(pb.VerifyRequest(full=True))  # type: ignore[no-untyped-call]
            assert (await call.read()).progress.startswith("this node has read")
            await asked.wait()
            call.cancel()
        async with asyncio.timeout(10):
            await left.wait()
        gc.collect()
        await asyncio.sleep(0)  # what is collected is told a step later

    run(nodes, test)
    assert [record.getMessage() for record in caplog.records if record.name == "asyncio"] == []
