"""The log over tail and LMDB when a move, a start or an adoption meets trouble; what is counted."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from kvnode.storage import tail, tailed_log
from kvnode.storage.interfaces import DamagedBlock, DiskFullError, StorageError, WriteFailed
from kvnode.storage.log import LmdbLog
from kvnode.storage.tail import Tail
from kvnode.storage.tailed_log import TailedLog
from tests.storage.stores import ORIGIN, abandon, open_files
from tests.storage.test_tailed_log import ORIGINS, Writers, without_room


@pytest.fixture
def log(tmp_path: Path) -> Iterator[TailedLog]:
    """A log with room for all that waits here."""
    opened = TailedLog(tmp_path, ORIGIN)
    yield opened
    opened.close()


def test_what_was_taken_outlasts_a_round_that_was_refused(tmp_path: Path) -> None:
    """Those that come after it are not written over what LMDB does not have."""
    log, writers = TailedLog(tmp_path, ORIGIN), Writers()
    log.append([writers.block()])
    large = writers.block(0, 70_000)
    with without_room(), pytest.raises(DiskFullError):
        log.append([large])
    small = writers.block(1)
    log.append([small])
    right = [raw for _, raw in log.replay(0)]
    abandon(log)
    log = TailedLog(tmp_path, ORIGIN)
    assert [raw for _, raw in log.replay(0)] == right
    assert large.raw not in right
    assert small.raw in right
    log.close()


def test_rounds_wait_again_after_a_move(log: TailedLog, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file is written from its beginning again."""
    monkeypatch.setattr(tail, "TAIL_BYTES", 4 * tail.PAGE_BYTES)
    writers = Writers()
    moved = []
    for _ in range(13):
        log.append([writers.block()])
        moved.append(log.in_lmdb.last_arrival)
    assert moved == [0, 0, 0, 0, 5, 5, 5, 5, 5, 10, 10, 10, 10]


def test_nobody_sees_a_block_before_it_is_on_disk(
    log: TailedLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    writers, real, seen = Writers(), os.pwrite, []
    block = writers.block()

    def look_and_write(descriptor: int, raw: bytes, at: int) -> int:
        seen.append((log.last_arrival, log.chain_at(block.end), list(log.replay(0))))
        return real(descriptor, raw, at)

    monkeypatch.setattr(os, "pwrite", look_and_write)
    log.append([block])
    assert seen == [(0, None, [])]
    assert log.chain_at(block.end) == block.chain


def test_nothing_is_moved_after_a_move_that_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What LMDB has is not known before the next start."""
    log, writers = TailedLog(tmp_path, ORIGIN), Writers()
    log.append([writers.block()])
    tried = []

    def fail(*_: object) -> None:
        tried.append(True)
        raise WriteFailed("the disk says no")

    with monkeypatch.context() as patch:
        patch.setattr(LmdbLog, "append", fail)
        with pytest.raises(WriteFailed):
            log.append([writers.block(0, 70_000)])
        log.close()
    assert len(tried) == 1
    log = TailedLog(tmp_path, ORIGIN)
    assert log.last_arrival == 1
    log.close()


def test_a_log_that_is_refused_is_not_left_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise StorageError("no disk")

    TailedLog(tmp_path, ORIGIN).close()
    before = open_files()
    for _ in range(2):
        with monkeypatch.context() as patch:
            patch.setattr(Tail, "read", fail)
            with pytest.raises(StorageError, match="no disk"):
                TailedLog(tmp_path, ORIGIN)
    assert open_files() == before


def test_a_damaged_tail_is_read_and_not_written(tmp_path: Path) -> None:
    """What can be read is for who wants to save it; everybody else is told."""
    log, writers = TailedLog(tmp_path, ORIGIN), Writers()
    made = [writers.block(number % 2) for number in range(6)]
    log.append(made[:1])
    log._move()  # noqa: SLF001
    for first in (1, 2, 4):
        log.append(made[first : 2 * first])
    abandon(log)
    rot(tmp_path, page=1)
    before = {name: (tmp_path / name).read_bytes() for name in ("data.mdb", tail.NAME)}
    log = TailedLog(tmp_path, ORIGIN)
    assert log.last_arrival == 6
    found, after = [], 0
    while after < log.last_arrival:
        try:
            for after, raw in log.replay(after):  # noqa: B020 - goes on behind the last
                found.append((after, raw))
        except DamagedBlock as damage:
            after += 1
            found.append((after, str(damage)[:7].encode()))
    assert found == [
        *((arrival, made[arrival - 1].raw) for arrival in (1, 2)),
        *((arrival, b"block %d" % arrival) for arrival in (3, 4)),
        *((arrival, made[arrival - 1].raw) for arrival in (5, 6)),
    ]
    for change in (lambda: log.append(made[:1]), lambda: log.cut(6), lambda: log.adopt({}, ())):
        with pytest.raises(StorageError, match=r"block 3 of the log, .*: kvnode export DIREC"):
            change()
    log.close()
    assert {name: (tmp_path / name).read_bytes() for name in before} == before


def test_a_record_that_is_not_whole_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Nobody can tell whether it was acknowledged, if there are no others to ask."""
    log, writers = TailedLog(tmp_path, ORIGIN), Writers()
    for _ in range(2):
        log.append([writers.block()])
    abandon(log)
    TailedLog(tmp_path, ORIGIN).close(as_it_is=True)
    assert not caplog.messages
    rot(tmp_path, page=1)
    TailedLog(tmp_path, ORIGIN).close(as_it_is=True)
    (told,) = caplog.messages
    assert told.startswith("block 2 of the log in ")


def test_so_many_blocks_wait_and_no_more(log: TailedLog, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the smallest ones the tail holds thousands, each of which some readers look at."""
    monkeypatch.setattr(tailed_log, "WAITING_BLOCKS_MAX", 5)
    writers = Writers()
    moved = []
    for count in (2, 3, 1, 6, 1):
        log.append([writers.block() for _ in range(count)])
        moved.append(log.in_lmdb.last_arrival)
    assert moved == [0, 0, 6, 12, 12]


def rot(folder: Path, page: int) -> None:
    """Flip a bit of the record there."""
    raw = bytearray((folder / tail.NAME).read_bytes())
    raw[page * tail.PAGE_BYTES + tail.HEAD.size] ^= 1
    (folder / tail.NAME).write_bytes(raw)


def test_what_waits_outlasts_the_loss_of_the_rest(tmp_path: Path) -> None:
    """A log without its LMDB file is no new log."""
    log, writers = TailedLog(tmp_path, ORIGIN), Writers()
    log.append([writers.block()])
    abandon(log)
    before = (tmp_path / tail.NAME).read_bytes()
    (tmp_path / "data.mdb").unlink()
    with pytest.raises(StorageError, match=r"data\.mdb"):
        TailedLog(tmp_path, ORIGIN)
    assert (tmp_path / tail.NAME).read_bytes() == before
    assert not (tmp_path / "data.mdb").exists()


def test_what_is_adopted_is_of_blocks_that_lmdb_has(tmp_path: Path) -> None:
    """A floor above blocks that wait would be told of before they are where it says."""
    log, writers = TailedLog(tmp_path, ORIGIN), Writers()
    block = writers.block()
    log.append([block])
    log.adopt({ORIGINS[0]: 5}, [((ORIGINS[0], 5), b"c" * 16)])
    assert list(log.ends({})) == [(block.end, block.chain), ((ORIGINS[0], 5), b"c" * 16)]
    assert log.in_lmdb.last_arrival == 1
    later = writers.block(1)
    log.append([later])
    assert log.lacking({ORIGINS[0]: 5}, 1 << 20) == ([later.raw], True)
    assert log.behind({}).bytes == len(later.raw)
    abandon(log)
    log = TailedLog(tmp_path, ORIGIN)
    assert (log.last_arrival, log.floor) == (2, {ORIGINS[0]: 5})
    log.close()


def test_a_stop_leaves_nothing_in_the_tail(tmp_path: Path) -> None:
    """There a flipped bit of the last record could not be told from one that was not finished."""
    log, writers = TailedLog(tmp_path, ORIGIN), Writers()
    for _ in range(3):
        log.append([writers.block()])
    log.close()
    stored = LmdbLog(tmp_path, ORIGIN)
    assert stored.last_arrival == 3
    stored.close()


def test_what_waits_counts_with_what_it_takes(log: TailedLog) -> None:
    """The log's caps are about these figures."""
    before, block = log.usage(), Writers().block(0, 5000)
    log.append([block])
    after = log.usage()
    assert after.records == before.records + 1
    assert after.records_bytes == before.records_bytes + len(block.raw)
    assert after.used_bytes == before.used_bytes + len(block.raw)


def test_a_cut_of_what_lmdb_has_moves_nothing(log: TailedLog) -> None:
    """It would cost the next round a second transaction."""
    writers = Writers()
    log.append([writers.block(0, 70_000)])
    log.append([writers.block()])
    assert log.cut(1) == 2
    assert log.in_lmdb.last_arrival == 1
