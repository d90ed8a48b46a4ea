"""The log over tail and LMDB is one log: with any history, at any moment, for any reader."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from kvnode.core.block import Block
from kvnode.core.dots import Vector
from kvnode.core.operations import Put
from kvnode.storage import tail
from kvnode.storage.interfaces import DiskFullError, Log, WriteFailed
from kvnode.storage.log import LmdbLog
from kvnode.storage.memory import MemoryLog
from kvnode.storage.tailed_log import TailedLog
from tests.core.memory_node import MemoryNode
from tests.storage.stores import ORIGIN, abandon

ORIGINS = (3, 2**63 + 1)


class Writers:
    """Blocks of two origins, of which each knows the other's."""

    def __init__(self) -> None:
        self.nodes = [MemoryNode(origin) for origin in ORIGINS]

    def block(self, number: int = 0, size: int = 10) -> Block:
        node, other = self.nodes[number], self.nodes[1 - number]
        node.pull(other)
        node.write(Put(b"k", bytes(size)))
        return node.last_block

    def vectors(self) -> Iterator[Vector]:
        """Of who lacks some, all or nothing."""
        last = {node.origin: node.vector.get(node.origin, 0) for node in self.nodes}
        for share in (0, 1, 2, 3):
            yield {origin: seq * share // 3 for origin, seq in last.items()}
        yield {ORIGINS[0]: last[ORIGINS[0]]}


def says(log: Log, writers: Writers) -> Any:
    """All that a log tells its readers but for sizes on disk."""
    first, last = log.first_arrival, log.last_arrival
    vectors = [v for v in writers.vectors() if all(v.get(o, 0) >= s for o, s in log.floor.items())]
    ends = list(log.ends({}))
    return (
        (first, last, log.floor, log.pruned, log.usage().records),
        [list(log.replay(after)) for after in range(first - 1, last + 1)],
        [
            log.heads(after, limit)
            for after in (first - 1, max(first, last - 1))
            for limit in (1, 3, 1000)
        ],
        (ends, [list(log.ends(vector)) for vector in vectors]),
        [log.chain_at(end) for end, _ in ends],
        [log.lacking(vector, limit) for vector in vectors for limit in (1, 500, 1 << 30)],
        [log.behind(vector) for vector in vectors],
    )


class SameAsTheTwin(RuleBasedStateMachine):
    """Rounds of any size, moves, cuts, stops, kills and full disks."""

    @initialize()
    def begin(self) -> None:
        self.temporary = pytest.MonkeyPatch()
        self.temporary.setattr(tail, "TAIL_BYTES", 4 * tail.PAGE_BYTES)
        self.folder = Path(self.folders.mktemp("log"))  # type: ignore[attr-defined]
        self.log = TailedLog(self.folder, ORIGIN)
        self.twin, self.writers = MemoryLog(), Writers()

    @rule(
        sizes=st.lists(
            st.tuples(st.integers(0, 1), st.sampled_from((1, 900, 5000, 70_000))),
            min_size=1,
            max_size=4,
        )
    )
    def append(self, sizes: list[tuple[int, int]]) -> None:
        blocks = [self.writers.block(*each) for each in sizes]
        self.log.append(blocks)
        self.twin.append(blocks)

    @rule(number=st.integers(0, 1))
    def refuse(self, number: int) -> None:
        """A round for which LMDB has no room; what was taken before stays."""
        writers = self.writers
        before = [node.log.last_arrival for node in writers.nodes]
        with without_room():
            blocks = [writers.block(number, 70_000)]
            with pytest.raises(DiskFullError):
                self.log.append(blocks)
        assert before != [node.log.last_arrival for node in writers.nodes]
        self.log.append(blocks)  # who was refused may try again
        self.twin.append(blocks)

    @rule(share=st.floats(0, 1))
    def cut(self, share: float) -> None:
        arrival = round(share * self.twin.last_arrival)
        assert self.log.cut(arrival) == self.twin.cut(arrival)

    @rule()
    def stop(self) -> None:
        self.log.close()
        self.log = TailedLog(self.folder, ORIGIN)

    @rule()
    def kill(self) -> None:
        abandon(self.log)
        self.log = TailedLog(self.folder, ORIGIN)

    @rule()
    def stop_without_room(self) -> None:
        with without_room():
            self.log.close()
        self.log = TailedLog(self.folder, ORIGIN)

    @invariant()
    def same(self) -> None:
        assert says(self.log, self.writers) == says(self.twin, self.writers)

    def teardown(self) -> None:
        self.log.close()
        self.temporary.undo()


@contextmanager
def without_room() -> Iterator[None]:
    """LMDB finds none."""

    def full(*_: object, **__: object) -> None:
        raise DiskFullError("no room")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LmdbLog, "append", full)
        yield


def test_it_is_one_log(tmp_path_factory: pytest.TempPathFactory) -> None:
    machine = type("Machine", (SameAsTheTwin,), {"folders": tmp_path_factory})
    case = machine.TestCase  # type: ignore[attr-defined]
    case.settings = settings(max_examples=40, stateful_step_count=20, deadline=None)
    case().runTest()


@pytest.fixture
def log(tmp_path: Path) -> Iterator[TailedLog]:
    """A log with room for all that waits here."""
    opened = TailedLog(tmp_path, ORIGIN)
    yield opened
    opened.close()


READS: dict[str, Callable[[Log, Writers], Any]] = {
    "replay": lambda log, _: list(log.replay(0)),
    "heads": lambda log, _: log.heads(0, 100),
    "ends": lambda log, _: list(log.ends({})),
    "lacking": lambda log, _: log.lacking({}, 1 << 30),
    "chain_at": lambda log, writers: [
        log.chain_at((node.origin, seq)) for node in writers.nodes for seq in range(1, 4)
    ],
}


@pytest.mark.parametrize("name", READS)
def test_blocks_that_are_moved_while_they_are_read_are_read_once(
    log: TailedLog, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """When LMDB has them and they wait still; when a reader saw them wait, and LMDB has them when
    it looks there; and when LMDB has them after it has looked."""
    read, writers = READS[name], Writers()
    for number in range(6):
        log.append([writers.block(number % 2)])
    right = read(log, writers)
    real, append = getattr(LmdbLog, name), LmdbLog.append
    seen = []

    def append_and_read(self: LmdbLog, blocks: list[Block]) -> None:
        append(self, blocks)
        seen.append(read(log, writers))

    def move_and_read(*arguments: Any, **options: Any) -> Any:
        log._move()  # noqa: SLF001
        return real(*arguments, **options)

    def read_and_move(*arguments: Any, **options: Any) -> Any:
        found = real(*arguments, **options)
        found = list(found) if isinstance(found, Iterator) else found
        log._move()  # noqa: SLF001
        return found

    with monkeypatch.context() as patch:
        patch.setattr(LmdbLog, "append", append_and_read)
        log._move()  # noqa: SLF001
    assert seen == [right]
    for number in range(6):
        log.append([writers.block(number % 2)])
    right = read(log, writers)
    with monkeypatch.context() as patch:
        patch.setattr(LmdbLog, name, move_and_read)
        assert read(log, writers) == right
    assert read(log, writers) == right
    for number in range(6):
        log.append([writers.block(number % 2)])
    right = read(log, writers)
    with monkeypatch.context() as patch:
        patch.setattr(LmdbLog, name, read_and_move)
        assert read(log, writers) == right


def test_readers_of_other_threads_find_every_block_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A log that moves at every third round, and readers that never wait."""
    monkeypatch.setattr(tail, "TAIL_BYTES", 2 * tail.PAGE_BYTES)
    log, writers = TailedLog(tmp_path, ORIGIN), Writers()
    wrong: list[object] = []
    reads, ended = [0], threading.Event()

    def read() -> None:
        while not ended.is_set():
            known = log.last_arrival
            found = (
                [raw for _, raw in log.replay(0)],
                log.lacking({}, 1 << 30)[0],
                [head.end for head in log.heads(0, 1000)],
                [end for end, _ in log.ends({})],
            )
            wrong.extend(
                (known, each) for each in found if len(each) < known or len(set(each)) < len(each)
            )
            reads[0] += 1

    threads = [threading.Thread(target=read) for _ in range(2)]
    for thread in threads:
        thread.start()
    while log.last_arrival < 300 or reads[0] < 20:
        log.append([writers.block(log.last_arrival % 2)])
    ended.set()
    for thread in threads:
        thread.join()
    log.close()
    assert not wrong


def test_a_cut_makes_room_where_there_is_none(log: TailedLog) -> None:
    """LMDB's blocks go, though it cannot take those that wait."""
    writers = Writers()
    for _ in range(4):
        log.append([writers.block()])
    log._move()  # noqa: SLF001
    log.append([writers.block()])
    with without_room():
        assert log.cut(5) == 5
        with pytest.raises(DiskFullError):
            log.cut(5)
    assert log.cut(5) == 6


def test_what_a_failed_write_left_is_found_out_by_the_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is moved on top of it."""
    log, writers = TailedLog(tmp_path, ORIGIN), Writers()
    log.append([writers.block()])
    real = os.pwrite

    def fail(descriptor: int, raw: bytes, at: int) -> int:
        real(descriptor, raw, at)
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", fail)
        with pytest.raises(WriteFailed):
            log.append([writers.block()])
    log.close()
    again = LmdbLog(tmp_path, ORIGIN)
    assert again.last_arrival == 0
    again.close()
    opened = TailedLog(tmp_path, ORIGIN)
    assert opened.last_arrival == 2
    opened.close()
