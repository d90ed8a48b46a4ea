"""What keeps lost writes from being made again is waited for, or remembered; never forgotten."""

from __future__ import annotations

import asyncio
import errno
import shutil
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from kvnode.core.entry import Entry
from kvnode.core.errors import StateError
from kvnode.core.operations import Increment, Operation, Put
from kvnode.core.replica import Request
from kvnode.core.types import LWW_REGISTER
from kvnode.core.types.slots import INT64_MAX
from kvnode.node import node as node_module
from kvnode.node import reissuing
from kvnode.node.membership import Membership
from kvnode.node.node import Node, Reborn
from kvnode.storage.directory import DataDirectory
from kvnode.storage.interfaces import StorageError
from kvnode.storage.own_log import OwnLog
from kvnode.storage.state import LmdbState
from tests.core.memory_node import MemoryNode
from tests.storage.faulty import until

from .nodes import Nodes
from .nodes import run as run_nodes


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waits are short."""
    for name in ("RETRY_AFTER_S", "READ_RETRY_MAX_S", "DELETED_LOOK_S"):
        monkeypatch.setattr(reissuing, name, 0.001)
    monkeypatch.setattr(node_module, "RETRY_AFTER_S", 0.001)


def one(tmp_path: Path, test: Callable[[Nodes], Awaitable[None]]) -> None:
    nodes = Nodes(tmp_path, "a")
    run_nodes(nodes, lambda: test(nodes))


def opened(tmp_path: Path) -> DataDirectory:
    return DataDirectory(tmp_path / "a", cluster="default", name="a", now_ms=0)


async def lose(nodes: Nodes, path: Path, *requests: Sequence[Operation], cut: int = 0) -> int:
    """Have a node write what is set aside then; the origin it wrote under."""
    await nodes.start("a")
    await nodes["a"].membership.wait_serving()
    for number, operations in enumerate(requests):
        await nodes["a"].enqueue(Request(operations, b"%016d" % number), 100)
    origin = nodes["a"].directory.identity.origin_id
    await nodes.stop("a")
    directory = opened(path)
    if cut:
        directory.log.cut(cut)
    directory.mint_anew(forked=True)
    directory.set_aside()
    directory.close()
    return origin


def problem(node: Node) -> str:
    return node.status().problem


def held_up(node: Node) -> str:
    return node.collection_status().held_up


def test_a_directory_that_cannot_be_read_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = True

    def reading(folder: Path) -> OwnLog:
        if broken:
            raise StorageError("Input/output error")
        return OwnLog(folder)

    monkeypatch.setattr(reissuing, "OwnLog", reading)

    async def test(nodes: Nodes) -> None:
        nonlocal broken
        await lose(nodes, tmp_path, [Increment(b"n", 5)])
        await nodes.start("a")
        node = nodes["a"]
        await until(lambda: "Input/output error" in problem(node))
        assert f"kvnode export {tmp_path / 'a' / 'aside-1'}" in problem(node)
        assert "aside-1" in held_up(node)
        assert "Input/output error" in held_up(node)
        assert node.directory.identity.aside == ("aside-1",)
        broken = False
        await until(lambda: not node.directory.identity.aside)
        assert nodes.counter("a", b"n") == 5
        await until(lambda: not problem(node) and not held_up(node))
        assert node.directory.identity.left == ()

    one(tmp_path, test)


def test_a_history_of_which_the_fork_has_left_the_log_is_remembered(tmp_path: Path) -> None:
    async def test(nodes: Nodes) -> None:
        origin = await lose(nodes, tmp_path, [Put(b"k", b"1")], [Put(b"k", b"2")], cut=1)
        won = MemoryNode(origin)
        won.write(Put(b"won", b"v"))
        directory = opened(tmp_path)
        directory.log.append([won.last_block])
        directory.close()
        for _ in range(2):  # it is remembered
            await nodes.start("a")
            node = nodes["a"]
            await until(lambda: "has left the log" in problem(nodes["a"]))
            assert f"kvnode export {tmp_path / 'a' / 'aside-1'}" in problem(node)
            await until(lambda: not held_up(nodes["a"]))
            assert [name for name, _ in node.directory.identity.left] == ["aside-1"]
            await nodes.stop("a")
        await nodes.start("a")
        shutil.rmtree(tmp_path / "a" / "aside-1")
        await until(lambda: not problem(nodes["a"]))
        assert nodes["a"].directory.identity.left == ()

    one(tmp_path, test)


@pytest.mark.parametrize("lost", [Put(b"bad", b"v", LWW_REGISTER), Increment(b"bad", 5)])
def test_a_damaged_key_is_waited_for_until_it_is_repaired(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lost: Operation
) -> None:
    """It stopped the node, at every start, or lost the write."""
    rotten: set[bytes] = set()
    really = LmdbState.get

    def get(state: LmdbState, key: bytes) -> Entry | None:
        if key in rotten:
            raise StateError(f"{key!r}: entry fails its checksum")
        return really(state, key)

    monkeypatch.setattr(LmdbState, "get", get)

    async def test(nodes: Nodes) -> None:
        await lose(nodes, tmp_path, [Put(b"first", b"1")], [lost], [Put(b"last", b"3")])
        rotten.add(b"bad")
        for _ in range(2):
            await nodes.start("a")
            await until(lambda: "entry fails its checksum" in problem(nodes["a"]))
            assert "kvnode repair" in problem(nodes["a"])
            assert "kvnode repair" in held_up(nodes["a"])
            assert nodes.siblings("a", b"first") == [b"1"]
            assert nodes.siblings("a", b"last") == [], "it may have seen what waits"
            await nodes.write("a", Put(b"other", b"v"))
            await nodes.stop("a")
        await nodes.start("a")
        node = nodes["a"]
        await until(lambda: "kvnode repair" in problem(node))
        rotten.clear()
        await until(lambda: not node.directory.identity.aside)
        assert node.read(b"bad")
        assert nodes.siblings("a", b"last") == [b"3"]
        assert problem(node) == ""
        assert node.failure is None

    one(tmp_path, test)


def test_an_increment_beyond_64_bits_is_remembered_and_the_rest_of_its_batch_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    gate = asyncio.Event()
    really = reissuing.carry_out

    async def gated(*arguments: Any) -> Any:
        await gate.wait()
        return await really(*arguments)

    monkeypatch.setattr(reissuing, "carry_out", gated)

    async def test(nodes: Nodes) -> None:
        batch: list[Operation] = [Put(b"k", b"v"), Increment(b"n", 5), Increment(b"m", 7)]
        await lose(nodes, tmp_path, batch, [Increment(b"n", 1)])
        await nodes.start("a")
        await nodes.write("a", Increment(b"n", INT64_MAX - 1))
        gate.set()
        await until(lambda: not nodes["a"].directory.identity.aside)
        assert nodes.siblings("a", b"k") == [b"v"]
        assert nodes.counter("a", b"m") == 7
        assert nodes.counter("a", b"n") == INT64_MAX, "the second one has room"
        assert "'n' +5" in caplog.text
        for _ in range(2):
            assert "1 operations that are refused now ('n' +5)" in problem(nodes["a"])
            assert f"kvnode export {tmp_path / 'a' / 'aside-1'}" in problem(nodes["a"])
            await until(lambda: not held_up(nodes["a"]))
            await nodes.stop("a")
            await nodes.start("a")

    one(tmp_path, test)


def test_what_was_left_out_before_a_crash_is_left_out_after_it(tmp_path: Path) -> None:
    """Whether there is room by then or not: its request may be done, and is not done otherwise."""

    async def test(nodes: Nodes) -> None:
        origin = await lose(nodes, tmp_path, [Put(b"k", b"v"), Increment(b"n", 5)])
        directory = opened(tmp_path)
        directory.log.put_record(b"not reissued aside-1 %016x:2" % origin, b"'n' +5")
        directory.close()
        await nodes.start("a")
        await until(lambda: not nodes["a"].directory.identity.aside)
        assert (nodes.siblings("a", b"k"), nodes.counter("a", b"n")) == ([b"v"], 0)
        assert "'n' +5" in problem(nodes["a"])

    one(tmp_path, test)


def test_a_new_identity_that_cannot_be_written_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing else would: once the identity is lost, nobody says so again."""
    really, full = DataDirectory.mint_anew, False

    def mint(directory: DataDirectory, **facts: Any) -> None:
        if full:
            raise OSError(errno.ENOSPC, "No space left on device")
        really(directory, **facts)

    monkeypatch.setattr(DataDirectory, "mint_anew", mint)

    async def test(nodes: Nodes) -> None:
        nonlocal full
        await nodes.start("a")
        node = nodes["a"]
        await node.membership.wait_serving()
        full, old = True, node.directory.identity.origin
        node.replicator.on_identity_lost("somebody else wrote")
        await until(lambda: "No space left on device" in problem(node))
        assert node.failure is None
        assert node.membership.refusal() is not None
        full = False
        await node.wait_failed()
        assert isinstance(node.failure, Reborn)
        assert node.directory.identity.retired == (old,)

    one(tmp_path, test)


def test_nothing_is_stable_from_the_first_moment_of_a_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Telling a new address came before, and what runs beside could collect meanwhile."""
    makes_again: list[bool] = []

    async def introduced(membership: Membership, _address: str) -> None:
        makes_again.append(membership.makes_again)

    def unreadable(_: Path) -> OwnLog:
        raise StorageError("Input/output error")

    monkeypatch.setattr(reissuing, "OwnLog", unreadable)

    async def test(nodes: Nodes) -> None:
        await lose(nodes, tmp_path, [Increment(b"n", 5)])
        await nodes.start("a")
        await nodes["a"].membership.wait_serving()
        await nodes.stop("a")
        monkeypatch.setattr(Membership, "introduce_as", introduced)
        await nodes.start("a")
        assert makes_again == [True]

    one(tmp_path, test)
