"""Data directories that are copies, and those that are set aside (trap 1)."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from kvnode.core.roster import Roster, encode_roster
from kvnode.storage.own_log import OwnLog

from .test_directory import assert_refused, made, opened

ROSTER = encode_roster(Roster(bytes(16), frozenset("ab")))


# ---- copies


def test_trap_1_a_copy_gets_another_origin_and_keeps_what_is_in_it(tmp_path: Path) -> None:
    """Trap 1 "actor reused after restore, clone": with everything that ``cp -a`` keeps."""
    path = made(tmp_path / "original")
    subprocess.run(["cp", "-a", path, tmp_path / "copy"], check=True)
    original, copy = opened(path), opened(tmp_path / "copy")
    assert copy.identity.origin != original.identity.origin
    assert copy.identity.retired == (original.identity.origin,)
    assert copy.identity.store == original.identity.store
    assert copy.log.last_arrival == 1
    minted = copy.identity
    copy.close()
    again = opened(tmp_path / "copy")
    assert again.identity == minted, "it was minted twice"
    again.close()
    original.close()


def test_a_directory_that_was_put_back_in_its_place_is_a_copy_too(tmp_path: Path) -> None:
    path = made(tmp_path / "data")
    origin = origin_of(path)
    subprocess.run(["cp", "-a", path, tmp_path / "backup"], check=True)
    shutil.rmtree(path)
    subprocess.run(["cp", "-a", tmp_path / "backup", path], check=True)
    directory = opened(path)
    assert directory.identity.retired == (origin,)
    directory.close()


def test_a_directory_that_was_moved_is_no_copy(tmp_path: Path) -> None:
    path = made(tmp_path / "data")
    origin = origin_of(path)
    path.rename(tmp_path / "moved")
    directory = opened(tmp_path / "moved")
    assert (directory.identity.origin, directory.identity.retired) == (origin, ())
    directory.close()


def origin_of(path: Path) -> str:
    directory = opened(path)
    directory.close()
    return directory.identity.origin


def test_an_origin_minted_anew_is_used_from_the_next_opening_on(tmp_path: Path) -> None:
    directory = opened(tmp_path)
    old = directory.identity
    directory.mint_anew(forked=True)
    minted = directory.identity
    assert minted.origin != old.origin
    assert (minted.retired, minted.forked) == ((old.origin,), True)
    directory.close()
    again = opened(tmp_path)
    assert again.identity == minted
    again.settled()
    assert not again.identity.forked
    again.mint_anew(forked=False)
    assert again.identity.retired == (old.origin, minted.origin)
    again.close()


def test_a_copy_of_a_running_node_is_never_opened_again(tmp_path: Path) -> None:
    directory = opened(tmp_path)
    directory.mark_copy()
    directory.close()
    assert_refused(tmp_path, "is a copy of the directory of node 'n', which was running: delete it")


# ---- setting aside


def set_aside(path: Path) -> str:
    """As a node does that lost a fork; the origin that is retired."""
    directory = opened(path)
    directory.log.put_record(b"roster", ROSTER)
    old = directory.identity
    directory.mint_anew(forked=True)
    assert directory.set_aside() == path / "aside-1"
    os.close(directory._lock)  # noqa: SLF001 - as a crash: log and state are closed already
    return old.origin


def assert_begun_anew(path: Path, retired: str) -> None:
    """Empty, under a third origin, knowing the cluster and what is to be issued again."""
    directory = opened(path)
    assert directory.identity.aside == ("aside-1",)
    assert directory.identity.retired == (retired,)
    assert not directory.identity.forked
    assert directory.log.last_arrival == 0
    assert directory.state.get(b"k") is None
    assert directory.log.get_record(b"roster") == ROSTER
    aside = json.loads((path / "aside-1" / "identity.json").read_text())
    assert aside["retired"] == [retired]
    assert aside["origin"] != directory.identity.origin
    assert aside["store"] != directory.identity.store
    assert [block.origin for block in OwnLog(path / "aside-1").blocks] == [int(retired, 16)]
    directory.reissued()
    directory.close()
    again = opened(path)
    assert again.identity.aside == ()
    again.close()


def test_a_directory_set_aside_begins_anew(tmp_path: Path) -> None:
    path = made(tmp_path)
    assert_begun_anew(path, set_aside(path))


def test_what_is_left_of_one_set_aside_is_remembered_until_it_is_deleted(tmp_path: Path) -> None:
    path = made(tmp_path)
    set_aside(path)
    directory = opened(path)
    directory.reissued("5 increments")
    directory.forget_deleted()
    directory.close()
    shutil.rmtree(path / "aside-1")
    directory = opened(path)
    assert directory.identity.left == (("aside-1", "5 increments"),)
    assert directory.set_aside().name == "aside-2", "it would be taken for the other"
    directory.close()
    directory = opened(path)
    directory.forget_deleted()
    assert directory.identity.left == ()
    directory.close()


def test_a_crash_between_the_two_renames_is_finished_at_the_next_start(tmp_path: Path) -> None:
    """Else an empty directory would be made, that knows neither the cluster nor its own writes."""
    path = made(tmp_path)
    retired = set_aside(path)
    (path / "v1").rename(path / "new")
    assert_begun_anew(path, retired)


def test_a_crash_before_the_first_rename_leaves_all_as_it_was(tmp_path: Path) -> None:
    path = made(tmp_path)
    retired = set_aside(path)
    (path / "v1").rename(path / "new")
    (path / "aside-1").rename(path / "v1")
    directory = opened(path)
    assert directory.identity.retired == (retired,)
    assert directory.identity.forked
    assert directory.log.last_arrival == 1
    directory.close()


def test_what_was_set_aside_before_stays_when_it_happens_again(tmp_path: Path) -> None:
    path = made(tmp_path)
    set_aside(path)
    directory = opened(path)
    directory.mint_anew(forked=True)
    assert directory.set_aside() == path / "aside-2"
    os.close(directory._lock)  # noqa: SLF001 - as above
    assert (path / "aside-1" / "identity.json").is_file()
    again = opened(path)
    assert again.identity.aside == ("aside-1", "aside-2")
    again.close()


def test_what_is_noted_on_a_full_disk_makes_no_copy_of_the_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor does a crash half way. An identity stays for ever, and all members have to agree."""
    path = made(tmp_path / "data")
    set_aside(path)
    origin = origin_of(path)
    directory = opened(path)

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(json, "dump", full)
        with pytest.raises(OSError, match="No space left"):
            directory.reissued()
    directory.close()
    assert origin_of(path) == origin
