"""A commit that is not synced yet is undone wherever a power cut comes, by whoever comes first."""

from __future__ import annotations

import os
import random
import sys
import threading
from dataclasses import replace
from math import ceil
from pathlib import Path
from typing import Any

import lmdb
import pytest

from kvnode.storage import saver_process, unsynced
from kvnode.storage.interfaces import Checkpoint, StorageError, WriteFailed
from kvnode.storage.pace import QUANTUM_S, Pace
from kvnode.storage.saver import DONE, UNSYNCED, Order
from kvnode.storage.state import LmdbState
from kvnode.storage.unsynced import (
    KEPT,
    METAS,
    PIECE_BYTES,
    Settling,
    forget,
    is_kept,
    keep,
    put_back,
    write_out,
)
from tests.durability.apart import apart
from tests.durability.power import PAGE_BYTES

from .test_saver import ORIGIN, checkpoint, contents

MAP_BYTES = 64 << 20
CUTS = 60
KEYS = 150


def write_apart(path: Path, made: Checkpoint, map_bytes: int = MAP_BYTES) -> bytes:
    """As the saver's process does, in this one."""
    order = Order(map_bytes, replace(made, entries={}, requests=[], spread_s=0.01))
    entries: Any = dict(made.entries)
    return saver_process.save(path, ORIGIN, threading.Event(), order, entries, list(made.requests))


def held(path: Path) -> dict[str, list[tuple[bytes, bytes]]]:
    """What is read when it is opened."""
    state = LmdbState(path, ORIGIN)
    try:
        return contents(state)
    finally:
        state.close()


class Midway:
    """The file before a commit, and before that is synced, with what was kept."""

    def __init__(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.path = path
        path.mkdir()
        state = LmdbState(path, ORIGIN)
        for number in range(1, 5):
            state.save(checkpoint(number, KEYS))
        state.close()
        self.before = (path / "data.mdb").read_bytes()
        self.old = held(path)

        def grab(file: Path, size: int, _done: object) -> None:
            self.after = file.read_bytes()[:size]
            self.kept = (path / KEPT).read_bytes()

        monkeypatch.setattr(saver_process, "write_out", grab)
        assert write_apart(path, checkpoint(5, KEYS)) == DONE
        assert not is_kept(path)
        self.new = held(path)


def wrong_cuts(path: Path, before: bytes, after: bytes, kept: bytes, right: Any) -> list[str]:
    """Which files do not read as before that a power cut may leave, each with what was kept."""
    chance = random.Random(1)
    longer = before.ljust(len(after), b"\0")
    pages = [
        at
        for at in range(0, len(after), PAGE_BYTES)
        if longer[at : at + PAGE_BYTES] != after[at : at + PAGE_BYTES]
    ]
    assert len(pages) > 10
    assert pages[0] < METAS * PAGE_BYTES, "its meta page"
    found = []
    for cut in range(CUTS):
        share = cut / (CUTS - 1)
        raw = bytearray(longer)
        for at in pages:
            if chance.random() < share or (cut % 2 and at < METAS * PAGE_BYTES):
                raw[at : at + PAGE_BYTES] = after[at : at + PAGE_BYTES]
        (path / "data.mdb").write_bytes(raw)
        (path / KEPT).write_bytes(kept)
        if held(path) != right or is_kept(path):
            found.append(f"cut {cut}")
    return found


def test_wherever_a_power_cut_comes_it_is_undone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    midway = Midway(tmp_path / "state", monkeypatch)
    assert midway.old != midway.new
    read = apart(wrong_cuts, midway.path, midway.before, midway.after, midway.kept, midway.old)
    assert not (read.trace + read.signal), read
    assert read.value == []


def test_what_is_undone_can_be_written_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    midway = Midway(tmp_path / "state", monkeypatch)
    (midway.path / "data.mdb").write_bytes(midway.after)
    (midway.path / KEPT).write_bytes(midway.kept)
    state = LmdbState(midway.path, ORIGIN)
    assert contents(state) == midway.old
    for number in range(5, 9):
        state.save(checkpoint(number, KEYS))
        if number == 5:
            assert contents(state) == midway.new
    state.close()


def test_a_disk_that_fails_when_it_is_synced_is_told_and_the_next_start_undoes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    midway = Midway(tmp_path / "state", monkeypatch)

    def broken(*_: object) -> None:
        raise OSError("the disk is broken")

    monkeypatch.setattr(saver_process, "write_out", broken)
    answer = write_apart(midway.path, checkpoint(6, KEYS))
    assert answer.startswith(UNSYNCED)
    assert b"the disk is broken" in answer
    assert is_kept(midway.path)
    assert held(midway.path) == midway.new, "as after the one before"
    assert not is_kept(midway.path)


def test_what_did_not_become_a_commit_keeps_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    midway = Midway(tmp_path / "state", monkeypatch)
    value = bytes(1 << 20)
    large = checkpoint(6, entries={b"%d" % n: {"x": (n, 1, 2, value)} for n in range(80)})  # type: ignore[dict-item]
    answer = write_apart(midway.path, large)
    assert answer != DONE
    assert not answer.startswith(UNSYNCED)
    assert not is_kept(midway.path)
    assert held(midway.path) == midway.new


def test_who_writes_next_syncs_it_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else its pages may be those that the kept meta page leads to."""
    midway = Midway(tmp_path / "state", monkeypatch)
    state = LmdbState(midway.path, ORIGIN)
    env: Any = state._env  # noqa: SLF001 - what is lent

    def died(_map_bytes: int) -> None:
        keep(midway.path, PAGE_BYTES)

    env.lend(died, 0)
    assert is_kept(midway.path)
    with pytest.raises(StorageError, match="not synced"):
        keep(midway.path, PAGE_BYTES)
    state.put_rows("journal", {7: b"row"})
    assert not is_kept(midway.path)
    state.close()


def test_what_was_kept_has_to_be_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    midway = Midway(tmp_path / "state", monkeypatch)
    assert not put_back(midway.path)
    raw = (midway.path / "data.mdb").read_bytes()
    for damaged in (b"", midway.kept[:-1], midway.kept[:4], b"\0" + midway.kept[1:]):
        (midway.path / KEPT).write_bytes(damaged)
        with pytest.raises(StorageError, match="damaged"):
            put_back(midway.path)
        assert (midway.path / "data.mdb").read_bytes() == raw
    forget(midway.path)
    assert not put_back(midway.path)


@pytest.mark.parametrize("pieces", [0, 1, 2.5, 3])
def test_a_file_is_written_out_to_its_end_and_how_far_it_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pieces: float
) -> None:
    file = tmp_path / "file"
    size = int(pieces * PIECE_BYTES)
    file.write_bytes(bytes(size))
    begun: list[tuple[int, int]] = []
    told: list[float] = []

    def begin(descriptor: int, at: int, length: int, _flags: int) -> int:
        assert os.fstat(descriptor).st_ino == file.stat().st_ino
        begun.append((at, length))
        return 0

    monkeypatch.setattr(unsynced, "_begin_writing", lambda: begin)
    write_out(file, size, told.append)
    count = ceil(pieces)
    assert begun == [(number * PIECE_BYTES, PIECE_BYTES) for number in range(count)]
    assert told == [pytest.approx(min(1.0, (n + 1) / pieces)) for n in range(count)]


def test_where_the_system_cannot_be_asked_nobody_is_held_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sync does it then."""
    file = tmp_path / "file"
    file.write_bytes(bytes(PIECE_BYTES))
    told: list[float] = []
    write_out(file, PIECE_BYTES, told.append)
    assert len(told) == (sys.platform == "linux")
    monkeypatch.setattr(unsynced, "_begin_writing", lambda: None)
    write_out(file, PIECE_BYTES, told.append)
    assert len(told) == (sys.platform == "linux")


def test_what_a_saver_left_that_was_killed_while_it_kept_them_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    midway = Midway(tmp_path / "state", monkeypatch)
    left = midway.path / (KEPT + ".new")
    left.write_bytes(midway.kept[:100])
    assert held(midway.path) == midway.new
    assert not left.exists()


def test_what_was_kept_has_to_be_of_this_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A node of an earlier version, which knows nothing of it, may have gone on."""
    midway = Midway(tmp_path / "state", monkeypatch)
    state = LmdbState(midway.path, ORIGIN)
    state.save(checkpoint(6))
    state.close()
    raw = (midway.path / "data.mdb").read_bytes()
    (midway.path / KEPT).write_bytes(midway.kept)
    with pytest.raises(StorageError, match="2 commits before"):
        LmdbState(midway.path, ORIGIN)
    assert (midway.path / "data.mdb").read_bytes() == raw
    (midway.path / "data.mdb").unlink()
    with pytest.raises(StorageError, match="cannot be put back"):
        put_back(midway.path)


def test_a_sync_that_has_failed_is_not_tried_again(tmp_path: Path) -> None:
    """The system would say that all is well: what it could not write it takes for written."""
    (tmp_path / "data.mdb").write_bytes(bytes(2 * PAGE_BYTES))
    keep(tmp_path, PAGE_BYTES)
    settling, synced = Settling(tmp_path), []

    def broken() -> None:
        raise lmdb.DiskError("no space left")

    with pytest.raises(WriteFailed, match="no space left"):
        settling.settle(broken)
    for _ in range(2):
        with pytest.raises(WriteFailed, match="no space left"):
            settling.settle(lambda: synced.append(True))
    assert not synced
    assert is_kept(tmp_path)
    Settling(tmp_path).settle(lambda: synced.append(True))
    assert synced
    assert not is_kept(tmp_path)


class Clock:
    """A time that passes while somebody waits, and an event that is never set."""

    def __init__(self) -> None:
        self.now = 100.0
        self.waits: list[float] = []

    def wait(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.now += seconds


def test_who_is_ahead_is_held_up_and_who_is_late_is_not() -> None:
    clock = Clock()
    hurry: Any = clock
    pace = Pace(10.0, hurry, lambda: clock.now)
    pace(0.1)
    assert clock.now == pytest.approx(101.0)
    pace(0.1 + QUANTUM_S / 20)
    assert clock.now == pytest.approx(101.0), "not for so little"
    clock.now += 5.0
    pace(0.5)
    assert clock.now == pytest.approx(106.0), "late"
    pace(1.0)
    assert clock.now == pytest.approx(110.0)
    assert len(clock.waits) == 2


def test_in_a_hurry_nobody_is_held_up() -> None:
    hurry = threading.Event()
    hurry.set()
    Pace(1_000.0, hurry)(1.0)
