"""Checkpoints that another process writes: the same bytes, never lost, never half, nobody left."""

from __future__ import annotations

import logging
import os
import pickle
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kvnode.core.entry import Entry
from kvnode.core.losers import Loser
from kvnode.core.replica import Durable
from kvnode.core.requests import Remembered, RequestWindow
from kvnode.core.types import LWW_REGISTER, PN_COUNTER, SIBLINGS
from kvnode.core.types.slots import NO_DOT
from kvnode.storage import saver
from kvnode.storage.directory import DataDirectory
from kvnode.storage.interfaces import Checkpoint, StorageError
from kvnode.storage.saver import Saver
from kvnode.storage.soundness import NICE
from kvnode.storage.state import TABLES, LmdbState

ORIGIN = 7
NOW = 1_700_000_000_000
DEADLINE_S = 20.0
NONE: frozenset[tuple[int, int]] = frozenset()


def some_entry(chance: random.Random, seq: int) -> Entry:
    """Of any type, plain or not, or nothing."""
    value = chance.randbytes(chance.randrange(300))
    kinds: list[Entry] = [
        {LWW_REGISTER: (seq, ORIGIN, seq, value)},
        {LWW_REGISTER: (seq, ORIGIN, seq, None)},
        {LWW_REGISTER: (seq, ORIGIN, seq, value, NOW + seq)},
        {SIBLINGS: ({(ORIGIN, seq): (seq, value), (9, seq): (seq, b"", NOW)}, NONE)},
        {SIBLINGS: ({(ORIGIN, seq): (seq, value)}, frozenset({(9, 2**40)}))},
        {PN_COUNTER: {(ORIGIN, seq): (seq, 2**63, 0, 0, 5, NO_DOT, NO_DOT)}},
        {
            PN_COUNTER: {(ORIGIN, seq): (3, 0, 3, 0, 5, NO_DOT, NO_DOT)},
            LWW_REGISTER: (1, 2, 3, b""),
        },
        {},
    ]
    return chance.choice(kinds)


def checkpoint(
    number: int, keys: int = 60, *, entries: dict[bytes, Entry] | None = None
) -> Checkpoint:
    """The same for the same number; keys come again in others."""
    chance = random.Random(number)
    seq = number * 1_000
    durable = Durable(
        RequestWindow(10), {ORIGIN: seq}, {ORIGIN: bytes(16)}, hlc=seq, forks={3: "two histories"},
        fence="", reports={ORIGIN: {9: number}}, horizon=NOW + seq // 2,
    )  # fmt: skip
    made = {
        b"key %03d" % chance.randrange(200): some_entry(chance, seq + index)
        for index in range(keys)
    }
    return Checkpoint(
        number,
        durable,
        {ORIGIN: "a"},
        made if entries is None else entries,
        [(chance.randbytes(16), Remembered(seq + index, ORIGIN, 1, 1)) for index in range(5)],
        requests_forgotten=[seq - 1_000],
        collected=[(ORIGIN, seq - 999)],
        journal=[
            (seq, Loser(b"key", b"lost", seq, (ORIGIN, seq), seq, (9, seq), winner_deleted=False))
        ],
        journal_floor=seq - 1_000,
        recount=frozenset({b"key 001"}),
    )


def contents(state: LmdbState) -> dict[str, list[tuple[bytes, bytes]]]:
    env: Any = state._env  # noqa: SLF001 - all that is on disk
    with env.read() as txn:
        return {name: list(txn.cursor(env.tables[name])) for name in (*TABLES, "meta")}


class Kept:
    """A state whose checkpoints are all written apart."""

    def __init__(self, path: Path) -> None:
        path.mkdir()
        self.lock = os.open(path / "LOCK", os.O_RDWR | os.O_CREAT)
        (path / "state").mkdir()
        self.state = LmdbState(path / "state", ORIGIN)
        self.saver: Saver = self.state.save_apart(self.lock)
        self.saver.keys_min = 0

    def close(self) -> None:
        self.state.close()
        os.close(self.lock)


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[Kept]:
    made = Kept(tmp_path / "apart")
    yield made
    made.close()


def wait_until(holds: Any, what: str) -> None:
    until = time.monotonic() + DEADLINE_S
    while not holds():
        assert time.monotonic() < until, what
        time.sleep(0.005)


def state_of(stat: Path) -> str:
    """Of a process or thread, as Linux names it: R, S, T, Z ..."""
    return stat.read_text().rpartition(")")[2].split()[0]


def is_gone(pid: int) -> bool:
    """No process, or one that only waits to be reaped."""
    try:
        return state_of(Path(f"/proc/{pid}/stat")) == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def has_stopped(pid: int) -> bool:
    """Each of its threads."""
    return all(state_of(stat) == "T" for stat in Path(f"/proc/{pid}/task").glob("*/stat"))


def test_what_it_writes_is_what_the_node_would_have_written(kept: Kept, tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    here = LmdbState(tmp_path / "here", ORIGIN)
    for number in range(1, 8):
        kept.state.save(checkpoint(number))
        here.save(checkpoint(number))
        assert contents(kept.state) == contents(here)
    assert kept.saver.pid is not None
    here.close()


def test_small_ones_need_no_process(kept: Kept) -> None:
    kept.saver.keys_min = 61
    kept.state.save(checkpoint(1))
    assert kept.saver.pid is None
    assert kept.state.total()[0].saved == 1


def test_the_map_grows_for_it(kept: Kept) -> None:
    value = bytes(1 << 20)
    entries: dict[bytes, Entry] = {
        b"%d" % number: {LWW_REGISTER: (1, ORIGIN, number + 1, value)} for number in range(80)
    }
    kept.state.save(checkpoint(1, entries=entries))
    assert kept.state.usage().map_bytes > 64 << 20
    assert kept.state.get(b"79") == entries[b"79"]


def test_the_file_is_as_long_as_its_pages(kept: Kept) -> None:
    """While it is written it is as long as the map, which other programs would copy."""
    file = kept.state._env.path / "data.mdb"  # noqa: SLF001 - the file on disk
    for number in range(1, 4):
        kept.state.save(checkpoint(number))
        assert file.stat().st_size == kept.state.usage().file_bytes < kept.state.usage().map_bytes


def test_it_lets_its_node_have_the_processor_first(kept: Kept) -> None:
    """In a session of its own: Linux may weigh sessions before it weighs what is in them."""
    kept.state.save(checkpoint(1))
    pid = kept.saver.pid
    assert pid is not None
    assert os.getpriority(os.PRIO_PROCESS, pid) > os.getpriority(os.PRIO_PROCESS, os.getpid())
    assert os.getsid(pid) == pid
    group = Path(f"/proc/{pid}/autogroup")
    if group.exists():
        assert group.read_text().split()[-1] == str(NICE)


def test_a_compacted_file_is_taken_up(kept: Kept) -> None:
    value = bytes(1 << 20)
    for number in range(1, 4):
        entries: dict[bytes, Entry] = {
            b"%d" % index: {} if number == 2 else {LWW_REGISTER: (1, ORIGIN, index + 1, value)}
            for index in range(80)
        }
        kept.state.save(checkpoint(number, entries=entries))
        if number == 2:
            assert kept.state.usage().file_bytes < 8 << 20, "not compacted"
    assert kept.state.get(b"5") == {LWW_REGISTER: (1, ORIGIN, 6, value)}
    assert kept.state.total()[0].saved == 3


def test_it_may_end_between_two(kept: Kept, caplog: pytest.LogCaptureFixture) -> None:
    kept.state.save(checkpoint(1))
    first = kept.saver.pid
    assert first is not None
    os.kill(first, signal.SIGKILL)
    wait_until(lambda: is_gone(first), "it was killed")
    kept.state.save(checkpoint(2))
    assert kept.saver.pid not in (None, first)
    assert kept.state.total()[0].saved == 2
    assert not caplog.records


def test_it_ends_when_nothing_comes(kept: Kept) -> None:
    kept.saver.idle_s = 0.05
    kept.state.save(checkpoint(1))
    first = kept.saver.pid
    assert first is not None
    wait_until(lambda: not Path(f"/proc/{first}").exists(), "it has ended and was reaped")
    kept.state.save(checkpoint(2))
    assert kept.state.total()[0].saved == 2


@pytest.mark.parametrize("script", ["", "raise SystemExit(3)", "import time; time.sleep(0.2)"])
def test_where_it_fails_the_node_writes(
    kept: Kept, script: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    kept.saver.command = [sys.executable, "-c", script]
    with caplog.at_level(logging.WARNING):
        kept.state.save(checkpoint(1, keys=5_000))
    assert "in the node's own process" in caplog.text
    assert kept.state.total()[0].saved == 1
    (tmp_path / "here").mkdir()
    here = LmdbState(tmp_path / "here", ORIGIN)
    here.save(checkpoint(1, keys=5_000))
    assert contents(kept.state) == contents(here)
    here.close()


def test_why_it_failed_is_told(kept: Kept, caplog: pytest.LogCaptureFixture) -> None:
    kept.saver.command[kept.saver.command.index(str(ORIGIN))] = str(ORIGIN + 1)
    with caplog.at_level(logging.WARNING):
        kept.state.save(checkpoint(1))
    assert "belongs to another node" in caplog.text
    assert kept.state.total()[0].saved == 1


def test_one_that_was_written_without_a_word_is_not_written_twice(
    kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    answered = saver.receive

    def lost(stream: Any) -> bytes:
        answered(stream)
        raise EOFError

    kept.state.save(checkpoint(1))
    kept.saver.close()
    monkeypatch.setattr(saver, "receive", lost)
    kept.state.save(checkpoint(2))
    assert kept.state.total()[0].saved == 2


def test_closing_leaves_no_process(tmp_path: Path) -> None:
    kept = Kept(tmp_path / "apart")
    kept.state.save(checkpoint(1))
    pid = kept.saver.pid
    assert pid is not None
    kept.close()
    assert not Path(f"/proc/{pid}").exists()


BUSY = """
import sys, time
from kvnode.storage import saver_process
def save(*order):
    print("busy", file=sys.stderr, flush=True)
    time.sleep(60)
saver_process.save = save
saver_process.main()
"""


def test_it_ends_with_its_node_whatever_it_is_at() -> None:
    theirs, ours = os.pipe()
    with subprocess.Popen(
        [sys.executable, "-c", BUSY, "state", str(ORIGIN), "60", str(theirs)],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        pass_fds=(theirs,),
    ) as process:
        os.close(theirs)
        assert process.stdin is not None
        assert process.stderr is not None
        saver.send(process.stdin, pickle.dumps(saver.Order(0, checkpoint(1))))
        saver.send_pieces(process.stdin, [])
        saver.send_pieces(process.stdin, [])
        process.stdin.flush()
        assert process.stderr.readline() == b"busy\n"
        os.close(ours)
        assert process.wait(DEADLINE_S) == 1


NODE = """
import sys, time
from pathlib import Path
from kvnode.storage.directory import DataDirectory
from tests.storage.test_saver import checkpoint
directory = DataDirectory(Path(sys.argv[1]), cluster="c", name="a", now_ms=1)
directory.serving(alone=True)
saver = directory.state._saver
saver.keys_min = 0
directory.state.save(checkpoint(1))
print(saver.pid, flush=True)
time.sleep(60)
"""


def test_a_directory_is_not_opened_while_it_writes_for_a_node_that_has_died(tmp_path: Path) -> None:
    path = tmp_path / "data"
    with subprocess.Popen(
        [sys.executable, "-c", NODE, str(path)], stdout=subprocess.PIPE, text=True
    ) as node:
        assert node.stdout is not None
        pid = int(node.stdout.readline())
        os.kill(pid, signal.SIGSTOP)  # in the middle of a sync
        # its threads stop one by one: the one that waits for the node's end may not have yet
        wait_until(lambda: has_stopped(pid), "it goes on")
        node.kill()
    opened: list[DataDirectory | StorageError] = []

    def start() -> None:
        try:
            opened.append(DataDirectory(path, cluster="c", name="a", now_ms=1))
        except StorageError as error:
            opened.append(error)

    starting = threading.Thread(target=start)
    starting.start()
    try:
        starting.join(0.3)  # long enough to open it ten times
        assert starting.is_alive(), opened
    finally:
        os.kill(pid, signal.SIGCONT)  # else it stays for ever
    starting.join(DEADLINE_S)
    wait_until(lambda: is_gone(pid), "nobody ended it")  # it lets go of its files a moment earlier
    (directory,) = opened
    assert isinstance(directory, DataDirectory), directory
    assert directory.state.total()[0].saved == 1
    directory.close()
