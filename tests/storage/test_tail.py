"""The log's tail: what is in the file, and what a start makes of it."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kvnode.core.block import Block
from kvnode.core.operations import Put
from kvnode.storage.interfaces import DiskFullError, StorageError, WriteFailed
from kvnode.storage.tail import (
    DIGEST_BYTES,
    HEAD,
    NAME,
    PAGE_BYTES,
    RECORD_BYTES_MAX,
    SIZE,
    TAIL_BYTES,
    Tail,
    make_tail,
)
from tests.core.memory_node import MemoryNode
from tests.storage.stores import ORIGIN, open_files


def blocks(sizes: list[int]) -> list[Block]:
    """One of each node's value size, in the order in which one origin wrote them."""
    node = MemoryNode(7)
    made = []
    for size in sizes:
        node.write(Put(b"k", bytes(size)))
        made.append(node.last_block)
    return made


class Folder:
    """Of a tail, with what was written to it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.file = path / NAME
        make_tail(path)

    def opened(self, after: int = 0, store: int = ORIGIN) -> tuple[Tail, list[bytes]]:
        tail = Tail(self.path, store)
        try:
            found = tail.read(after)
            self.beyond = [arrival for arrival, _ in found.beyond]
            self.unfinished = found.unfinished
            return tail, [block.raw for block in found.blocks]
        except BaseException:
            tail.close()
            raise

    def found(self, after: int = 0, store: int = ORIGIN) -> list[bytes]:
        tail, raws = self.opened(after, store)
        tail.close()
        return raws

    def write(self, first_arrival: int, *rounds: list[Block], after: int = 0) -> None:
        """Records behind those of an earlier call."""
        tail, _ = self.opened(after)
        for each in rounds:
            assert tail.append(first_arrival, each)
            first_arrival += len(each)
        tail.close()


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """An empty one."""
    return Folder(tmp_path)


def test_what_was_written_is_found(folder: Folder) -> None:
    made = blocks([10, 10, 5000, 10])
    raws = [block.raw for block in made]
    assert folder.found() == []
    folder.write(1, made[:2], made[2:3], made[3:])
    assert folder.found() == raws
    for after in range(5):
        assert folder.found(after) == raws[after:]
    assert folder.found(store=ORIGIN - 1) == [], "another directory's"


def test_records_go_on_behind_those_that_are_needed(folder: Folder) -> None:
    made = blocks([10, 10, 10])
    folder.write(1, made[:1])
    folder.write(2, made[1:2])
    assert folder.found() == [block.raw for block in made[:2]]
    folder.write(3, made[2:], after=2)
    assert folder.file.read_bytes()[:PAGE_BYTES].find(made[2].raw) > 0, "the others were in LMDB"
    assert folder.found(2) == [made[2].raw]


def test_there_is_room_for_a_number_of_records_only(folder: Folder) -> None:
    (small,) = blocks([10])
    tail, _ = folder.opened()
    for arrival in range(1, TAIL_BYTES // PAGE_BYTES + 1):
        assert tail.append(arrival, [small])
    assert not tail.append(arrival + 1, [small])
    tail.start_over()
    assert tail.append(arrival + 1, [small])
    tail.close()
    assert folder.found(arrival) == [small.raw]
    assert folder.file.stat().st_size == TAIL_BYTES


@pytest.mark.parametrize("over", [0, 1])
def test_a_record_has_a_bound(folder: Folder, over: int) -> None:
    size = 60_000
    (small,) = blocks([size])
    (large,) = blocks([RECORD_BYTES_MAX - SIZE.size - (len(small.raw) - size) + over])
    assert SIZE.size + len(large.raw) == RECORD_BYTES_MAX + over
    tail, _ = folder.opened()
    assert tail.append(1, [large]) == (not over)
    tail.close()
    assert folder.found() == ([] if over else [large.raw])


def test_a_flipped_bit_is_told_unless_it_is_in_the_last_record(folder: Folder) -> None:
    """That one looks as if it had been written when the node was killed."""
    made = blocks([10, 3, 10])
    raws = [block.raw for block in made]
    folder.write(1, *([block] for block in made))
    whole = folder.file.read_bytes()
    for record, block in enumerate(made):
        start = record * PAGE_BYTES
        for at in range(HEAD.size + SIZE.size + len(block.raw)):
            damaged = bytearray(whole)
            damaged[start + at] ^= 1 << at % 8
            folder.file.write_bytes(damaged)
            assert folder.found() == raws[:record]
            assert folder.beyond == list(range(record + 2, 4))
            if at < DIGEST_BYTES or at >= HEAD.size:  # else it may be anything
                assert folder.unfinished
    folder.file.write_bytes(whole)
    assert folder.found() == raws
    assert not folder.unfinished


def test_records_of_before_the_move_are_not_read_again(folder: Folder) -> None:
    made = blocks([10] * 9)
    folder.write(1, *([block] for block in made[:6]))
    folder.write(7, made[6:8], after=6)
    assert folder.found(6) == [block.raw for block in made[6:8]]
    folder.write(9, made[8:], after=6)
    assert folder.found(6) == [block.raw for block in made[6:]]
    assert folder.found(9) == []


def test_what_is_missing_between_lmdb_and_the_tail_is_told(folder: Folder) -> None:
    """An old LMDB file was put back: what is between was acknowledged."""
    made = blocks([10] * 3)
    folder.write(2, made, after=1)
    assert len(folder.found(1)) == 3
    assert folder.found(0) == []
    assert folder.beyond == [2, 3, 4]


def test_values_that_look_like_records_are_none(folder: Folder) -> None:
    """A client who knows the layout, and puts a record into the middle of a value."""
    first, later = blocks([10, 10])
    (folder.path / "elsewhere").mkdir()
    other = Folder(folder.path / "elsewhere")
    tail = Tail(other.path, ORIGIN - 1)
    assert tail.append(2, [later])
    tail.close()
    forged = other.file.read_bytes()[:PAGE_BYTES]
    folder.write(1, [first])
    raw = bytearray(folder.file.read_bytes())
    raw[PAGE_BYTES : 2 * PAGE_BYTES] = forged  # as the rest of an earlier block would lie there
    folder.file.write_bytes(raw)
    assert folder.found() == [first.raw]


def test_what_is_missing_or_cut_is_refused(folder: Folder) -> None:
    os.truncate(folder.file, TAIL_BYTES - 1)
    with pytest.raises(StorageError, match="has 1048575 bytes, not 1048576"):
        folder.opened()
    folder.file.unlink()
    with pytest.raises(StorageError, match=r"cannot be opened .*empty data directory"):
        folder.opened()


REAL = os.pwrite


def failing(number: int, taken: float = 0) -> Callable[[int, bytes, int], int]:
    """A write that takes a share of what it is given, and fails."""

    def pwrite(descriptor: int, raw: bytes, at: int) -> int:
        REAL(descriptor, raw[: round(len(raw) * taken)], at)
        raise OSError(number, os.strerror(number))

    return pwrite


def short(descriptor: int, raw: bytes, at: int) -> int:
    """A write that takes all but the last page."""
    return REAL(descriptor, raw[:-PAGE_BYTES], at)


def test_a_write_that_fails_leaves_it_unknown(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    (block,) = blocks([10])
    tail, _ = folder.opened()
    for name, fail, told in (
        ("pwrite", failing(errno.EIO), "tail cannot be written: .*output error"),
        ("pwrite", failing(errno.ENOSPC, 1), "tail cannot be written: .*No space"),
        ("fdatasync", lambda _: failing(errno.ENOSPC)(0, b"", 0), "tail cannot be synced"),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(os, name, fail)
            with pytest.raises(WriteFailed, match=told):
                tail.append(1, [block])
    tail.close()
    tail.close()


@pytest.mark.parametrize("fail", [failing(errno.ENOSPC), failing(errno.EDQUOT, 0.5), short])
def test_what_a_full_disk_refuses_is_not_found(
    folder: Folder, monkeypatch: pytest.MonkeyPatch, fail: Callable[[int, bytes, int], int]
) -> None:
    """A file system that writes to another place what is written again needs room for it."""
    first, old, refused, later = blocks([10, 12_000, 9000, 10])
    tail, _ = folder.opened()
    for arrival in (1, 2):
        assert tail.append(arrival, [old if arrival == 2 else first])
    tail.start_over()
    assert tail.append(3, [first])
    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", fail)
        for _ in range(2):
            with pytest.raises(DiskFullError, match=r"no room to write .*tail"):
                tail.append(4, [refused])
    assert folder.found(2) == [first.raw]
    assert tail.append(4, [later])
    tail.close()
    assert folder.found(2) == [first.raw, later.raw]


def test_a_start_needs_no_room(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.write(1, made := blocks([10]))
    monkeypatch.setattr(os, "pwrite", failing(errno.ENOSPC))
    assert folder.found() == [made[0].raw]


def test_no_room_for_a_new_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DiskFullError, match="no room to make"):
        make_tail(tmp_path)
    assert not (tmp_path / NAME).exists()


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_a_record_that_is_being_written_hides_none_before_it(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """Any sectors of it may be on the disk and any not, over whatever was there before."""
    folder = Folder(tmp_path_factory.mktemp("tail"))
    earlier, sizes = data.draw(st.tuples(*[st.lists(st.integers(0, 9000), max_size=6)] * 2))
    made = blocks([*earlier, *sizes, data.draw(st.integers(0, 20_000), label="last")])
    after = len(earlier)
    folder.write(1, *([block] for block in made[:after]))
    folder.write(after + 1, *([block] for block in made[after:-1]), after=after)
    before = folder.file.read_bytes()
    folder.write(len(made), made[-1:], after=after)
    whole = folder.file.read_bytes()
    changed = [
        at for at in range(0, TAIL_BYTES, 512) if before[at : at + 512] != whole[at : at + 512]
    ]
    written = data.draw(st.sets(st.sampled_from(changed)))
    torn = bytearray(before)
    for at in written:
        torn[at : at + 512] = whole[at : at + 512]
    folder.file.write_bytes(torn)
    raws = [block.raw for block in made[after:]]
    assert folder.found(after) == (raws if bytes(torn) == whole else raws[:-1])


def test_a_record_of_no_blocks_is_none(folder: Folder) -> None:
    """Nobody could read on behind it."""
    made = blocks([10, 10])
    tail, _ = folder.opened()
    assert tail.append(1, made[:1])
    assert tail.append(2, [])
    assert tail.append(2, made[1:])
    tail.close()
    assert folder.found() == [block.raw for block in made]


@pytest.mark.parametrize("call", ["fstat", "pread", "pwrite"])
def test_a_file_that_cannot_be_read_is_told(
    folder: Folder, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    """A sector that the disk gives up: no traceback."""
    folder.write(1, blocks([10]))
    before = open_files()

    def fail(*_: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, call, fail)
        with pytest.raises(StorageError, match=r"tail cannot be "):
            folder.opened()
    assert open_files() == before


def test_what_is_found_is_written_again(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who wrote it may have been killed before it was synced, or told that it could not be."""
    folder.write(1, blocks([10]), blocks([5000]))
    whole = folder.file.read_bytes()
    written, real = [], os.pwrite

    def note(descriptor: int, raw: bytes, at: int) -> int:
        written.append((Path(f"/proc/self/fd/{descriptor}").readlink(), len(raw), at))
        return real(descriptor, raw, at)

    monkeypatch.setattr(os, "pwrite", note)
    assert folder.found(2) == []
    assert written == []
    assert len(folder.found()) == 2
    assert written == [(folder.file, 3 * PAGE_BYTES, 0)]
    assert folder.file.read_bytes() == whole


def test_a_tail_of_another_size_is_not_left_open(folder: Folder) -> None:
    os.truncate(folder.file, TAIL_BYTES + 1)
    before = open_files()
    with pytest.raises(StorageError):
        Tail(folder.path, ORIGIN)
    assert open_files() == before


def test_a_new_tail_has_its_room_on_the_disk(folder: Folder) -> None:
    """Written over, it needs no more: a write changes nothing of the file system's."""
    assert folder.file.stat().st_blocks * 512 >= TAIL_BYTES


def test_a_write_that_the_disk_lost_is_told(folder: Folder) -> None:
    """In its place is a record of an earlier use of the file, whole."""
    made = blocks([10] * 6)
    folder.write(1, *([block] for block in made[:3]))
    before = folder.file.read_bytes()
    folder.write(4, *([block] for block in made[3:]), after=3)
    raw = bytearray(folder.file.read_bytes())
    raw[PAGE_BYTES : 2 * PAGE_BYTES] = before[PAGE_BYTES : 2 * PAGE_BYTES]
    folder.file.write_bytes(raw)
    assert folder.found(3) == [made[3].raw]
    assert folder.beyond == [6]


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_uses_of_the_file_one_after_the_other_are_not_mixed_up(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """Rounds of any shape, moves and restarts at any moment, and what was written over or not."""
    folder = Folder(tmp_path_factory.mktemp("tail"))
    node = MemoryNode(7)
    made: list[Block] = []
    moved = 0
    tail, _ = folder.opened()
    for _ in range(data.draw(st.integers(1, 15), label="steps")):
        match data.draw(st.sampled_from(("write", "write", "write", "move", "kill"))):
            case "write":
                sizes = data.draw(
                    st.lists(st.sampled_from((1, 4000, 9000)), min_size=1, max_size=3)
                )
                for size in sizes:
                    node.write(Put(b"k", bytes(size)))
                    made.append(node.last_block)
                assert tail.append(len(made) - len(sizes) + 1, made[-len(sizes) :])
            case "move":
                moved = len(made)
                tail.start_over()
            case _:
                tail.close()
                tail, found = folder.opened(moved)
                assert found == [block.raw for block in made[moved:]]
    tail.close()
    assert folder.found(moved) == [block.raw for block in made[moved:]]
