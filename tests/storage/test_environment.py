"""Compaction: the file shrinks, and a crash at any point leaves a whole one."""

from __future__ import annotations

import fcntl
import os
import shutil
import threading
from pathlib import Path
from typing import Any

import lmdb
import pytest

from kvnode.core.entry import Entry
from kvnode.core.operations import Put
from kvnode.storage import compaction, environment
from kvnode.storage.compaction import compact_if_wasteful
from kvnode.storage.environment import Environment
from kvnode.storage.interfaces import DamagedPages, DiskFullError, StorageError, WriteFailed
from kvnode.storage.log import LmdbLog
from kvnode.storage.soundness import Found, Looker, Undecided
from kvnode.storage.state import LmdbState
from tests.core.memory_node import MemoryNode
from tests.storage.stores import ORIGIN
from tests.storage.test_state import checkpoint


def opened(path: Path) -> Environment:
    return Environment(path, ("rows",), part="state", origin=1)


def fill(env: Environment, rows: int) -> None:
    def change(txn: Any) -> None:
        for number in range(rows):
            txn.put(b"%06d" % number, bytes(1000), db=env.tables["rows"])

    env.write(change)


def thin_out(env: Environment, keep: int) -> None:
    def change(txn: Any) -> None:
        with txn.cursor(env.tables["rows"]) as cursor:
            found = cursor.set_range(b"%06d" % keep)
            while found:
                found = cursor.delete()

    env.write(change)


def rows(env: Environment) -> int:
    with env.read() as txn:
        return int(txn.stat(env.tables["rows"])["entries"])


def test_freed_pages_are_no_longer_used_bytes_and_compaction_returns_them(tmp_path: Path) -> None:
    env = opened(tmp_path)
    fill(env, 4000)
    full = env.usage("rows")
    thin_out(env, 100)
    thin = env.usage("rows")
    assert thin.used_bytes < full.used_bytes / 10
    assert thin.file_bytes >= full.file_bytes
    env.compact()
    small = env.usage("rows")
    assert small.file_bytes < full.file_bytes / 10
    assert (tmp_path / "data.mdb").stat().st_size < full.file_bytes / 10
    assert small.records == 100
    fill(env, 200)
    assert rows(env) == 200
    env.close()
    env = opened(tmp_path)
    assert rows(env) == 200
    env.close()


@pytest.mark.parametrize("step", ["copied", "renamed"])
def test_a_crash_during_compaction_leaves_a_whole_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    env = opened(tmp_path)
    fill(env, 500)
    thin_out(env, 40)

    class Dies(Exception):
        pass

    rename = Path.rename

    def dying_rename(source: Path, target: Path) -> None:
        if step == "renamed":
            rename(source, target)
        raise Dies

    monkeypatch.setattr(Path, "rename", dying_rename)
    monkeypatch.setattr(shutil, "rmtree", lambda *_, **__: None)
    with pytest.raises(Dies):
        env.compact()
    monkeypatch.undo()
    assert (tmp_path / "compact").exists(), "what a crash leaves"
    env = opened(tmp_path)
    assert rows(env) == 40
    assert sorted(file.name for file in tmp_path.iterdir()) == ["data.mdb", "lock.mdb"]
    env.close()


def test_no_room_for_the_copy_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Trap 21: compaction is a convenience, it must never stop a checkpoint."""
    env = opened(tmp_path)
    fill(env, 500)
    thin_out(env, 40)
    monkeypatch.setattr(compaction, "COMPACT_BYTES_MIN", 0)

    def full(_: Path) -> None:
        raise DiskFullError("no room")

    monkeypatch.setattr(env, "copy", full)
    assert not compact_if_wasteful(env)
    monkeypatch.undo()
    assert rows(env) == 40
    assert not (tmp_path / "compact").exists()
    env.close()


def test_a_file_that_is_half_free_is_not_worth_the_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next checkpoints need the free pages again."""
    monkeypatch.setattr(compaction, "COMPACT_BYTES_MIN", 0)
    env = opened(tmp_path)
    fill(env, 1_000)
    thin_out(env, 400)
    assert not compact_if_wasteful(env)
    thin_out(env, 20)
    assert compact_if_wasteful(env)
    env.close()


def test_readers_do_not_wait_for_the_disk_when_files_are_exchanged_and_writers_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is written after the exchange must not be lost with it."""
    env = opened(tmp_path)
    fill(env, 500)
    held: list[tuple[bool, bool]] = []

    def look(path: Path) -> None:
        if path == tmp_path:
            held.append((env._gate.locked(), env._writing.locked()))  # noqa: SLF001 - the locks

    monkeypatch.setattr(environment, "sync", look)
    env.compact()
    assert held == [(False, True)]
    env.close()


def test_readers_go_on_through_compaction(tmp_path: Path) -> None:
    env = opened(tmp_path)
    fill(env, 500)
    stop = threading.Event()
    found: list[int] = []
    failed: list[BaseException] = []

    def read() -> None:
        try:
            while not stop.is_set():
                found.append(rows(env))
        except BaseException as error:
            failed.append(error)

    reader = threading.Thread(target=read)
    reader.start()
    try:
        for _ in range(20):
            env.compact()
    finally:
        stop.set()
        reader.join()
    assert not failed
    assert set(found) == {500}
    env.close()


def test_a_copy_is_a_whole_environment(tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    there.mkdir()
    env = opened(here)
    fill(env, 300)
    env.copy(there)
    fill(env, 400)
    env.close()
    copied = opened(there)
    assert rows(copied) == 300
    copied.close()


def test_a_state_that_was_emptied_is_compacted_by_its_next_save(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compaction, "COMPACT_BYTES_MIN", 256 << 10)
    state = LmdbState(tmp_path, ORIGIN)
    node = MemoryNode(ORIGIN)
    keys = [b"%d" % number for number in range(100)]
    node.write(*(Put(key, bytes(5000)) for key in keys))
    state.save(checkpoint({key: node.entry(key) for key in keys}))
    assert state.usage().file_bytes > 512 << 10
    gone: dict[bytes, Entry] = {key: {} for key in keys[1:]}
    state.save(checkpoint(gone))
    assert state.usage().file_bytes < 128 << 10
    assert state.keys(b"", b"", 10, conflicts=False) == [b"0"]
    assert state.get(b"0") == node.entry(b"0")
    state.save(checkpoint({b"0": {}}, arrival=9))
    loaded = state.load(100)
    assert loaded is not None
    assert loaded.arrival == 9
    state.close()


def test_a_log_that_was_cut_is_compacted_when_it_is_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compaction, "COMPACT_BYTES_MIN", 256 << 10)
    log = LmdbLog(tmp_path, ORIGIN)
    node = MemoryNode(5)
    for number in range(40):
        node.write(Put(b"k%d" % number, bytes(20_000)))
        log.append([node.last_block])
    log.cut(39)
    log.close()
    log = LmdbLog(tmp_path, ORIGIN)
    assert log.usage().file_bytes < 128 << 10
    assert list(log.replay(39)) == list(node.log.replay(39))
    node.write(Put(b"k", b"v"))
    log.append([node.last_block])
    log.close()


def test_the_format_before_is_refused_in_plain_words(tmp_path: Path) -> None:
    opened(tmp_path).close()
    with lmdb.open(str(tmp_path), max_dbs=4) as raw, raw.begin(write=True) as txn:
        meta = raw.open_db(b"meta", txn=txn)
        txn.put(b"owner", b"kvnode 1 state %016x" % 1, db=meta)
    before = (tmp_path / "data.mdb").read_bytes()
    with pytest.raises(StorageError, match="has the format 'kvnode 1', this version needs"):
        opened(tmp_path)
    assert (tmp_path / "data.mdb").read_bytes() == before


def test_a_commit_that_the_disk_cut_short_is_a_full_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Trap 21: LMDB calls it an I/O error, for which a node would have to stop (seen on tmpfs)."""
    env = opened(tmp_path)
    fill(env, 10)

    def fails(_: object) -> None:
        raise lmdb.Error("mdb_txn_commit: Input/output error")

    with pytest.raises(WriteFailed, match="Input/output"):
        env.write(fails)  # the disk has room: it is broken
    full = os.statvfs_result((4096, 4096, 1000, 3, 3, 0, 0, 0, 0, 255))
    monkeypatch.setattr(os, "statvfs", lambda _: full)
    with pytest.raises(DiskFullError):
        env.write(fails)
    assert rows(env) == 10
    env.close()


def test_no_room_for_the_page_that_makes_a_commit_is_more_than_a_full_disk(
    tmp_path: Path,
) -> None:
    """LMDB gives the environment up then: a node that only waited for room could not even read."""
    env = opened(tmp_path)
    fill(env, 10)
    full = os.open("/dev/full", os.O_WRONLY)
    os.dup2(full, commit_file(tmp_path))
    os.close(full)
    with pytest.raises(WriteFailed, match=r"No space left.* start the node again"):
        fill(env, 20)
    with pytest.raises(DamagedPages, match="start the node again"):
        rows(env)
    env.close()
    env = opened(tmp_path)
    assert rows(env) == 10
    env.close()


def commit_file(path: Path) -> int:
    """The descriptor by which LMDB writes that page: it has one that syncs each write."""
    return next(
        int(link.name)
        for link in Path("/proc/self/fd").iterdir()
        if link.exists()
        and link.resolve() == path / "data.mdb"
        and fcntl.fcntl(int(link.name), fcntl.F_GETFL) & os.O_DSYNC
    )


def test_pages_that_are_none_are_damage_in_plain_words(tmp_path: Path) -> None:
    """LMDB looks at a page's kind on its way to a key; what it says must reach an operator."""
    env = opened(tmp_path)
    fill(env, 500)
    env.close()
    change_pages(tmp_path, b"000250", 10, 4)  # its kind: not a leaf any more
    env = opened(tmp_path)

    def read() -> Any:
        with env.read() as txn:
            return txn.get(b"000250", db=env.tables["rows"])

    with pytest.raises(DamagedPages, match=r"cannot be read: .*MDB_CORRUPTED.* let peers fill it"):
        read()
    with pytest.raises(WriteFailed, match="cannot be written"):
        env.write(lambda txn: txn.put(b"000250", b"", db=env.tables["rows"]))
    env.close()


def test_pages_that_end_the_process_that_reads_them_are_found_by_another(tmp_path: Path) -> None:
    env = opened(tmp_path)
    fill(env, 500)
    env.close()
    assert Looker().look([tmp_path]) == Found()
    change_pages(tmp_path, b"000250", 10, 4)
    assert "ends a process by signal" in Looker().look([tmp_path]).problem


@pytest.mark.parametrize(
    "there", ["raise ImportError", "import os; os.kill(os.getpid(), 9)"], ids=["no lmdb", "killed"]
)
def test_a_look_that_came_to_nothing_is_no_damage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there: str
) -> None:
    """No memory, an impatient operator: to begin with an empty directory would be a loss."""
    env = opened(tmp_path)
    env.close()
    (tmp_path / "first").mkdir()
    (tmp_path / "first" / "lmdb.py").write_text(there)
    monkeypatch.syspath_prepend(str(tmp_path / "first"))
    with pytest.raises(Undecided, match="looked at it ended with"):
        Looker().look([tmp_path])


def test_the_look_finds_lmdb_where_this_process_has_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a user's own site-packages, say: an isolated Python would not see those."""
    env = opened(tmp_path)
    env.close()
    (tmp_path / "lmdb.py").write_text(
        "class Error(Exception): ...\nclass MemoryError(Error): ...\n"
        "def open(*_, **__): raise Error('mine')"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    assert Looker().look([tmp_path]) == Found(f"{tmp_path}: mine")


def test_rows_that_are_hidden_or_out_of_place_are_found(tmp_path: Path) -> None:
    """LMDB itself sees nothing wrong, and would say that the rows are not there."""
    env = opened(tmp_path)
    fill(env, 500)
    env.close()
    (tmp_path / "whole").write_bytes((tmp_path / "data.mdb").read_bytes())
    for offset, value, problem in ((12, 18, "rows of 500"), (16, 0, "out of place")):
        change_pages(tmp_path, b"000250", offset, value)  # where its rows end; its first row
        assert problem in Looker().look([tmp_path]).problem
        (tmp_path / "data.mdb").write_bytes((tmp_path / "whole").read_bytes())


def change_pages(path: Path, key: bytes, offset: int, value: int) -> None:
    """Set a byte in the header of each page that holds the key."""
    file = path / "data.mdb"
    raw = bytearray(file.read_bytes())
    for page in range(0, len(raw), 4096):
        if key in raw[page : page + 4096]:
            raw[page + offset] = value
    file.write_bytes(raw)


def test_a_pinned_view_is_what_all_readers_get_until_it_is_let_go(tmp_path: Path) -> None:
    env = opened(tmp_path)
    fill(env, 1)
    env.pin()
    fill(env, 2)
    assert rows(env) == 1
    assert env.get("rows", b"000000") == bytes(1000)
    assert env.get("rows", b"000001") is None
    env.unpin()
    assert rows(env) == 2
    assert env.get("rows", b"000001") == bytes(1000)
    env.close()
