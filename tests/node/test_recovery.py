"""A start takes many blocks of the log at once, and has what it had if it took one by one."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar
from unittest.mock import patch

from hypothesis import given, settings
from hypothesis import strategies as st

from kvnode.config import Config
from kvnode.core.block import decode_block
from kvnode.core.entry import Entry, encode_entry
from kvnode.core.operations import Put
from kvnode.core.replica import Request
from kvnode.core.types import LWW_REGISTER
from kvnode.node import recovery
from kvnode.node.ambient import Ambient
from kvnode.node.engine import Engine
from kvnode.node.worker import Done, Job, Worker
from kvnode.storage.interfaces import StorageError
from tests.core.memory_node import WALL_MS, MemoryNode
from tests.core.test_absorbing import KEYS, batch, scripts
from tests.storage.faulty import RottenState
from tests.storage.rig import encoded

T = TypeVar("T")
WINDOW = 5
CONFIG = Config(requests_remembered=WINDOW, journal_rows_max=4)


class NoWorker(Worker):
    def run(self, job: Job, done: Done, *, alone: bool = False) -> None:
        raise AssertionError(f"a start writes nothing: {job, done, alone}")

    def close(self) -> None:
        pass


class Still(Ambient):
    """No time passes, and nothing runs apart."""

    chance = random.Random(1)

    def wall_ms(self) -> int:
        return WALL_MS

    def monotonic(self) -> float:
        return 1.0

    def worker(self, name: str) -> Worker:  # noqa: ARG002 - of two names, and alike
        return NoWorker()

    async def in_thread(self, job: Callable[[], T]) -> T:
        return job()


class LookedAt(RottenState):
    """A state of which one look brings only so many rows; it counts what is read."""

    def __init__(self) -> None:
        super().__init__()
        self.rows_max = 1000
        self.looks: list[int] = []
        self.alone = 0
        """Read one by one."""

    def get(self, key: bytes) -> Entry | None:
        self.alone += 1
        return super().get(key)

    def get_many(self, keys: Iterable[bytes]) -> list[bytes | None]:
        rows = super().get_many(keys)
        self.looks.append(len(rows))
        return rows[: self.rows_max]


@contextmanager
def at_once(operations: int) -> Iterator[None]:
    with patch.object(recovery, "OPERATIONS_MAX", operations):
        yield


class Node(MemoryNode):
    """What it had when it was killed, on a state that is looked at."""

    state: LookedAt

    def __init__(self, window: int = WINDOW) -> None:
        super().__init__(1, window=window)
        self.state = LookedAt()
        self.restart()


def recovered(node: Node) -> Engine:
    return Engine(CONFIG, node.origin, node.log, node.state, Still())


def left(node: Node) -> list[Any]:
    """All that a start makes of what is on disk, or how it refuses to."""
    try:
        engine = recovered(node)
    except StorageError as error:
        return [str(error)]
    durable, memtable, journal = engine.replica.durable, engine.memtable, engine.journal
    requests = durable.requests
    return [
        {} if node.state.rotten else encoded(engine),
        memtable.bytes_held,
        memtable.active_keys,
        engine.replayed,
        engine.checkpoints.behind.operations,
        (durable.vector, durable.chains, durable.hlc, durable.forks, durable.fence),
        (requests.all(), requests.forgotten, requests.next_number),
        (journal.unsaved(), journal.floor, journal.next_number, journal.bytes_held),
        dict(memtable.freeze()),
    ]


@settings(max_examples=300, deadline=None)
@given(
    scripts,
    st.integers(0, 25),
    st.sampled_from([2, 3, 5, 1000]),
    st.sampled_from([0, 1, 2, 1000]),
    st.sets(st.sampled_from(KEYS), max_size=1),
)
def test_many_at_once_leave_what_one_by_one_leaves(
    script: list[tuple[int, int, tuple[Any, ...]]],
    saved_at: int,
    operations: int,
    rows: int,
    rotten: set[bytes],
) -> None:
    node = Node()
    state = node.state
    nodes = [node, MemoryNode(2), MemoryNode(3)]
    covered = 0
    for number, (who, later_ms, step) in enumerate(script):
        if number == saved_at:
            node.checkpoint()
            covered = node.log.last_arrival
        if step[0] == "pull":
            nodes[who].pull(nodes[step[1]])
            continue
        request = Request(batch(nodes, step), number.to_bytes(16, "big"), again=True)
        nodes[who].commit([request], wall_ms=WALL_MS + later_ms)
    for other in nodes[1:]:
        node.pull(other)
    lived = {key: encode_entry(entry) for key, entry in node.entries().items()}, node.vector
    behind = sum(decode_block(raw).count for _, raw in node.log.replay(covered))
    state.rotten = rotten
    with at_once(1):
        wanted = left(node)
    state.rows_max = rows
    with at_once(operations):
        found = left(node)
    state.rows_max = 1000
    assert found == wanted
    if not rotten:
        assert (found[0], found[5][0]) == lived, "what there was before the crash"
        assert found[3] == behind


def written(*sizes: int) -> Node:
    """A block for each value, each of a key of its own."""
    node = Node()
    for number, size in enumerate(sizes):
        node.write(Put(b"%d" % number, bytes(size), LWW_REGISTER))
    return node


def test_small_blocks_share_a_look() -> None:
    node = written(*[1] * 300)
    state = node.state
    state.looks.clear()
    with at_once(100):
        assert recovered(node).replayed == 300
    assert state.looks == [100, 100, 100]


def test_no_more_bytes_are_taken_at_once_than_may_be() -> None:
    node = written(*[1000] * 30)
    state = node.state
    state.looks.clear()
    with patch.object(recovery, "BYTES_MAX", 9_500):
        assert recovered(node).replayed == 30
    assert max(state.looks) <= 10


def test_where_entries_are_large_few_are_taken_at_once_and_little_is_looked_for_in_vain() -> None:
    node = written(*[1] * 400)
    state = node.state
    node.checkpoint()
    for number in range(400):
        node.write(Put(b"%d" % number, b"again", LWW_REGISTER))
    state.looks.clear()
    state.rows_max, state.alone = 4, 0
    engine = recovered(node)
    assert engine.replayed == engine.memtable.active_keys == 400
    assert max(state.looks) == 400
    assert sum(state.looks) < 5 * 400
    assert state.alone < 400 // 4


def test_where_they_are_small_again_many_are_taken_at_once() -> None:
    class Unlike(LookedAt):
        def get_many(self, keys: Iterable[bytes]) -> list[bytes | None]:
            keys = list(keys)
            self.rows_max = 1 if b"0" in keys else 1000
            return super().get_many(keys)

    node = written(*[1] * 600)
    node.state = state = Unlike()
    with at_once(200):
        assert recovered(node).replayed == 600
    assert state.looks[-1] == 200


def test_what_is_damaged_first_is_told() -> None:
    """An entry, and behind the block that leads to it a block that cannot be read."""
    node = written(1, 1, 1)
    state = node.state
    node.checkpoint()
    node.write(Put(b"1", b"again", LWW_REGISTER))
    node.write(Put(b"2", b"again", LWW_REGISTER))
    blocks = [decode_block(raw) for _, raw in node.log.replay(0)]
    last = blocks[-1]
    last.raw = last.raw[:1] + b"\xc1" + last.raw[2:]
    other = Node()
    other.state = state
    other.log.append(blocks)
    assert "block 5 of the log" in left(other)[0]
    state.rotten.add(b"1")
    assert "the state is damaged: b'1'" in left(other)[0]
