"""When a start looks at all that is stored first, and what a look beside a node finds."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import lmdb
import pytest

from kvnode.core.entry import Entry
from kvnode.core.replica import Durable
from kvnode.core.requests import RequestWindow
from kvnode.core.types import SIBLINGS
from kvnode.storage import ending, soundness
from kvnode.storage.directory import DataDirectory
from kvnode.storage.interfaces import Checkpoint, StorageError
from kvnode.storage.soundness import Found, Looker, Undecided

CLUSTER, NAME = "c", "a"
KEYS = [b"key %04d" % number for number in range(600)]


class Counting(Looker):
    """Says what it is told to, and counts."""

    def __init__(self, *told: Found) -> None:
        super().__init__()
        self.looks = 0
        self._told = told

    def look(self, folders: Sequence[Path], *, beside: bool = False) -> Found:
        """See ``Looker``."""
        self.looks += 1
        return (
            self._told[min(self.looks, len(self._told)) - 1]
            if self._told
            else super().look(folders, beside=beside)
        )


def opened(path: Path, looker: Looker | None = None) -> DataDirectory:
    return DataDirectory(path, cluster=CLUSTER, name=NAME, now_ms=1, looker=looker)


def killed(directory: DataDirectory) -> None:
    """As the kernel leaves it."""
    directory.log.close()
    directory.state.close()
    os.close(directory._lock)  # noqa: SLF001 - the kernel knows no privacy


def looks_of_the_next(path: Path, spoil: Callable[[Path], None]) -> int:
    """How often the start after a kill looks."""
    directory = opened(path)
    directory.serving()
    killed(directory)
    spoil(path)
    looker = Counting(Found())
    opened(path, looker).close()
    return looker.looks


def nothing(_: Path) -> None: ...


def other_boot(path: Path) -> None:
    number, _, phase = (path / "LOCK").read_text().split()
    (path / "LOCK").write_text(f"{number} another {phase}")


def death(path: Path) -> None:
    (path / "DIED").write_text("Fatal Python error: Bus error")


def opening(path: Path) -> None:
    killed(opened(path, Counting(Found())))


def suspected(path: Path) -> None:
    directory = opened(path, Counting(Found()))
    directory.serving()
    directory.suspect()
    directory.close()


def earlier_version(path: Path) -> None:
    (path / "LOCK").write_text("4711")


def copied(path: Path) -> None:
    raw = (path / "v1" / "here").read_bytes()
    (path / "v1" / "here").unlink()
    (path / "v1" / "here2").write_bytes(raw)
    (path / "v1" / "here2").rename(path / "v1" / "here")


def closed(path: Path) -> None:
    opened(path).close()


@pytest.mark.parametrize(
    ("spoil", "looks"),
    [
        (nothing, 0),
        (closed, 0),
        (other_boot, 1),
        (death, 1),
        (opening, 1),
        (suspected, 1),
        (earlier_version, 1),
        (copied, 1),
    ],
)
def test_a_start_looks_first_when_there_is_a_reason(
    tmp_path: Path, spoil: Callable[[Path], None], looks: int
) -> None:
    assert looks_of_the_next(tmp_path / "data", spoil) == looks


def test_a_machine_that_does_not_say_when_it_started_may_have_just_done_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ending, "BOOT_ID", tmp_path / "none")
    assert looks_of_the_next(tmp_path / "data", nothing) == 1


def test_a_machine_that_stops_cannot_make_a_run_look_like_a_clean_stop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Empty after a clean stop, the lock file was empty again after a power cut half a minute
    into the next run: nothing had synced it.
    """
    opened(tmp_path).close()
    lock = tmp_path / "LOCK"
    synced: list[str] = []
    fsync = os.fsync

    def noting(descriptor: int) -> None:
        if os.fstat(descriptor).st_ino == lock.stat().st_ino:
            synced.append(lock.read_text())
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", noting)
    directory = opened(tmp_path)
    assert [line.split()[1:] for line in synced] == [[ending.boot_id(), "opening"]]
    directory.close()


def test_a_run_that_the_storage_ended_is_no_clean_stop(tmp_path: Path) -> None:
    opened(tmp_path).close(StorageError("pages"))
    looker = Counting(Found())
    opened(tmp_path, looker).close(ValueError("something else"))
    assert looker.looks == 1
    opened(tmp_path, looker).close()
    assert looker.looks == 1


def test_no_memory_to_map_a_file_says_nothing_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened(tmp_path).close()

    def no_room(*_: object, **__: object) -> None:
        raise lmdb.MemoryError("mmap")

    monkeypatch.setattr(lmdb, "open", no_room)
    with pytest.raises(lmdb.MemoryError):
        soundness.main([str(tmp_path / "v1" / "log")])


def test_what_was_found_is_found_again_until_it_is_gone(tmp_path: Path) -> None:
    """And a start that could not look leaves that to the next."""
    opened(tmp_path).close()
    earlier_version(tmp_path)
    for _ in range(2):
        with pytest.raises(StorageError, match="is damaged: pages"):
            opened(tmp_path, Counting(Found("pages")))
    stopped = Looker()
    stopped.stop()
    with pytest.raises(StorageError, match="whether it is whole could not be told"):
        opened(tmp_path, stopped)
    looker = Counting(Found())
    opened(tmp_path, looker).close()
    assert looker.looks == 1


def filled(path: Path, looker: Looker | None = None) -> DataDirectory:
    directory = opened(path, looker)
    save(directory, dict.fromkeys(KEYS, b"v" * 50))
    return directory


def save(directory: DataDirectory, values: dict[bytes, bytes]) -> None:
    entries: dict[bytes, Entry] = {
        key: {SIBLINGS: ({(1, number): (5, value)}, frozenset())}
        for number, (key, value) in enumerate(values.items(), 1)
    }
    durable = Durable(RequestWindow(10), {1: len(entries)}, {1: bytes(16)})
    directory.state.save(Checkpoint(0, durable, {}, entries, []))


def test_a_changed_key_is_told_and_the_rest_is_served(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    filled(tmp_path).close()
    change(tmp_path, b"key 0599", b"key 0699")
    directory = opened(tmp_path)
    with caplog.at_level(logging.ERROR):
        found = directory.look()
    assert (found.damaged, found.keys) == (1, (b"key 0699",))
    assert "1 stored entries fail their checksum ('key 0699')" in caplog.text
    assert directory.state.get(KEYS[0])
    directory.close()


def test_a_look_beside_a_node_that_writes_is_of_one_moment(tmp_path: Path) -> None:
    """Without the node's hold on the pages of then, those would be written over."""

    class Writing(Counting):
        def look(self, folders: Sequence[Path], *, beside: bool = False) -> Found:
            found = super().look(folders, beside=beside)
            for number in range(20):
                save(directory, dict.fromkeys(KEYS[::3], b"%d" % number * 50))
            return found

    directory = filled(tmp_path, Writing())
    before = pages(tmp_path)
    assert directory.look() == Found()
    assert pages(tmp_path) > before + 200, "pages were used again during the look"
    directory.close()


def pages(path: Path) -> int:
    return (path / "v1/state/data.mdb").stat().st_size // 4096


def test_what_is_found_while_the_file_grows_does_not_count(tmp_path: Path) -> None:
    class Growing(Counting):
        def look(self, folders: Sequence[Path], *, beside: bool = False) -> Found:
            directory.state._env._grow()  # noqa: SLF001 - by filling it: 64 MiB
            return super().look(folders, beside=beside)

    looker = Growing(Found("torn"))
    directory = opened(tmp_path, looker)
    with pytest.raises(Undecided):
        directory.look()
    assert looker.looks == 3
    directory.close()


def test_two_looks_have_to_agree_that_the_files_cannot_be_used(tmp_path: Path) -> None:
    looker = Counting(Found("once"), Found())
    directory = opened(tmp_path, looker)
    assert directory.look() == Found()
    directory.close()
    looker = Counting(Found("always"))
    directory = opened(tmp_path, looker)
    with pytest.raises(StorageError, match="is damaged: always"):
        directory.look()
    directory.close()
    assert (tmp_path / "LOCK").read_text().endswith("suspect"), "the next start looks first"


def change(path: Path, old: bytes, new: bytes) -> None:
    file = path / "v1/state/data.mdb"
    raw = file.read_bytes()
    assert old in raw
    file.write_bytes(raw.replace(old, new))
