"""A damaged block that a start has to replay: it is said what is damaged, and what to do."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from kvnode.cli.commands import run
from kvnode.config import Config
from kvnode.core.operations import Put
from kvnode.node.node import Node
from kvnode.storage.directory import DataDirectory
from kvnode.storage.interfaces import StorageError
from tests.core.memory_node import MemoryNode
from tests.storage.stores import abandon

OTHER = 77


def crashed(path: Path, *, waiting: bool = False) -> int:
    """A directory with three own blocks and a received one behind its state; the origin.

    Args:
        waiting: in the log's tail, as the blocks before a kill do.
    """
    directory = DataDirectory(path, cluster="default", name="n", now_ms=1)
    node, other = MemoryNode(directory.identity.origin_id), MemoryNode(OTHER)
    for value in (b"first of the node", b"second of the node", b"third of the node"):
        node.write(Put(b"k", value, blind=True))
        directory.log.append([node.last_block])
    other.write(Put(b"received", b"what another wrote"))
    directory.log.append([other.last_block])
    if waiting:
        kill(directory)
    else:
        directory.close()
    return node.origin


def kill(directory: DataDirectory) -> None:
    """Close its files and do nothing else."""
    abandon(directory.log)
    directory.state.close()
    os.close(directory._lock)  # noqa: SLF001


def rot(path: Path, value: bytes, before: bytes = b"", name: str = "data.mdb") -> None:
    """Flip a bit of each copy of the value, or of what is last ``before`` it."""
    file = path / "v1" / "log" / name
    raw = bytearray(file.read_bytes())
    found = raw.find(value)
    assert found > 0
    while found > 0:
        raw[raw.rfind(before, 0, found) if before else found] ^= 0x20
        found = raw.find(value, found + 1)
    file.write_bytes(raw)


def start(path: Path) -> str:
    """Why it does not start."""
    with pytest.raises(StorageError) as refused:
        Node(Config(name="n", data=str(path)))
    return str(refused.value)


def test_the_start_says_which_own_writes_are_damaged_and_the_rest_can_be_saved(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    origin = crashed(tmp_path)
    rot(tmp_path, b"second of the node")
    said = start(tmp_path)
    assert (
        f"block 2 of the log fails its checksum (this node's own writes up to {origin:016x}:2)"
        in (said)
    )
    assert "kvnode export" in said
    assert "kvnode replace" in said
    assert start(tmp_path) == said, "nothing was changed"
    assert run(["export", str(tmp_path)]) == 0
    out, err = capfd.readouterr()
    found = [json.loads(line) for line in out.splitlines()]
    assert [line["dot"] for line in found] == [f"{origin:016x}:1", f"{origin:016x}:3"]
    assert "block 2 fails its checksum" in err


def test_the_start_says_that_a_received_block_is_damaged(tmp_path: Path) -> None:
    crashed(tmp_path)
    rot(tmp_path, b"what another wrote")
    assert (
        f"block 4 of the log fails its checksum (writes of another node up to {OTHER:016x}:1)"
        in (start(tmp_path))
    )


def test_a_block_whose_head_is_damaged_is_not_attributed_to_anybody(tmp_path: Path) -> None:
    origin = crashed(tmp_path)
    rot(tmp_path, b"second of the node", before=origin.to_bytes(8, "big"))
    assert "block 2 of the log fails its checksum (whose writes it holds cannot" in start(tmp_path)


def test_the_rest_can_be_saved_of_what_waits_in_the_tail(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    origin = crashed(tmp_path, waiting=True)
    rot(tmp_path, b"second of the node", name="tail")
    said = start(tmp_path)
    assert "block 2" in said
    assert "kvnode export" in said
    with pytest.raises(StorageError, match="kvnode export"):  # whatever its state covers
        DataDirectory(tmp_path, cluster="default", name="n", now_ms=1)
    assert run(["export", str(tmp_path)]) == 0
    out, err = capfd.readouterr()
    found = [json.loads(line) for line in out.splitlines()]
    assert [line["dot"] for line in found] == [f"{origin:016x}:1", f"{origin:016x}:3"]
    assert "block 2" in err


def test_a_damaged_tail_does_not_hide_what_is_in_lmdb(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    origin = crashed(tmp_path)
    directory = DataDirectory(tmp_path, cluster="default", name="n", now_ms=1)
    other = MemoryNode(OTHER + 1)
    for value in (b"one", b"two"):
        other.write(Put(b"received", value))
        directory.log.append([other.last_block])
    kill(directory)
    rot(tmp_path, b"one", name="tail")
    assert run(["export", str(tmp_path)]) == 0
    found = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    assert [line["dot"] for line in found] == [f"{origin:016x}:{seq}" for seq in (1, 2, 3)]


def test_a_start_that_is_refused_changes_nothing(tmp_path: Path) -> None:
    """What is known to be damaged is not written to."""
    crashed(tmp_path)
    rot(tmp_path, b"second of the node")
    directory = DataDirectory(tmp_path, cluster="default", name="n", now_ms=1)
    other = MemoryNode(OTHER + 1)
    other.write(Put(b"received", b"and waits"))
    directory.log.append([other.last_block])
    kill(directory)
    log = tmp_path / "v1" / "log"
    before = {name: (log / name).read_bytes() for name in ("data.mdb", "tail")}
    start(tmp_path)
    assert {name: (log / name).read_bytes() for name in before} == before
