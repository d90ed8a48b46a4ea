"""Checkpoints that are spread over a time: hurried when somebody waits, whole whoever is killed."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kvnode.storage import saver
from kvnode.storage.directory import DataDirectory
from kvnode.storage.interfaces import Checkpoint, WriteFailed
from kvnode.storage.saver import UNSYNCED, Saver
from kvnode.storage.state import LmdbState
from kvnode.storage.unsynced import is_kept

from .test_saver import DEADLINE_S, ORIGIN, Kept, checkpoint, contents, is_gone, wait_until

FOR_EVER_S = 100_000.0
AT_THE_DISK = """
from kvnode.storage import saver_process
saver_process.ENTRIES_SHARE = 0
saver_process.main()
"""
"""A saver that takes all of its time after the commit."""


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[Kept]:
    made = Kept(tmp_path / "apart")
    made.state.save(checkpoint(1))
    made.saver.close()
    yield made
    made.close()


def slow(number: int) -> Checkpoint:
    return replace(checkpoint(number, 150), spread_s=FOR_EVER_S)


@contextmanager
def saving(state: LmdbState, number: int) -> Iterator[threading.Thread]:
    """It is being written meanwhile, and has been afterwards."""
    errors: list[BaseException] = []

    def save() -> None:
        try:
            state.save(slow(number))
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=save)
    thread.start()
    yield thread
    thread.join(DEADLINE_S)
    assert not thread.is_alive()
    assert not errors


def stopping_at(saver_: Saver, phase: str) -> None:
    """Let its process take its time before the commit or before the sync."""
    if phase == "sync":
        saver_.command = [sys.executable, "-P", "-c", AT_THE_DISK, *saver_.command[-2:]]


def wait_for(state: LmdbState, phase: str) -> None:
    """Of the second checkpoint: before its commit or before its sync."""
    folder = state._env.path  # noqa: SLF001 - where it is
    wait_until(lambda: is_kept(folder), "nothing is kept")
    if phase == "sync":
        wait_until(lambda: state.total()[0].saved == 2, "it is not committed")
        assert is_kept(folder)


def equals(state: LmdbState, folder: Path, store: int = ORIGIN) -> bool:
    """Whether it has what a node has that wrote both by itself."""
    folder.mkdir()
    here = LmdbState(folder, store)
    here.save(checkpoint(1))
    here.save(checkpoint(2, 150))
    same = contents(state) == contents(here)
    here.close()
    return same


def test_sending_pauses_for_a_small_share_of_the_time_it_may_take() -> None:
    assert saver.sending_pause_s(5.0, 64_000) == saver.PIECE_PAUSE_S
    for keys in (0, 500, 10_000, 64_000):
        pieces = max(1, keys // saver.PIECE_KEYS)
        pauses_s = saver.sending_pause_s(0.5, keys) * pieces
        assert 0 < pauses_s <= 0.5 * saver.SENDING_SHARE * 1.001


@pytest.mark.parametrize(("spread_s", "pieces"), [(0.0, 0), (0.01, 3)])
def test_a_checkpoint_that_is_waited_for_is_sent_without_pauses(
    kept: Kept, spread_s: float, pieces: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    monkeypatch.setattr("kvnode.storage.saver.time.sleep", pauses.append)
    monkeypatch.setattr(saver, "PIECE_KEYS", 60)
    whole = checkpoint(2, 150)
    assert 60 < len(whole.entries) <= 120, "two pieces, and one of request ids"
    kept.state.save(replace(whole, spread_s=spread_s))
    assert len(pauses) == pieces


PHASES = pytest.mark.parametrize("phase", ["commit", "sync"])


@PHASES
def test_who_waits_for_it_has_it_at_once(kept: Kept, phase: str, tmp_path: Path) -> None:
    stopping_at(kept.saver, phase)
    with saving(kept.state, 2) as thread:
        wait_for(kept.state, phase)
        thread.join(0.3)  # longer than it takes in a hurry
        assert thread.is_alive()
        assert kept.state.total()[0].saved == (1 if phase == "commit" else 2)
        kept.state.hurry()
    assert equals(kept.state, tmp_path / "here")
    assert not is_kept(kept.state._env.path)  # noqa: SLF001 - where it is
    with saving(kept.state, 3) as thread:
        thread.join(0.3)  # longer than it takes in a hurry
        assert thread.is_alive(), "the next one hurries too"
        kept.state.hurry()


@PHASES
def test_a_node_whose_saver_is_killed_has_the_checkpoint_synced(
    kept: Kept, phase: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    stopping_at(kept.saver, phase)
    with caplog.at_level(logging.WARNING), saving(kept.state, 2):
        wait_for(kept.state, phase)
        assert kept.saver.pid is not None
        os.kill(kept.saver.pid, signal.SIGKILL)
    assert equals(kept.state, tmp_path / "here")
    assert not is_kept(kept.state._env.path)  # noqa: SLF001 - where it is
    assert ("in the node's own process" in caplog.text) == (phase == "commit")


def test_who_waits_before_there_is_a_process_waits_no_longer(kept: Kept) -> None:
    for number in range(2, 5):
        kept.state.hurry()
        with saving(kept.state, number):
            pass
        pid = kept.saver.pid
        assert pid is not None
        if number == 3:
            os.kill(pid, signal.SIGKILL)
            wait_until(lambda pid=pid: is_gone(pid), "it was killed")
    assert kept.state.total()[0].saved == 4


def test_what_was_committed_is_not_sent_again(kept: Kept) -> None:
    """As it is if a process that has been there for long has ended of itself."""
    stopping_at(kept.saver, "sync")
    kept.state.save(checkpoint(1))
    with saving(kept.state, 2):
        folder = kept.state._env.path  # noqa: SLF001 - where it is
        wait_until(lambda: kept.state.total()[0].saved == 3, "it is not committed")
        assert is_kept(folder)
        assert kept.saver.pid is not None
        os.kill(kept.saver.pid, signal.SIGKILL)
    assert kept.state.total()[0].saved == 3
    assert not is_kept(folder)


def test_a_disk_that_fails_stops_the_node(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    answered = saver.receive

    def broken(stream: Any) -> bytes:
        answered(stream)
        return UNSYNCED + b"OSError: broken"

    monkeypatch.setattr(saver, "receive", broken)
    with pytest.raises(WriteFailed, match="broken"):
        kept.state.save(checkpoint(2))
    with pytest.raises(WriteFailed, match="broken"):
        kept.state.put_rows("journal", {1: b"row"})


NODE = """
import sys, threading
from pathlib import Path
from kvnode.storage.directory import DataDirectory
from tests.storage.test_saver import checkpoint
from tests.storage.test_saver_spread import slow, stopping_at, wait_for
directory = DataDirectory(Path(sys.argv[1]), cluster="c", name="a", now_ms=1)
directory.serving(alone=True)
state = directory.state
state._saver.keys_min = 0
state.save(checkpoint(1))
state._saver.close()
stopping_at(state._saver, sys.argv[2])
threading.Thread(target=state.save, args=(slow(2),)).start()
wait_for(state, sys.argv[2])
print(state._saver.pid, flush=True)
"""


@PHASES
def test_a_node_that_is_killed_meanwhile_finds_the_checkpoint_before(
    tmp_path: Path, phase: str
) -> None:
    path = tmp_path / "data"
    with subprocess.Popen(
        [sys.executable, "-c", NODE, str(path), phase], stdout=subprocess.PIPE, text=True
    ) as node:
        assert node.stdout is not None
        pid = int(node.stdout.readline())
        assert is_kept(path / "v1" / "state")
        node.kill()
    wait_until(lambda: is_gone(pid), "nobody ended it")
    directory = DataDirectory(path, cluster="c", name="a", now_ms=1)
    try:
        assert not is_kept(path / "v1" / "state")
        assert directory.state.total()[0].saved == 1
        directory.state.save(checkpoint(2, 150))
        assert isinstance(directory.state, LmdbState)
        assert equals(directory.state, tmp_path / "here", int(directory.identity.store, 16))
    finally:
        directory.close()
