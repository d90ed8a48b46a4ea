"""The data directory: one process, one owner, and what is foreign or damaged stays untouched."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from kvnode.config import Config
from kvnode.core.operations import Put
from kvnode.core.replica import Durable
from kvnode.core.requests import RequestWindow
from kvnode.node.engine import Engine
from kvnode.storage.directory import DataDirectory
from kvnode.storage.interfaces import Checkpoint, StorageError
from tests.core.memory_node import MemoryNode

OPEN_ELSEWHERE = """
import sys
from pathlib import Path
from kvnode.storage.directory import DataDirectory
DataDirectory(Path(sys.argv[1]), cluster="c", name="n", now_ms=1)
print("open", flush=True)
sys.stdin.read()
"""


def opened(path: Path, cluster: str = "c", name: str = "n") -> DataDirectory:
    return DataDirectory(path, cluster=cluster, name=name, now_ms=1)


def made(path: Path) -> Path:
    """A directory with a block and a checkpoint in it, closed."""
    directory = opened(path)
    node = MemoryNode(directory.identity.origin_id)
    node.write(Put(b"k", b"v"))
    directory.log.append([node.last_block])
    durable = Durable(RequestWindow(1), node.vector, dict(node.replica.durable.chains))
    directory.state.save(Checkpoint(1, durable, {}, {b"k": node.entry(b"k")}, []))
    directory.close()
    return path


def contents(path: Path) -> dict[str, bytes]:
    """Every file below; the lock files are not data."""
    return {
        str(file.relative_to(path)): file.read_bytes()
        for file in sorted(path.rglob("*"))
        if file.is_file() and file.name not in ("LOCK", "lock.mdb")
    }


def assert_refused(path: Path, match: str, cluster: str = "c", name: str = "n") -> None:
    """Refused with one plain line, nothing changed, and the lock is free again."""
    before = contents(path)
    with pytest.raises(StorageError, match=match) as refusal:
        opened(path, cluster, name)
    assert "\n" not in str(refusal.value)
    assert str(path) in str(refusal.value)
    assert contents(path) == before


def test_a_new_directory_gets_an_identity_and_keeps_it(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "below"
    first = opened(path)
    identity = first.identity
    first.close()
    again = opened(path)
    assert again.identity == identity
    assert 0 < identity.origin_id < 2**64
    assert (identity.cluster, identity.name, identity.created_ms) == ("c", "n", 1)
    again.close()
    other = opened(tmp_path / "other")
    assert other.identity.origin_id != identity.origin_id
    other.close()


def test_what_was_written_is_there_after_reopening(tmp_path: Path) -> None:
    directory = opened(made(tmp_path))
    assert directory.log.last_arrival == 1
    assert directory.state.get(b"k") is not None
    directory.close()


def test_a_second_opener_in_the_same_process_is_refused(tmp_path: Path) -> None:
    directory = opened(tmp_path)
    with pytest.raises(StorageError, match="in use by another kvnode"):
        opened(tmp_path)
    directory.close()
    opened(tmp_path).close()


def test_a_second_process_is_refused_while_the_first_lives(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", OPEN_ELSEWHERE, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "open\n"
        with pytest.raises(StorageError, match=f"process {holder.pid}"):
            opened(tmp_path)
        holder.kill()
        holder.wait(60)
        opened(tmp_path).close()  # a crash frees the lock by itself


def test_a_foreign_directory_is_refused_and_untouched(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    (tmp_path / "sub").mkdir()
    assert_refused(tmp_path, "not a kvnode data directory")
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["sub", "thesis.txt"]


def test_a_foreign_folder_called_new_is_not_deleted(tmp_path: Path) -> None:
    """``new`` is what a crash while making a directory leaves; then there is a LOCK beside it."""
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "thesis.txt").write_text("years of work")
    assert_refused(tmp_path, "not a kvnode data directory")


def test_a_foreign_file_called_v1_is_refused(tmp_path: Path) -> None:
    (tmp_path / "v1").write_text("years of work")
    assert_refused(tmp_path, "not a kvnode data directory")


def test_a_file_in_place_of_the_directory_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("x")
    with pytest.raises(StorageError, match="cannot make the data directory"):
        opened(file)
    assert file.read_text() == "x"


@pytest.mark.parametrize(("cluster", "name"), [("other", "n"), ("c", "other")])
def test_a_directory_of_another_node_is_refused(tmp_path: Path, cluster: str, name: str) -> None:
    assert_refused(made(tmp_path), "belongs to node 'n' of cluster 'c'", cluster, name)
    opened(tmp_path).close()


def test_leftovers_of_a_crash_while_making_it_are_removed(tmp_path: Path) -> None:
    (tmp_path / "LOCK").write_text("4711")
    (tmp_path / "new" / "log").mkdir(parents=True)
    (tmp_path / "new" / "log" / "data.mdb").write_bytes(b"half a page")
    directory = opened(tmp_path)
    assert not (tmp_path / "new").exists()
    assert directory.log.last_arrival == 0
    directory.close()


@pytest.mark.parametrize(
    "damage",
    [
        "",
        "{",
        "[]",
        "null",
        '{"cluster": "c", "name": "n"}',
        '{"cluster": "c", "name": "n", "origin": 7, "created_ms": 1}',
        '{"cluster": "c", "name": "n", "origin": "0000000000000000", "created_ms": 1}',
        '{"cluster": "c", "name": "n", "origin": "zz00000000000000", "created_ms": 1}',
        '{"cluster": "c", "name": "n", "origin": "1", "created_ms": 1}',
        '{"cluster": "c", "name": "n", "origin": "1111111111111111", "created_ms": 1, "x": 1}',
    ],
)
def test_a_damaged_identity_is_refused(tmp_path: Path, damage: str) -> None:
    (made(tmp_path) / "v1" / "identity.json").write_text(damage)
    assert_refused(tmp_path, "identity.json is missing or damaged")


def test_a_missing_identity_is_refused(tmp_path: Path) -> None:
    (made(tmp_path) / "v1" / "identity.json").unlink()
    assert_refused(tmp_path, "identity.json is missing or damaged")


def change_store(path: Path) -> None:
    file = path / "v1" / "identity.json"
    fields = json.loads(file.read_text())
    fields["store"] = f"{int(fields['store'], 16) ^ 1:016x}"
    file.write_text(json.dumps(fields))


def test_an_identity_of_another_directory_is_refused(tmp_path: Path) -> None:
    change_store(made(tmp_path))
    assert_refused(tmp_path, "directories were mixed up")


def cut(size: int) -> Callable[[bytes], bytes]:
    return lambda raw: raw[:size]


@pytest.mark.parametrize("part", ["log", "state"])
@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (cut(0), "is not an LMDB file"),
        (cut(23), "is not an LMDB file"),
        (cut(100), "cannot be opened"),
        (cut(4096), "cannot be opened|is truncated"),
        (cut(8192), "is truncated"),
        (lambda raw: raw[:-4096], "is truncated"),
        (lambda raw: bytes(4096) + raw[4096:], "is not an LMDB file"),
        (lambda raw: b"#!/bin/sh\n" * 10 + raw[100:], "is not an LMDB file"),
        (lambda raw: raw[:20] + b"\xff\xff\xff\x7f" + raw[24:], "cannot be opened"),
        (lambda _: b"years of work\n" * 100, "is not an LMDB file"),
    ],
)
def test_a_damaged_file_is_refused_and_untouched(
    tmp_path: Path, part: str, damage: Callable[[bytes], bytes], message: str
) -> None:
    file = made(tmp_path) / "v1" / part / "data.mdb"
    whole = file.read_bytes()
    file.write_bytes(damage(whole))
    assert_refused(tmp_path, message)
    file.write_bytes(whole)
    opened(tmp_path).close()


@pytest.mark.parametrize("part", ["log", "state"])
def test_a_missing_file_is_refused_and_not_made_anew(tmp_path: Path, part: str) -> None:
    """An empty log under a used origin would give its numbers out again."""
    (made(tmp_path) / "v1" / part / "data.mdb").unlink()
    assert_refused(tmp_path, "is incomplete")


@pytest.mark.parametrize("part", ["log", "state"])
def test_a_part_of_another_nodes_directory_is_refused(tmp_path: Path, part: str) -> None:
    mine, other = made(tmp_path / "mine"), made(tmp_path / "other")
    foreign = (other / "v1" / part / "data.mdb").read_bytes()
    (mine / "v1" / part / "data.mdb").write_bytes(foreign)
    assert_refused(mine, "directories were mixed up")


def test_log_and_state_changed_for_one_another_are_refused(tmp_path: Path) -> None:
    """Both are this node's. Taken as they are, the node would start empty under its old origin
    and give its sequence numbers out again.
    """
    path = made(tmp_path)
    log, state = path / "v1" / "log", path / "v1" / "state"
    log.rename(path / "v1" / "x")
    state.rename(log)
    (path / "v1" / "x").rename(state)
    assert_refused(path, "directories were mixed up")


def test_a_state_ahead_of_its_log_is_refused(tmp_path: Path) -> None:
    """An old log was put back: what the state covers would be given out again."""
    path = made(tmp_path)
    old = {file: (path / "v1" / "log" / file).read_bytes() for file in ("data.mdb", "tail")}
    directory = opened(path)
    origin = directory.identity.origin_id
    node = MemoryNode(origin)
    node.write(Put(b"k", b"v"))
    node.write(Put(b"k", b"w"))
    directory.log.append([node.last_block])
    durable = Durable(RequestWindow(1), node.vector, dict(node.replica.durable.chains))
    directory.state.save(Checkpoint(2, durable, {}, {b"k": node.entry(b"k")}, []))
    directory.close()
    for file, raw in old.items():
        (path / "v1" / "log" / file).write_bytes(raw)

    directory = opened(path)
    with pytest.raises(StorageError, match="the state covers 2 blocks and the log has 1"):
        Engine(Config(), origin, directory.log, directory.state)
    directory.close()
